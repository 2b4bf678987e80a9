import * as tf from '@tensorflow/tfjs-core';

import { assign, canCapture, capture, copyOf, type Graph } from '../../engine/graphs.js';
import { adamw } from '../../engine/ops/adamw.js';
import { euclideanNorms } from '../../engine/ops/norm.js';
import { runningAverages } from '../../engine/ops/runningAverage.js';
import { zeros } from '../../engine/ops/zeros.js';
import type { Transport } from '../../engine/transport/transport.js';
import { Recorder, type Context } from '../context.js';
import type { OptimiserState } from '../checkpoints/checkpoint.js';
import type { Model } from '../model.js';
import { isTrainable, unflatten, type ParameterTree } from '../parameters.js';
import { GradientExchange, type StepFindings } from './gradientExchange.js';
import { clipLoss } from './loss.js';

/** Everything that a training step changes. */
export interface TrainingState {
  /** All leaves of the parameter tree by path, running statistics included. */
  readonly leaves: ReadonlyMap<string, tf.Tensor>;
  readonly optimiser: OptimiserState;
  /** Optimiser steps done. */
  readonly step: number;
}

export interface StepConfig {
  readonly learningRate: number;
  readonly weightDecay: number;
  readonly gradientClip: number;
  readonly perStepLoss: number;
  readonly statisticsMomentum: number;
  /** Of several processes: see the settings of training; no, where nothing is said. */
  readonly synchroniseStatistics?: boolean;
  /** Learning rate of delays, in that of the rest; 1 where nothing is said. */
  readonly delayRate?: number;
  /** Share of the training that is done, 0 … 1, for what narrows with it; all of it where nothing is said. */
  readonly progress?: number;
}

export interface StepResult {
  readonly state: TrainingState;
  readonly loss: number;
  /** Norm of the gradient before clipping. */
  readonly gradientNorm: number;
  /** Path of the first parameter whose gradient is not finite. */
  readonly notFinite?: string;
}

/** What a step found, without the state. */
type StepMeasures = Omit<StepResult, 'state'>;

/** Starts training from a parameter tree, with moments of zero. Owns its tensors from then on. */
export function startTraining(parameters: ReadonlyMap<string, tf.Tensor>): TrainingState {
  const zeros = (): Map<string, tf.Tensor> =>
    new Map(
      [...parameters]
        .filter(([path]) => isTrainable(path))
        .map(([path, tensor]) => [path, tf.zerosLike(tensor)]),
    );
  return { leaves: parameters, optimiser: { m: zeros(), v: zeros() }, step: 0 };
}

export function disposeTraining({ leaves, optimiser }: TrainingState): void {
  for (const map of [leaves, optimiser.m, optimiser.v]) {
    for (const tensor of map.values()) tensor.dispose();
  }
}

/**
 * Forward, backward, AdamW. Disposes the tensors of `state` that it replaces. A step whose loss or
 * gradient is not finite changes nothing and says so.
 *
 * @param input `[batch, time, channels, height, width]`.
 * @param targets `[batch, classes]`.
 * @param transport of processes that each have a part of the batch: loss, gradients and statistics are their means.
 */
export function trainingStep(
  model: Model,
  state: TrainingState,
  input: tf.Tensor,
  targets: tf.Tensor,
  config: StepConfig,
  transport?: Transport,
): StepResult {
  const lossOf = clipLossOf(model, input, targets, config.perStepLoss);
  return gradientStep(state, lossOf, config, transport);
}

function clipLossOf(
  model: Model,
  input: tf.Tensor,
  targets: tf.Tensor,
  perStepLoss: number,
): LossOf {
  return (parameters, context) =>
    clipLoss(model.apply(parameters, input, undefined, context).logits, targets, perStepLoss);
}

/**
 * A loss as a function of parameters; a scalar. Its layers record their statistics in the context, and leave losses of
 * their own, which are added.
 */
type LossOf = (parameters: ParameterTree, context: Context) => tf.Tensor;

/** `trainingStep` for any loss. */
export function gradientStep(
  state: TrainingState,
  lossOf: LossOf,
  config: Omit<StepConfig, 'perStepLoss'>,
  transport?: Transport,
): StepResult {
  tf.engine().startScope();
  try {
    const settings = tf.tensor1d(settingsOf(state, config));
    const progress = tf.scalar(config.progress ?? 1);
    const control = { settings, progress };
    const { tensors, measures } = nextTensors(state, control, lossOf, config, transport);
    const found = measuresOf(state, measures);
    if (found.notFinite !== undefined) return { state, ...found };
    const [leaves, m, v] = [state.leaves, state.optimiser.m, state.optimiser.v].map(
      (map) => new Map(map),
    );
    for (const { kind, path, tensor } of tensors) {
      const map = { leaves, m, v }[kind];
      map.get(path)!.dispose();
      map.set(path, tf.keep(tensor));
    }
    return { state: { leaves, optimiser: { m, v }, step: state.step + 1 }, ...found };
  } finally {
    tf.engine().endScope();
  }
}

/** One tensor of the next state. */
interface NextTensor {
  readonly kind: 'leaves' | 'm' | 'v';
  readonly path: string;
  readonly tensor: tf.Tensor;
}

/** What changes from step to step, as tensors. */
interface StepControl {
  /** Of `settingsOf`. */
  readonly settings: tf.Tensor;
  /** Share of the training that is done, a scalar. */
  readonly progress: tf.Tensor;
}

/**
 * A step up to where its results would be read: nothing here depends on what a device has computed. To be run in a `tidy`.
 *
 * @returns the next state, which equals `state` where loss or gradients are not finite; and the loss, the norm of all
 *   gradients and that of each, in one tensor.
 */
function nextTensors(
  state: TrainingState,
  { settings, progress }: StepControl,
  lossOf: LossOf,
  config: Omit<StepConfig, 'perStepLoss'>,
  transport: Transport | undefined,
): { tensors: NextTensor[]; measures: tf.Tensor } {
  const { weightDecay, gradientClip, delayRate = 1 } = config;
  const recorder = new Recorder({ rates: false });
  const losses: tf.Tensor[] = [];
  const isShared = transport !== undefined && transport.world > 1;
  const together = isShared && config.synchroniseStatistics ? transport : undefined;
  const context = { training: true, progress, recorder, losses, transport: together, path: '' };
  const exchange = transport && new GradientExchange(transport);
  try {
    const trained = trainedPaths(state);
    const parameters = trained.map((path) => state.leaves.get(path)!);
    const local = tf.tidy(() => {
      const lossOfAll = (): tf.Tensor => {
        const tree = unflatten(new Map(state.leaves));
        const own = lossOf(exchange?.watch(tree, isTrainable) ?? tree, context);
        // With what layers ask for beside it.
        return tf.addN([own, ...losses.map((layer) => tf.reshape(layer, own.shape))]);
      };
      // Rather than `tf.valueAndGrads`, which refuses parameters that nothing depends on, such as queries for one key.
      const { value, grads } = tf.engine().gradients(lossOfAll, parameters, undefined, true);
      const all = grads as readonly (tf.Tensor | null | undefined)[];
      return { value, grads: all.map((gradient, i) => gradient ?? zeros(parameters[i].shape)) };
    });
    const found: StepFindings = {
      loss: local.value,
      gradients: new Map(trained.map((path, i) => [path, local.grads[i]])),
      // Those that are of all processes need no averaging.
      statistics: together === undefined ? recorder.statistics : new Map(),
    };
    const { loss, gradients, statistics: averaged } = exchange?.finish(found) ?? found;
    const batch = together === undefined ? averaged : recorder.statistics;
    // What is shared cannot change where it lies.
    exchange?.dispose();
    const grads = [...gradients.values()];
    const norms = euclideanNorms(grads);
    const measures = tf.concat([tf.reshape(loss, [1]), norms]);
    const control = { settings, loss, norms };
    const states = trained.map((path, i) => ({
      parameter: parameters[i],
      m: state.optimiser.m.get(path)!,
      v: state.optimiser.v.get(path)!,
    }));
    const updated = adamw(states, grads, control, {
      beta1: 0.9,
      beta2: 0.999,
      epsilon: 1e-8,
      gradientClip,
      rates: Float32Array.from(trained, (path) => (isDelay(path) ? delayRate : 1)),
      // Scales, shifts, biases and the like are vectors, and so is A in effect: they don't decay. Nor do delays.
      weightDecays: Float32Array.from(trained, (path, i) =>
        parameters[i].rank > 1 && !path.endsWith('logA') && !isDelay(path) ? weightDecay : 0,
      ),
    });
    const statistics = [...batch].flatMap(([path, { mean, variance }]) => [
      { path: `${path}.runningMean`, current: mean },
      { path: `${path}.runningVariance`, current: variance },
    ]);
    const averages = runningAverages(
      statistics.map(({ path }) => state.leaves.get(path)!),
      statistics.map(({ current }) => current),
      control,
    );
    const tensors = [
      ...trained.flatMap((path, i): NextTensor[] => [
        { kind: 'leaves', path, tensor: updated[i].parameter },
        { kind: 'm', path, tensor: updated[i].m },
        { kind: 'v', path, tensor: updated[i].v },
      ]),
      ...statistics.map(({ path }, i): NextTensor => ({
        kind: 'leaves',
        path,
        tensor: averages[i],
      })),
    ];
    return { tensors, measures };
  } finally {
    exchange?.dispose();
    recorder.dispose();
  }
}

const isDelay = (path: string): boolean => /(^|\.)delay$/.test(path);

function trainedPaths({ leaves }: TrainingState): string[] {
  return [...leaves.keys()].filter(isTrainable);
}

/** What the next update of a state is controlled by (`UpdateControl`). */
function settingsOf(
  state: TrainingState,
  { learningRate, statisticsMomentum }: Pick<StepConfig, 'learningRate' | 'statisticsMomentum'>,
): number[] {
  const step = state.step + 1;
  // The first values (mean 0, variance 1) were never measured: at first, all steps count alike.
  return [learningRate, step, Math.max(1 - statisticsMomentum, 1 / step)];
}

/** Waits for a step's results: the one read of a step, since a device has to be waited for at each. */
function measuresOf(state: TrainingState, measures: tf.Tensor): StepMeasures {
  const [loss, gradientNorm, ...norms] = measures.dataSync();
  if (Number.isFinite(loss) && Number.isFinite(gradientNorm)) return { loss, gradientNorm };
  const bad = norms.findIndex((norm) => !Number.isFinite(norm));
  return { loss, gradientNorm, notFinite: trainedPaths(state)[bad] ?? 'loss' };
}

/** Training steps, one after the other. */
export interface TrainingStepper {
  /** Why steps are not recorded, where they could be. */
  readonly notRecorded?: string | undefined;
  /**
   * As `trainingStep`. Where steps are recorded, the tensors of the state stay the same and change their values.
   *
   * @param meanwhile is called while a device computes the step, where there is one that does.
   */
  step(
    state: TrainingState,
    input: tf.Tensor,
    targets: tf.Tensor,
    config: StepConfig,
    meanwhile?: () => void,
  ): StepResult;
  dispose(): void;
}

/**
 * Training steps of a model. Where the backend can record, the second of two steps in a row that have the same shapes
 * is recorded, and all later ones of these shapes on the same state are replayed. Steps of other shapes between them
 * are run as they come.
 *
 * @param transport as of `trainingStep`.
 */
export function createTrainingStep(model: Model, transport?: Transport): TrainingStepper {
  if (canCapture()) return new RecordedSteps(model, transport);
  return {
    step: (state, input, targets, config) =>
      trainingStep(model, state, input, targets, config, transport),
    dispose: () => undefined,
  };
}

/** A graph and the tensors that it reads. */
interface Recorded {
  readonly kind: string;
  readonly leaves: TrainingState['leaves'];
  readonly input: tf.Tensor;
  readonly targets: tf.Tensor;
  readonly graph: Graph;
}

class RecordedSteps implements TrainingStepper {
  notRecorded: string | undefined;
  private readonly control: StepControl = {
    settings: tf.keep(zeros([3])),
    progress: tf.keep(zeros([])),
  };
  /** Results of a step, for that many trained parameters. */
  private measures: tf.Tensor | undefined;
  private recorded: Recorded | undefined;
  private kindBefore: string | undefined;

  constructor(
    private readonly model: Model,
    private readonly transport: Transport | undefined,
  ) {}

  step(
    state: TrainingState,
    input: tf.Tensor,
    targets: tf.Tensor,
    config: StepConfig,
    meanwhile?: () => void,
  ): StepResult {
    this.write(state, config);
    const fixed = { ...config, learningRate: undefined, progress: undefined };
    const kind = JSON.stringify([input.dtype, input.shape, targets.dtype, targets.shape, fixed]);
    const again = kind === this.kindBefore && this.notRecorded === undefined;
    this.kindBefore = kind;
    const fits = (): boolean =>
      this.recorded?.kind === kind && this.recorded.leaves === state.leaves;
    if (again && !fits()) this.record(kind, state, input, targets, config);
    if (this.recorded !== undefined && fits()) {
      assign(this.recorded.input, input);
      assign(this.recorded.targets, targets);
      this.recorded.graph.replay();
    } else {
      tf.tidy(() => {
        this.update(state, input, targets, config);
      });
    }
    meanwhile?.();
    const found = measuresOf(state, this.measures!);
    const done = found.notFinite === undefined ? 1 : 0;
    return { state: { ...state, step: state.step + done }, ...found };
  }

  dispose(): void {
    this.forget();
    tf.dispose([...Object.values(this.control), ...(this.measures ? [this.measures] : [])]);
  }

  /** What a step reads besides the state, and room for what it finds. */
  private write(state: TrainingState, config: StepConfig): void {
    tf.tidy(() => {
      assign(this.control.settings, tf.tensor1d(settingsOf(state, config)));
      assign(this.control.progress, tf.scalar(config.progress ?? 1));
    });
    const size = 2 + trainedPaths(state).length;
    if (this.measures?.size === size) return;
    this.forget();
    this.measures?.dispose();
    this.measures = tf.keep(zeros([size]));
  }

  private record(
    kind: string,
    state: TrainingState,
    input: tf.Tensor,
    targets: tf.Tensor,
    config: StepConfig,
  ): void {
    this.forget();
    const [ownInput, ownTargets] = [input, targets].map((x) => tf.keep(copyOf(x)));
    try {
      const graph = capture(() => this.update(state, ownInput, ownTargets, config));
      const { leaves } = state;
      this.recorded = { kind, leaves, input: ownInput, targets: ownTargets, graph };
    } catch (error) {
      tf.dispose([ownInput, ownTargets]);
      this.notRecorded = (error as Error).message;
    }
  }

  private forget(): void {
    if (this.recorded === undefined) return;
    this.recorded.graph.dispose();
    tf.dispose([this.recorded.input, this.recorded.targets]);
    this.recorded = undefined;
  }

  /** A step whose results take the place of the state's values. */
  private update(
    state: TrainingState,
    input: tf.Tensor,
    targets: tf.Tensor,
    config: StepConfig,
  ): void {
    const loss = clipLossOf(this.model, input, targets, config.perStepLoss);
    const { tensors, measures } = nextTensors(state, this.control, loss, config, this.transport);
    const maps = { leaves: state.leaves, m: state.optimiser.m, v: state.optimiser.v };
    for (const { kind, path, tensor } of tensors) assign(maps[kind].get(path)!, tensor);
    assign(this.measures!, measures);
  }
}

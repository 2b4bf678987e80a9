import * as tf from '@tensorflow/tfjs-core';

import { SaccadeError } from '../../engine/support/errors.js';
import type { TokenMixer } from '../mixers/tokenMixer.js';
import { inference, type Recorder } from '../context.js';
import { flatten, isTrainable, unflatten, type ParameterTree } from '../parameters.js';
import type { DistillationTarget } from './config.js';
import { initialLeaves } from './initialise.js';
import {
  disposeTraining,
  gradientStep,
  type StepConfig,
  type StepResult,
  type TrainingState,
} from './step.js';

/** A mixer with its parameters. */
export interface MixerWithParameters {
  readonly mixer: TokenMixer;
  readonly parameters: ParameterTree;
}

/** Smallest share of a row whose logarithm is taken. */
const tiny = 1e-9;

/** The smallest weight that rounding errors make of a 0. */
const negative = -1e-4;

/** Slots of a student that are its own, and trained: the rest it has from its teacher. */
export const defaultSlots = ['featureMap', 'decay', 'local', 'position'] as const;

/**
 * A student's first parameters: the teacher's, where it has any of the same path and shape (queries, keys, values,
 * output), and else its own.
 */
export function inheritedParameters(own: ParameterTree, teacher: ParameterTree): ParameterTree {
  return unflatten(initialLeaves(flatten(own), flatten(teacher)).leaves);
}

/** Rows divided by their sums: shares, as those of a softmax. */
function rowShares(weights: tf.Tensor): tf.Tensor {
  const positive = tf.maximum(weights, 0);
  return tf.div(positive, tf.maximum(tf.sum(positive, 3, true), tiny));
}

/**
 * Cross-entropy of attention rows, `-Σ p log s` of the teacher's shares p and the student's s, as the mean over rows.
 *
 * @param teacher weights, `[batch, heads, tokens, tokens]`, all ≥ 0.
 * @param student weights; what is below 0 counts as nothing. Either's rows are divided by their sums.
 */
export function rowCrossEntropy(teacher: tf.Tensor, student: tf.Tensor): tf.Tensor {
  const logShares = tf.log(tf.maximum(rowShares(student), tiny));
  return tf.neg(tf.mean(tf.sum(tf.mul(rowShares(teacher), logShares), 3)));
}

/** `rowCrossEntropy` less the teacher's entropy: the Kullback-Leibler divergence, 0 where rows are the same. */
export function rowDivergence(teacher: tf.Tensor, student: tf.Tensor): tf.Tensor {
  return tf.sub(rowCrossEntropy(teacher, student), rowCrossEntropy(teacher, teacher));
}

function weightsOf({ mixer, parameters }: MixerWithParameters, x: tf.Tensor): tf.Tensor {
  if (mixer.attentionWeights === undefined) {
    throw new SaccadeError('usage', `${mixer.name} has no attention weights to distil; its outputs it has`); // prettier-ignore
  }
  return mixer.attentionWeights(parameters, x);
}

/** The teacher's side of the loss, which no gradient flows into. */
function teacherTarget(
  teacher: MixerWithParameters,
  x: tf.Tensor,
  target: DistillationTarget,
): tf.Tensor {
  if (target === 'outputs') {
    return teacher.mixer.apply(teacher.parameters, x, undefined, inference).output;
  }
  const weights = weightsOf(teacher, x);
  if (!(tf.min(weights).dataSync()[0] >= negative)) {
    throw new SaccadeError(
      'usage',
      `${teacher.mixer.name} gives weights below 0, which are no shares: distil its outputs`,
    );
  }
  return weights;
}

export interface DistillationConfig extends Omit<StepConfig, 'perStepLoss'> {
  readonly target: DistillationTarget;
}

/**
 * One step in which a student comes nearer to its teacher.
 *
 * @param student the mixer, and all its parameters (`inheritedParameters`); those in `state` replace them.
 * @param state of `startTraining`, with the leaves of the student that are trained, by their paths.
 * @param x what the teacher's layer reads, `[batch, tokens, width]`.
 * @throws SaccadeError of kind `usage` where either has no such target.
 */
export function distillationStep(
  teacher: MixerWithParameters,
  student: MixerWithParameters,
  state: TrainingState,
  x: tf.Tensor,
  { target, ...config }: DistillationConfig,
): StepResult {
  const wanted = tf.tidy(() => teacherTarget(teacher, x, target));
  const all = flatten(student.parameters);
  try {
    return gradientStep(
      state,
      (trained, context) => {
        const parameters = unflatten(new Map([...all, ...flatten(trained)]));
        if (target === 'weights') {
          return rowCrossEntropy(wanted, weightsOf({ ...student, parameters }, x));
        }
        const given = student.mixer.apply(parameters, x, undefined, context, { form: 'parallel' });
        keepStatisticsOf(state, context.recorder);
        return tf.mean(tf.square(tf.sub(wanted, given.output)));
      },
      config,
    );
  } finally {
    wanted.dispose();
  }
}

/** Frozen neurons keep their statistics. */
function keepStatisticsOf({ leaves }: TrainingState, recorder: Recorder | undefined): void {
  for (const [path, { mean, variance }] of recorder?.statistics ?? []) {
    if (leaves.has(`${path}.runningMean`)) continue;
    tf.dispose([mean, variance]);
    recorder?.statistics.delete(path);
  }
}

export interface DistillationOptions {
  readonly teacher: MixerWithParameters;
  readonly student: MixerWithParameters;
  /** Of `startTraining` with `distilledLeaves`, or of a call before, which goes on; owned by the call. */
  readonly state: TrainingState;
  /** Steps in all, those that `state` has done included. */
  readonly steps: number;
  /** What the teacher's layer reads at a step, `[batch, tokens, width]`; a function of the step alone. Disposed here. */
  readonly tokens: (step: number) => tf.Tensor;
  readonly config: DistillationConfig;
  /** Stops after the step that it aborts in. */
  readonly signal?: AbortSignal;
  readonly onStep?: (progress: { readonly step: number; readonly loss: number }) => void;
}

/** Whether a student's leaf is its own. */
export const isIn = (slots: readonly string[], path: string): boolean =>
  slots.includes(path.split('.')[0]);

/** What of a student is trained, or counted, as running statistics are: copies of its leaves in the given slots. */
export function distilledLeaves(
  parameters: ParameterTree,
  slots: readonly string[] = defaultSlots,
): Map<string, tf.Tensor> {
  return new Map(
    [...flatten(parameters)]
      .filter(([path]) => isIn(slots, path))
      .map(([path, value]) => [path, tf.keep(tf.clone(value))]),
  );
}

/**
 * Trains a student's slots to mimic its teacher, with all else frozen: how a trained softmax layer becomes a linear one.
 *
 * @returns the state after the last step done, which may be fewer than asked for where the signal aborts; given back in,
 *   it goes on as though it had not.
 * @throws SaccadeError of kind `diverged` where loss or gradient stop being finite, `usage` where nothing can be trained.
 */
export async function distil(options: DistillationOptions): Promise<TrainingState> {
  const { teacher, student, steps, tokens, config, signal, onStep } = options;
  let { state } = options;
  if (![...state.leaves.keys()].some(isTrainable)) {
    throw new SaccadeError('usage', `${student.mixer.name} has nothing to train in these slots`);
  }
  while (state.step < steps && signal?.aborted !== true) {
    const x = tokens(state.step);
    let result: StepResult;
    try {
      result = distillationStep(teacher, student, state, x, config);
    } catch (error) {
      disposeTraining(state);
      throw error;
    } finally {
      x.dispose();
    }
    if (result.notFinite !== undefined) {
      disposeTraining(state);
      throw new SaccadeError(
        'diverged',
        `distillation diverged at step ${state.step + 1}: loss ${result.loss}, first non-finite value in ${result.notFinite}`,
      );
    }
    state = result.state;
    onStep?.({ step: state.step, loss: result.loss });
    // Gives signal handlers a turn between two steps.
    await new Promise((resolve) => setImmediate(resolve));
  }
  return state;
}

/** The student with what it learned. */
export function distilled(student: ParameterTree, { leaves }: TrainingState): ParameterTree {
  return unflatten(new Map([...flatten(student), ...leaves]));
}

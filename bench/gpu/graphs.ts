/** Graphs on the card: the same numbers as without, nothing lost over many replays, and how long steps take. */
import * as tf from '@tensorflow/tfjs-core';

import type { CudaBackend } from '../../engine/cuda/backend.js';
import { sizeOf, type Attributes, type FusedOpDefinition } from '../../engine/fused.js';
import { assign, capture } from '../../engine/graphs.js';
import { adamwDefinition } from '../../engine/ops/adamw.js';
import { euclideanNormsDefinition } from '../../engine/ops/norm.js';
import { runningAveragesDefinition } from '../../engine/ops/runningAverage.js';
import { createRandom } from '../../engine/support/random.js';
import { stateLeaves } from '../../models/clipStates.js';
import { inference } from '../../models/context.js';
import type { ClipState, Model } from '../../models/model.js';
import { disposeTree, flatten, Initialiser, type ParameterTree } from '../../models/parameters.js';
import { createFrameStepper } from '../../models/runtime/frameStepper.js';
import { smoothTargets } from '../../models/training/loss.js';
import {
  createTrainingStep,
  disposeTraining,
  startTraining,
  trainingStep,
  type TrainingState,
} from '../../models/training/step.js';
import { type ClipExtents, modelFor, stepSettings } from './steps.js';

interface Sizes extends ClipExtents {
  readonly preset: string;
  readonly batch: number;
}

const nano: Sizes = { preset: 'nano', batch: 2, bins: 4, size: 32 };

const modelOf = (sizes: Sizes): Model =>
  modelFor({ kind: 'spikmamba', preset: sizes.preset }, sizes);

/** Clips of events in a tenth of the pixels, and targets; they live on the device. Large clips are all the same. */
function batchOf({ batch, bins, size }: Sizes): { x: tf.Tensor; targets: tf.Tensor } {
  return tf.tidy(() => {
    const labels = Array.from({ length: batch }, (_, i) => i % 11);
    const drawn = size > 32 ? 1 : batch;
    const noise = tf.randomUniform([drawn, bins, 2, size, size], 0, 1, 'float32', 7);
    const clips = tf.cast(tf.less(noise, 0.1), 'float32');
    return {
      x: tf.tile(clips, [batch / drawn, 1, 1, 1, 1]),
      targets: tf.tensor(smoothTargets(labels, 11, 0.1), [batch, 11]),
    };
  });
}

function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let largest = a.length === b.length ? 0 : Infinity;
  for (let i = 0; i < a.length; i++) {
    const difference = Math.abs(a[i] - b[i]);
    largest = Math.max(largest, Number.isNaN(difference) ? Infinity : difference);
  }
  return largest;
}

const valuesOf = ({ leaves, optimiser }: TrainingState): Float32Array[] =>
  [leaves, optimiser.m, optimiser.v].flatMap((map) =>
    [...map.values()].map((tensor) => tensor.dataSync<'float32'>()),
  );

const worst = (a: readonly ArrayLike<number>[], b: readonly ArrayLike<number>[]): number =>
  Math.max(...a.map((values, i) => largestDifference(values, b[i])));

/** Fifty steps with and without; a step that is not finite; five hundred replays. */
function training(backend: CudaBackend, sizes: Sizes) {
  const model = modelOf(sizes);
  const start = (): TrainingState => startTraining(flatten(model.initialise(new Initialiser(1))));
  const { x, targets } = batchOf(sizes);
  let state = start();
  const plainLosses = Array.from({ length: 50 }, () => {
    const result = trainingStep(model, state, x, targets, stepSettings);
    ({ state } = result);
    return result.loss;
  });
  const stepper = createTrainingStep(model);
  let own = start();
  const step = (clips = x, wanted = targets) => {
    const result = stepper.step(own, clips, wanted, stepSettings);
    own = result.state;
    return result;
  };
  const losses = Array.from({ length: 50 }, () => step().loss);
  const equality = {
    losses: largestDifference(losses, plainLosses),
    state: worst(valuesOf(own), valuesOf(state)),
    first: plainLosses[0],
    last: plainLosses[49],
  };
  const before = valuesOf(own);
  const broken = tf.mul(targets, Infinity);
  const { notFinite } = step(x, broken);
  const changed = worst(valuesOf(own), before);
  const use = () => ({ ...backend.memoryPool.use(), tensors: tf.memory().numTensors });
  const used = use();
  for (let i = 0; i < 500; i++) step();
  const after = use();
  const part = batchOf({ ...sizes, batch: 1 });
  const ragged = step(part.x, part.targets).loss;
  const { notRecorded } = stepper;
  stepper.dispose();
  disposeTraining(own);
  disposeTraining(state);
  tf.dispose([x, targets, broken, part.x, part.targets]);
  return { notRecorded, equality, notFinite, changed, used, after, ragged };
}

/** Plain streaming: one frame after the other. */
function plainFrames(model: Model, parameters: ParameterTree) {
  let state: ClipState | undefined;
  const release = (): void => {
    for (const [, tensor] of stateLeaves(state?.layers ?? {})) tensor.dispose();
  };
  return {
    step(frame: tf.Tensor): Float32Array {
      let found: Float32Array;
      tf.tidy(() => {
        const result = model.apply(parameters, frame, state, inference);
        found = tf.softmax(tf.reshape(result.logits, [-1])).dataSync<'float32'>();
        for (const [, tensor] of stateLeaves(result.state.layers)) tf.keep(tensor);
        release();
        ({ state } = result);
      });
      return found!;
    },
    dispose: release,
  };
}

function streaming() {
  const sizes = { ...nano, batch: 40, bins: 1 };
  const model = modelOf(nano);
  const parameters = model.initialise(new Initialiser(1));
  const { x, targets } = batchOf(sizes);
  const frames = tf.split(x, 40, 0);
  const plain = plainFrames(model, parameters);
  const expected = frames.map((frame) => plain.step(frame));
  const stepper = createFrameStepper(model, parameters);
  const found = frames.map((frame) => stepper.step(frame));
  stepper.restart();
  const again = frames.map((frame) => stepper.step(frame));
  const { notRecorded } = stepper;
  stepper.dispose();
  plain.dispose();
  disposeTree(parameters);
  tf.dispose([x, targets, ...frames]);
  return { notRecorded, first: worst(found, expected), restarted: worst(again, expected) };
}

/** What a graph may and may not hold. */
function recording(backend: CudaBackend) {
  const x = tf.tensor([1, 2, 3]);
  const y = tf.add(x, 0);
  const failure = (run: () => void): string => {
    try {
      capture(run).dispose();
      return 'no error';
    } catch (error) {
      return (error as Error).message;
    }
  };
  const read = failure(() => void tf.add(x, 1).dataSync());
  const fallback = failure(() => void tf.asin(tf.add(x, 1)));
  // A constant of the host, whose memory others would like to have.
  const graph = capture(() => assign(y, tf.mul(tf.add(y, x), tf.tensor([1, 2, 1]))));
  const others = Array.from({ length: 50 }, () => tf.fill([3], 7));
  graph.replay();
  const once = [...y.dataSync()];
  graph.replay();
  const twice = [...y.dataSync()];
  graph.dispose();
  const right = once.join() === '2,8,6' && twice.join() === '3,20,9';
  tf.dispose([x, y, ...others]);
  return { read, fallback, once, twice, right, capturing: backend.driver.capturing };
}

/** What works on many tensors at once, against its loops in float64. */
function updates() {
  const random = createRandom(3);
  const shapes = Array.from({ length: 90 }, (_, i) => [1 + i * 97, 1 + (i % 3)]);
  const draw = (shape: number[], scale = 1): Float64Array =>
    Float64Array.from({ length: sizeOf(shape) }, () => Math.fround(scale * random.normal()));
  const compare = (
    definition: FusedOpDefinition<Attributes>,
    arrays: Float64Array[],
    of: number[][],
    attributes: Attributes,
  ): number => {
    const outputShapes = definition.forward.outputShapes(of, attributes);
    const expected = outputShapes.map((shape) => new Float64Array(sizeOf(shape)));
    definition.forward.run(arrays, expected, of, attributes);
    return tf.tidy(() => {
      const inputs = arrays.map((values, i) => tf.tensor(Float32Array.from(values), of[i]));
      const named = Object.fromEntries(
        inputs.map((input, i) => [`input${String(i).padStart(2, '0')}`, input]),
      );
      const result = tf.engine().runKernel(definition.name, named, attributes as never);
      const outputs = Array.isArray(result) ? (result as tf.Tensor[]) : [result as tf.Tensor];
      return worst(
        outputs.map((output) => output.dataSync()),
        expected,
      );
    });
  };
  const erase = (definition: unknown) => definition as FusedOpDefinition<Attributes>;
  const adamw = {
    beta1: 0.9,
    beta2: 0.999,
    epsilon: 1e-8,
    gradientClip: 1,
    rates: Float32Array.from(shapes, (_, i) => 1 / (1 + (i % 3))),
    weightDecays: Float32Array.from(shapes, (_, i) => (i % 2) / 10),
  };
  const parameters = shapes.flatMap((shape) => [
    ...[draw(shape), draw(shape), draw(shape)],
    draw(shape).map((v) => Math.fround(v * v)),
  ]);
  const repeated = (times: number): number[][] =>
    shapes.flatMap((shape) => Array.from({ length: times }, () => shape));
  const control = (loss: number, norm: number): Float64Array[] => [
    Float64Array.from([0.01, 3, 0.1], Math.fround),
    Float64Array.of(loss),
    Float64Array.of(norm),
  ];
  const controlShapes = [[3], [], [1]];
  const cases: [string, number, number][] = [
    ['clipped', 1, 7],
    ['not clipped', 1, 0.5],
    ['loss not finite', NaN, 1],
    ['norm not finite', 1, Infinity],
  ];
  return {
    norms: compare(
      erase(euclideanNormsDefinition),
      shapes.map((shape) => draw(shape)),
      shapes,
      {},
    ),
    ...Object.fromEntries(
      cases.map(([title, loss, norm]) => [
        title,
        [
          compare(
            erase(adamwDefinition),
            [...control(loss, norm), ...parameters],
            [...controlShapes, ...repeated(4)],
            adamw,
          ),
          compare(
            erase(runningAveragesDefinition),
            [...control(loss, norm), ...shapes.flatMap((shape) => [draw(shape), draw(shape)])],
            [...controlShapes, ...repeated(2)],
            {},
          ),
        ],
      ]),
    ),
  };
}

/** Median of wall-clock times that contain the read of a result, after runs that do not count. */
function median(run: () => void, repeats: number): number {
  for (let i = 0; i < 4; i++) run();
  const times = Array.from({ length: repeats }, () => {
    const start = performance.now();
    run();
    return performance.now() - start;
  });
  return times.sort((a, b) => a - b)[Math.floor(repeats / 2)];
}

/** What a step takes as it comes and as a graph, in milliseconds; and launches of one that comes. */
export interface StepTimes {
  readonly preset: string;
  readonly plain: number;
  readonly graph: number;
  readonly launches: number;
  readonly notRecorded?: string | undefined;
  readonly kernels?: readonly string[];
}

export function timeTraining(backend: CudaBackend, preset: string): StepTimes {
  const sizes = { preset, batch: 32, bins: 16, size: 128 };
  const model = modelOf(sizes);
  const { x, targets } = batchOf(sizes);
  const config = { ...stepSettings, perStepLoss: 0 };
  let state = startTraining(flatten(model.initialise(new Initialiser(1))));
  const plainStep = (): void => {
    ({ state } = trainingStep(model, state, x, targets, config));
  };
  const plain = median(plainStep, 10);
  const { launches } = backend.driver;
  plainStep();
  const count = backend.driver.launches - launches;
  const kernels = kernelTimes(backend, plainStep);
  const stepper = createTrainingStep(model);
  const graph = median(() => {
    ({ state } = stepper.step(state, x, targets, config));
  }, 20);
  const { notRecorded } = stepper;
  stepper.dispose();
  disposeTraining(state);
  tf.dispose([x, targets]);
  return { preset, plain, graph, launches: count, notRecorded, kernels };
}

/** What takes longest in a run: kernels by name, with their number and the milliseconds of all of them. */
function kernelTimes(backend: CudaBackend, run: () => void): string[] {
  const timings = new Map<string, { calls: number; milliseconds: number }>();
  backend.timings = timings;
  try {
    run();
  } finally {
    backend.timings = undefined;
  }
  return [...timings]
    .sort(([, a], [, b]) => b.milliseconds - a.milliseconds)
    .slice(0, 24)
    .map(([name, { calls, milliseconds }]) => `${name} ${calls} ${milliseconds.toFixed(2)}`);
}

export function timeStreaming(backend: CudaBackend, preset: string): StepTimes {
  const sizes = { preset, batch: 1, bins: 16, size: 128 };
  const model = modelOf(sizes);
  const parameters = model.initialise(new Initialiser(1));
  const { x, targets } = batchOf({ ...sizes, bins: 1 });
  const frames = plainFrames(model, parameters);
  const plain = median(() => void frames.step(x), 30);
  const { launches } = backend.driver;
  frames.step(x);
  const count = backend.driver.launches - launches;
  const stepper = createFrameStepper(model, parameters);
  const graph = median(() => void stepper.step(x), 200);
  const { notRecorded } = stepper;
  stepper.dispose();
  frames.dispose();
  disposeTree(parameters);
  tf.dispose([x, targets]);
  return { preset, plain, graph, launches: count, notRecorded };
}

/** All of it; what fails says so and leaves the rest to run. */
export function graphs(backend: CudaBackend, say: (text: string) => void): Record<string, unknown> {
  const parts: Record<string, () => unknown> = {
    updates,
    recording: () => recording(backend),
    training: () => training(backend, nano),
    // Other sizes of blocks meet.
    'training of 12': () => training(backend, { ...nano, batch: 12 }),
    streaming,
    ...Object.fromEntries(
      ['small', 'base'].flatMap((preset) => [
        [`stream ${preset}`, () => timeStreaming(backend, preset)],
        [`step ${preset}`, () => timeTraining(backend, preset)],
      ]),
    ),
  };
  return Object.fromEntries(
    Object.entries(parts).map(([name, run]) => {
      say(name);
      backend.fallbacks.clear();
      try {
        const found = run();
        return [name, { found, fallbacks: Object.fromEntries(backend.fallbacks) }];
      } catch (error) {
        return [name, { error: String((error as Error).stack).slice(0, 1500) }];
      }
    }),
  );
}

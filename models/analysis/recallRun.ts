import * as tf from '@tensorflow/tfjs-core';

import { linear } from '../../engine/ops/linear.js';
import { rmsNorm } from '../../engine/ops/normalise.js';
import { createRandom, type Random } from '../../engine/support/random.js';
import { causalConv1d } from '../../engine/ops/causalConv1d.js';
import { within, type Context } from '../context.js';
import { createMixer, inLayer, type MixerConfig } from '../mixers/registry.js';
import type { TokenMixer } from '../mixers/tokenMixer.js';
import {
  countParameters,
  flatten,
  Initialiser,
  unflatten,
  type ParameterTree,
} from '../parameters.js';
import { parseRepresentation, representWindow } from '../../preprocess/representations/index.js';
import { recallSequence, type RecallConfig } from './associativeRecall.js';
import { eventRecallClip, type EventRecallConfig } from './eventRecall.js';

/** What sequences mixers are trained on. */
export interface RecallTask {
  readonly length: number;
  readonly pairs: number;
  /** Of a token. */
  readonly features: number;
  /** What can be said. */
  readonly classes: number;
  /** Row-major `[length, features]`, and what has to be said at each token, -1 for nothing. */
  draw(random: Random): { readonly inputs: Float32Array; readonly targets: Int32Array };
}

/** MQAR: symbols, and any symbol can be said. */
export function symbolRecall(recall: RecallConfig): RecallTask {
  const symbolCount = 1 + recall.keys + recall.values;
  return {
    length: recall.length,
    pairs: recall.pairs,
    features: symbolCount,
    classes: symbolCount,
    draw(random) {
      const { symbols, targets } = recallSequence(recall, random);
      const inputs = new Float32Array(symbols.length * symbolCount);
      symbols.forEach((symbol, i) => (inputs[i * symbolCount + symbol] = 1));
      return { inputs, targets };
    },
  };
}

/** MQAR of motions: a token is the histogram of one symbol's events in some bins, as a root of the counts. */
export function motionRecall(config: EventRecallConfig, bins: number): RecallTask {
  const { sensor, recall, values, symbolUs } = config;
  const histogram = parseRepresentation('histogram');
  return {
    length: recall.length,
    pairs: recall.pairs,
    features: bins * histogram.channels * sensor.height * sensor.width,
    classes: values,
    draw(random) {
      const { events, targets } = eventRecallClip(config, random);
      const endUs = recall.length * symbolUs;
      const size = { bins: recall.length * bins, height: sensor.height, width: sensor.width };
      const window = { index: 0, startUs: 0, endUs, events };
      return { inputs: representWindow(window, histogram, size).map(Math.sqrt), targets };
    },
  };
}

export interface RecallRunConfig {
  /** One mixer a layer, for instance a `hybridSchedule`. */
  readonly mixers: readonly MixerConfig[];
  readonly width: number;
  readonly heads: number;
  readonly task: RecallTask;
  readonly batch: number;
  readonly steps: number;
  readonly learningRate: number;
  readonly seed: number;
}

export interface RecallRunResult {
  /** Share of the queries of new sequences whose value was said. */
  readonly accuracy: number;
  /** Mean loss of the queries, step by step. */
  readonly losses: readonly number[];
  readonly parameters: number;
  /** Of all layers, after one sequence. */
  readonly stateBytes: number;
}

/** Taps of the convolution before each mixer, which lets a value's token know its key. */
const taps = 2;

function initialise(
  { mixers, width, task, seed }: RecallRunConfig,
  layers: readonly TokenMixer[],
): ParameterTree {
  const initialiser = new Initialiser(seed);
  return {
    embedding: initialiser.normal('embedding', [task.features, width], 1),
    head: initialiser.weight('head', width, task.classes),
    ...Object.fromEntries(
      layers.map((mixer, i) => [
        `layer${i}`,
        {
          norm: initialiser.constant([width], 1),
          convolution: initialiser.normal(`${i}.${mixers[i].name}`, [taps, width], Math.SQRT1_2),
          mixer: mixer.initialise(initialiser.within(`layer${i}`)),
        },
      ]),
    ),
  };
}

/** Logits after each token, `[batch, length, classes]`. */
function apply(
  parameters: ParameterTree,
  layers: readonly TokenMixer[],
  inputs: tf.Tensor,
  context: Context,
): tf.Tensor {
  const embedding = parameters.embedding as tf.Tensor;
  const width = embedding.shape[1]!;
  let x = linear(inputs, embedding);
  layers.forEach((mixer, i) => {
    const layer = parameters[`layer${i}`] as ParameterTree;
    const { y } = causalConv1d(
      rmsNorm(x, layer.norm as tf.Tensor),
      layer.convolution as tf.Tensor,
      tf.zeros([width]),
      tf.zeros([inputs.shape[0], taps - 1, width]),
    );
    const mixed = mixer.apply(
      layer.mixer as ParameterTree,
      y,
      undefined,
      within(context, `layer${i}.mixer`),
    );
    x = tf.add(x, mixed.output);
  });
  return linear(rmsNorm(x, tf.ones([width])), parameters.head as tf.Tensor);
}

/**
 * Trains a few layers of mixers on a task of recall and asks them about sequences that they have not seen: each layer
 * `x + mixer(convolution(norm(x)))`, then a linear one. All mixers meet the same sequences and the same
 * budget.
 *
 * @param onStep is told each step's loss, and waited for; what it throws ends the run.
 */
export async function recallRun(
  config: RecallRunConfig,
  onStep?: (step: number, loss: number) => void | Promise<void>,
): Promise<RecallRunResult> {
  const { mixers, width, heads, task, batch, steps, learningRate, seed } = config;
  const shape = { width, heads, rows: 1, columns: 1 };
  const layers = mixers.map((mixer, i) => createMixer(inLayer(mixer, i, mixers.length), shape));
  const start = tf.tidy(() => initialise(config, layers));
  const names = [...flatten(start).keys()];
  const variables = [...flatten(start).values()].map((value) => tf.variable(value));
  tf.dispose([...flatten(start).values()]);
  const tree = (): ParameterTree =>
    unflatten(new Map(names.map((name, i) => [name, variables[i] as tf.Tensor])));
  /** Mean loss of the queries and how many of them are right. */
  const judge = (step: number, part: 'train' | 'test'): { loss: tf.Scalar; right: tf.Scalar } => {
    const sequences = Array.from({ length: batch }, (_, i) =>
      task.draw(createRandom(seed, part, step, i)),
    );
    const inputs = tf.stack(
      sequences.map((sequence) => tf.tensor(sequence.inputs, [task.length, task.features])),
    );
    const targets = tf.tensor2d(
      sequences.map((sequence) => Array.from(sequence.targets)),
      undefined,
      'int32',
    );
    const logits = apply(tree(), layers, inputs, { training: true, path: '' });
    // The row of a target of -1 is 0 everywhere.
    const wanted = tf.oneHot(targets, task.classes, 1, 0, 'float32');
    const asked = batch * task.pairs;
    const best = tf.equal(tf.argMax(logits, 2), targets);
    return {
      loss: tf.neg(tf.div(tf.sum(tf.mul(tf.logSoftmax(logits), wanted)), asked)) as tf.Scalar,
      right: tf.div(tf.sum(tf.cast(best, 'float32')), asked) as tf.Scalar,
    };
  };
  const optimiser = tf.train.adam(learningRate);
  const losses: number[] = [];
  try {
    for (let step = 0; step < steps; step++) {
      const loss = optimiser.minimize(() => judge(step, 'train').loss, true, variables)!;
      losses.push(loss.dataSync()[0]);
      loss.dispose();
      await onStep?.(step, losses[step]);
    }
    const rounds = Math.max(1, Math.ceil(256 / batch));
    const rights = Array.from({ length: rounds }, (_, i) =>
      tf.tidy(() => judge(i, 'test').right.dataSync()[0]),
    );
    return {
      accuracy: rights.reduce((a, b) => a + b) / rounds,
      losses,
      parameters: countParameters(tree()),
      stateBytes: layers.reduce((sum, mixer) => sum + mixer.cost(task.length).stateBytes, 0),
    };
  } finally {
    optimiser.dispose();
    tf.dispose(variables);
  }
}

import * as tf from '@tensorflow/tfjs-core';

import { depthwiseConv2d } from '../engine/ops/depthwiseConv2d.js';
import { defaultLif, lif } from '../engine/ops/lif.js';
import { selectiveScan } from '../engine/ops/selectiveScan.js';
import { spikeMatMul } from '../engine/ops/spikes.js';
import { inference } from '../models/context.js';
import { smoothTargets } from '../models/training/loss.js';
import { startTraining, trainingStep } from '../models/training/step.js';
import { spikMambaPresets } from '../models/networks/presets.js';
import { createSpikMamba } from '../models/networks/spikMamba.js';
import { flatten, Initialiser } from '../models/parameters.js';

/** Something to time; `torch/bench.py` has its twin of the same name. */
export interface Work {
  readonly name: string;
  readonly title: string;
  /** How many times faster than the other side it should be. */
  readonly aim: number;
  /** Quick works are repeated more often. */
  readonly quick?: boolean;
  /** Makes the inputs; the function that it returns is what is timed. */
  prepare(): () => void;
  /** The other side, where that isn't PyTorch but ours done another way. */
  readonly instead?: { readonly title: string; prepare(): () => void };
}

const matMul = (size: number): Work => ({
  name: `matMul${size}`,
  title: `matMul, ${size} × ${size}`,
  aim: 0.9,
  quick: true,
  prepare: () => {
    const a: tf.Tensor2D = tf.randomNormal([size, size]);
    const b: tf.Tensor2D = tf.randomNormal([size, size]);
    return () => tf.matMul(a, b).dispose();
  },
});

/** Forward, and the gradients for a given gradient of the output. */
function forwardAndBackward(
  forward: (...inputs: tf.Tensor[]) => tf.Tensor,
  inputs: tf.Tensor[],
): () => void {
  const gradients = tf.grads(forward);
  const dy = tf.tidy(() => tf.randomNormal(forward(...inputs).shape));
  return () => {
    tf.tidy(() => void gradients(inputs, dy));
  };
}

const lifSettings = { ...defaultLif, decayInput: false };

function spikesAndWeight(): [tf.Tensor2D, tf.Tensor2D] {
  const fired = tf.less(tf.randomUniform([4096, 1024]), 0.1);
  return [tf.cast(fired, 'float32') as tf.Tensor2D, tf.randomNormal([1024, 1024])];
}

function baseModel() {
  const input = { bins: 16, channels: 2, height: 128, width: 128 };
  const model = createSpikMamba(spikMambaPresets.base, input, 11);
  return { model, parameters: model.initialise(new Initialiser(1)) };
}

export const works: readonly Work[] = [
  ...[512, 1024, 2048].map(matMul),
  {
    name: 'conv2d',
    title: 'conv2d 3 × 3, 8 × 56 × 56 × 64 → 64, forward + backward',
    aim: 1.5,
    prepare: () =>
      forwardAndBackward(
        (x, weight) => tf.conv2d(x as tf.Tensor4D, weight as tf.Tensor4D, 1, 'same'),
        [tf.randomNormal([8, 56, 56, 64]), tf.randomNormal([3, 3, 64, 64])],
      ),
  },
  {
    name: 'depthwiseConv2d',
    title: 'depthwise 3 × 3, 8 × 56 × 56 × 128, forward + backward',
    aim: 1.5,
    prepare: () => {
      const bias = tf.zeros([128]);
      return forwardAndBackward(
        (x, weight) => depthwiseConv2d(x, weight, bias),
        [tf.randomNormal([8, 56, 56, 128]), tf.randomNormal([3, 3, 128])],
      );
    },
  },
  {
    name: 'lif',
    title: 'LIF, 16 steps × 262,144 neurons, forward + backward',
    aim: 8,
    prepare: () => {
      const membrane = tf.zeros([1, 262144]);
      return forwardAndBackward(
        (x) => lif(x, membrane, lifSettings).spikes,
        [tf.randomNormal([1, 16, 262144])],
      );
    },
  },
  {
    name: 'selectiveScan',
    title: 'selective scan, 16 × 1,024 × 512 channels × 16 states, forward + backward',
    aim: 10,
    prepare: () => {
      const [batch, length, channels, states] = [16, 1024, 512, 16];
      const state = tf.zeros([batch, channels, states]);
      return forwardAndBackward(
        (u, delta, A, B, C, D, deltaBias) =>
          selectiveScan({ u, delta, A, B, C, D, deltaBias }, state).y,
        [
          tf.randomNormal([batch, length, channels]),
          tf.randomNormal([batch, length, channels]),
          tf.neg(tf.tile(tf.range(1, states + 1).reshape([1, states]), [channels, 1])),
          tf.randomNormal([batch, length, states]),
          tf.randomNormal([batch, length, states]),
          tf.randomNormal([channels]),
          tf.randomNormal([channels], -4),
        ],
      );
    },
  },
  {
    name: 'spikeMatMul',
    title: 'spike matMul at 10 % density, 4,096 × 1,024 × 1,024',
    aim: 2,
    quick: true,
    prepare: () => {
      const [spikes, weight] = spikesAndWeight();
      return () => tf.tidy(() => void spikeMatMul(spikes, weight));
    },
    instead: {
      title: 'our dense matMul',
      prepare: () => {
        const [spikes, weight] = spikesAndWeight();
        return () => tf.matMul(spikes, weight).dispose();
      },
    },
  },
  {
    name: 'trainingStep',
    title: 'SpikMamba training step, base, batch 4 × 16 bins × 128 × 128',
    aim: 3,
    prepare: () => {
      const { model, parameters } = baseModel();
      const x = tf.randomUniform([4, 16, 2, 128, 128]);
      const targets = tf.tensor(smoothTargets([0, 1, 2, 3], 11, 0.1), [4, 11]);
      let state = startTraining(flatten(parameters));
      return () => {
        ({ state } = trainingStep(model, state, x, targets, {
          learningRate: 1e-3,
          weightDecay: 0.01,
          gradientClip: 1,
          perStepLoss: 0,
          statisticsMomentum: 0.9,
        }));
      };
    },
  },
  {
    name: 'streamingInference',
    title: 'streaming inference, base, one time bin',
    aim: 5,
    quick: true,
    prepare: () => {
      const { model, parameters } = baseModel();
      const frame = tf.randomUniform([1, 1, 2, 128, 128]);
      const { state } = model.apply(parameters, frame, undefined, inference);
      return () => {
        tf.tidy(() => void model.apply(parameters, frame, state, inference).logits.dataSync());
      };
    },
  },
];

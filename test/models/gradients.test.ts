import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { selectBackend } from '../../engine/backend.js';
import { defaultLif } from '../../engine/ops/lif.js';
import type { Model } from '../../models/model.js';
import { createPublished } from '../../models/networks/published.js';
import { createSpikformer } from '../../models/networks/spikformer.js';
import { createSpikingConvNet } from '../../models/networks/spikingConvNet.js';
import { createSpikMamba, type SpikMambaConfig } from '../../models/networks/spikMamba.js';
import { flatten, Initialiser, isTrainable, unflatten } from '../../models/parameters.js';
import { clipLoss } from '../../models/training/loss.js';
import { inputShape, randomClips } from './networkConformance.js';

// Neurons whose step is replaced by the surrogate's primitive: the whole network is smooth, and its
// gradient is that of its loss.
const neuron = { ...defaultLif, decayInput: false, detachReset: false, relaxed: true };
const classes = 3;

const spikMamba: SpikMambaConfig = {
  mode: 'causal',
  stem: 'patch',
  patch: 2,
  kernelFrames: 2,
  embedding: 8,
  depth: 1,
  heads: 2,
  window: { frames: 2, rows: 2, columns: 2 },
  attentionEpsilon: 1,
  stateChannels: 12,
  states: 3,
  deltaRank: 2,
  taps: 3,
  scanOrder: 'frame',
  feedForward: 12,
  classToken: true,
  temporalPosition: true,
  neuron,
};

const small = { patch: 2, embedding: 8, depth: 1, heads: 2, feedForward: 12, neuron };

const models: readonly [string, Model][] = [
  ['spikmamba, causal', createSpikMamba(spikMamba, inputShape, classes)],
  [
    'spikmamba, bidirectional tubes',
    createSpikMamba(
      {
        ...spikMamba,
        mode: 'bidirectional',
        scanOrder: 'tube',
        window: { frames: 0, rows: 0, columns: 0 },
      },
      inputShape,
      classes,
    ),
  ],
  ['published', createPublished(small, inputShape, classes)],
  [
    'spikformer',
    createSpikformer({ ...small, stem: 'patch', attentionScale: 0.25 }, inputShape, classes),
  ],
  [
    'spikformer with the stem of Max-Former',
    createSpikformer({ ...small, stem: 'max', attentionScale: 0.25 }, inputShape, classes),
  ],
  [
    'spikformer with a convolutional stem',
    createSpikformer(
      { ...small, stem: 'convolutional', attentionScale: 0.25 },
      inputShape,
      classes,
    ),
  ],
  [
    'spikformer with the stem of Spikformer V2',
    createSpikformer({ ...small, stem: 'residual', attentionScale: 0.25 }, inputShape, classes),
  ],
  [
    'spikformer with delays',
    createSpikformer({ ...small, stem: 'delayed', attentionScale: 0.25 }, inputShape, classes),
  ],
  [
    'spikingConvNet',
    createSpikingConvNet({ patch: 2, channels: [6, 8, 10], neuron }, inputShape, classes),
  ],
];

describe.each(models)('gradient of %s, against finite differences of its loss', (_, model) => {
  beforeAll(async () => {
    await selectBackend('wasm');
  });
  afterAll(() => {
    expect(tf.memory().numTensors).toBe(0);
  });

  it.each([true, false])('training = %s', (training) => {
    tf.tidy(() => {
      const leaves = flatten(model.initialise(new Initialiser(3)));
      // Tokens start near zero, where their normalisation bends the loss sharply.
      for (const [path, tensor] of leaves) {
        if (/position|classToken/i.test(path)) leaves.set(path, tf.mul(tensor, 20));
      }
      // Delays are whole frames unless they train.
      const trained = [...leaves.keys()].filter(
        (path) => isTrainable(path) && (training || !path.endsWith('.delay')),
      );
      const input = randomClips(3, inputShape.bins, 4);
      const targets = tf.oneHot(tf.tensor1d([0, 2, 1], 'int32'), classes);
      const lossOf = (...values: tf.Tensor[]): tf.Scalar => {
        const all = new Map(leaves);
        trained.forEach((path, i) => all.set(path, values[i]));
        const context = { training, path: '' };
        const { logits } = model.apply(unflatten(all), input, undefined, context);
        // Sharper logits give a loss that rounding to float32 hides less.
        return clipLoss(tf.mul(logits, 5), targets, 0.5) as tf.Scalar;
      };
      const start = trained.map((path) => leaves.get(path)!);
      const gradients = tf.grads(lossOf)(start);
      trained.forEach((path, i) => {
        // Along its own gradient, a parameter's slope is the gradient's norm.
        const slope = tf.norm(gradients[i]).dataSync()[0];
        const direction = tf.div(gradients[i], Math.max(slope, 1e-12));
        const difference = (step: number): number => {
          const [above, below] = [step, -step].map((distance) =>
            tf.tidy(() => {
              const moved = [...start];
              moved[i] = tf.add(start[i], tf.mul(direction, distance));
              return lossOf(...moved).dataSync()[0];
            }),
          );
          return (above - below) / (2 * step);
        };
        // Richardson's extrapolation cancels the curvature's part of the error.
        const numeric = (4 * difference(1e-3) - difference(2e-3)) / 3;
        expect(Math.abs(numeric - slope), path).toBeLessThan(2e-4 + 0.02 * slope);
      });
    });
  });
});

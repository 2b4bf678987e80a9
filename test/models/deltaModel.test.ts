import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { selectBackend } from '../../engine/backend.js';
import { createRandom } from '../../engine/support/random.js';
import { splitState, stackStates } from '../../models/clipStates.js';
import { inference, Recorder, type Work } from '../../models/context.js';
import type { ClipState, Model } from '../../models/model.js';
import { createModel, modelSchema } from '../../models/networks/index.js';
import { disposeTree, type ParameterTree } from '../../models/parameters.js';
import { deltaModel, deltaUnits, type DeltaConfig } from '../../models/runtime/deltaModel.js';
import { bestBackend } from '../engine/backends.js';
import { relativeDifference } from './mixerConformance.js';
import {
  classes,
  createSubject,
  inputShape,
  randomClips,
  spikMamba,
  type Subject,
} from './networkConformance.js';

const networks = {
  spikmamba: spikMamba,
  'spikmamba with a class token, kernels of 2 frames': {
    ...spikMamba,
    classToken: true,
    kernelFrames: 2,
  },
  'spikmamba with delta activations': { ...spikMamba, delta: {} },
  'spikmamba with a mixer and a gated unit': {
    ...spikMamba,
    mixer: { name: 'gatedDeltaNet' },
    feedForwardKind: 'gated',
  },
  'spikmamba with attention inside frames': {
    ...spikMamba,
    mixer: { name: 'softmaxAttention' },
    mixerOver: 'frame',
  },
  'spikmamba with a gate, over frames, looking back': {
    ...spikMamba,
    mixer: { name: 'gatedAttention', context: 2 },
    mixerOver: 'frame',
  },
  'spikmamba with its own attention as a mixer over frames': {
    ...spikMamba,
    mixer: { name: 'spikMambaAttention' },
    mixerOver: 'frame',
  },
  'spikmamba with attention over the clip': {
    ...spikMamba,
    mixer: { name: 'softmaxAttention' },
    mixerOver: 'clip',
  },
  'spikmamba with a receptance': { ...spikMamba, feedForwardKind: 'receptance', delta: {} },
  published: { kind: 'published', patch: 2, embedding: 8, depth: 1, heads: 2, feedForward: 16, neuron: { decayInput: false } }, // prettier-ignore
  spikformer: { kind: 'spikformer', patch: 4, embedding: 8, feedForward: 12, stem: 'max' },
  'spikformer with a residual stem': { kind: 'spikformer', patch: 4, embedding: 8, feedForward: 12, stem: 'residual' }, // prettier-ignore
  'spikformer with delays': { kind: 'spikformer', patch: 4, embedding: 8, feedForward: 12, stem: 'delayed' }, // prettier-ignore
  spikingConvNet: { kind: 'spikingConvNet', patch: 2, channels: [6, 8] },
};

/** Runs a clip in chunks. */
function streamed(
  model: Model,
  parameters: ParameterTree,
  input: tf.Tensor,
  lengths: readonly number[],
): { logits: tf.Tensor; state: ClipState } {
  let state: ClipState | undefined;
  let at = 0;
  const parts = lengths.map((length) => {
    const chunk = tf.slice(input, [0, at], [-1, length]);
    const result = model.apply(parameters, chunk, state, inference);
    at += length;
    state = result.state;
    return result.logits;
  });
  return { logits: tf.concat(parts, 1), state: state! };
}

/** Multiply-accumulates of the stem over a clip in chunks. */
function stemWork(
  config: DeltaConfig,
  { model, parameters }: Subject,
  input: tf.Tensor,
  lengths: readonly number[],
): Work {
  const delta = deltaModel(model, config);
  let state: ClipState | undefined;
  let at = 0;
  const total = { macs: 0, denseMacs: 0 };
  for (const length of lengths) {
    const recorder = new Recorder();
    const chunk = tf.slice(input, [0, at], [-1, length]);
    ({ state } = delta.apply(parameters, chunk, state, { ...inference, recorder }));
    const { macs, denseMacs } = recorder.work.get('embedding.projection')!;
    recorder.dispose();
    total.macs += macs;
    total.denseMacs += denseMacs;
    at += length;
  }
  return total;
}

/** Clips in which only the patches of `moving` rows and columns of patches change after the first frame. */
function stillClips(time: number, moving: number, seed: number): tf.Tensor {
  const first = tf.tile(randomClips(2, 1, seed), [1, time, 1, 1, 1]);
  const other = randomClips(2, time, seed + 1);
  const side = 2 * moving;
  const mask = tf.pad(tf.ones([side, side]), [[0, inputShape.height - side], [0, inputShape.width - side]]); // prettier-ignore
  return tf.add(tf.mul(first, tf.sub(1, mask)), tf.mul(other, mask));
}

beforeAll(async () => {
  await selectBackend(bestBackend);
});
afterAll(() => {
  expect(tf.memory().numTensors).toBe(0);
});

describe('a network that computes changes alone', () => {
  for (const [title, config] of Object.entries(networks)) {
    it(`gives the logits of the whole one at threshold 0, in chunks of any length: ${title}`, () => {
      tf.tidy(() => {
        const { model, parameters } = createSubject(config, 7);
        const input = randomClips(2, 9, 3);
        const { logits } = model.apply(parameters, input, undefined, inference);
        for (const unit of deltaUnits) {
          const delta = deltaModel(model, { unit });
          for (const lengths of [[9], [4, 1, 4], Array.from({ length: 9 }, () => 1)]) {
            const result = streamed(delta, parameters, input, lengths);
            expect(relativeDifference(result.logits, logits), unit).toBeLessThan(1e-5);
            expect(result.state.frame).toBe(9);
          }
        }
        disposeTree(parameters);
      });
    });
  }

  it('makes the products of patches that changed, and of no others', () => {
    tf.tidy(() => {
      const subject = createSubject(spikMamba, 7);
      for (const moving of [0, 1, 2, 4]) {
        const time = 5;
        const input = stillClips(time, moving, 20 + moving);
        const { macs, denseMacs } = stemWork({ unit: 'token' }, subject, input, [2, 3]);
        const [patches, features, width] = [16, 8, 8];
        expect(denseMacs).toBe(2 * time * patches * features * width);
        // Patches of 2 × 2 pixels: counted from the frames themselves.
        const frames = tf.reshape(input, [2, time, 2, 4, 2, 4, 2]);
        const before = tf.concat([tf.zeros([2, 1, 2, 4, 2, 4, 2]), tf.slice(frames, [0, 0], [-1, time - 1])], 1); // prettier-ignore
        const differs = tf.notEqual(frames, before);
        const changed = tf.sum(tf.cast(tf.any(tf.any(tf.any(differs, 6), 4), 2), 'float32')).dataSync()[0]; // prettier-ignore
        expect(macs).toBe(changed * features * width);
        expect(changed).toBeLessThanOrEqual(2 * patches + 2 * (time - 1) * moving ** 2);
        const values = stemWork({ unit: 'value' }, subject, input, [2, 3]);
        expect(values.macs).toBe(tf.sum(tf.cast(differs, 'float32')).dataSync()[0] * width);
        expect(values.denseMacs).toBe(denseMacs);
      }
      disposeTree(subject.parameters);
    });
  });

  it('attends inside frames at a cost that falls with the patches that change', () => {
    tf.tidy(() => {
      // Tokens that change where events do, and nowhere else: no position in time, neurons that remember next to nothing.
      const config = {
        ...spikMamba,
        depth: 1,
        temporalPosition: false,
        neuron: { tau: 1 + 1e-6 },
        mixer: { name: 'softmaxAttention' },
        mixerOver: 'frame',
      };
      const { model, parameters } = createSubject(config, 7);
      const [time, patches, width] = [6, 16, 8];
      const work = [0, 1, 2, 4].map((moving) => {
        const input = stillClips(time, moving, 20);
        const recorder = new Recorder();
        const delta = deltaModel(model);
        const { logits } = delta.apply(parameters, input, undefined, { ...inference, recorder });
        const expected = model.apply(parameters, input, undefined, inference).logits;
        expect(relativeDifference(logits, expected)).toBeLessThan(1e-5);
        const found = new Map(recorder.work);
        recorder.dispose();
        return found;
      });
      const name = 'blocks.0.attention';
      const scores = 2 * time * 2 * patches * patches * width;
      const products = 2 * time * patches * width * width;
      for (const [i, found] of work.entries()) {
        expect(found.get(name)!.denseMacs).toBe(scores);
        for (const weight of ['query', 'key', 'value', 'output']) {
          expect(found.get(`${name}.${weight}`)!.denseMacs).toBe(products);
        }
        // After the first frame nothing is left to do where nothing moves.
        if (i === 0) expect(found.get(name)!.macs).toBe(scores / time);
        else expect(found.get(name)!.macs).toBeGreaterThan(work[i - 1].get(name)!.macs);
        const query = found.get(`${name}.query`)!.macs;
        expect(query).toBeLessThanOrEqual(products);
        if (i > 0) expect(query).toBeGreaterThan(work[i - 1].get(`${name}.query`)!.macs);
      }
      disposeTree(parameters);
    });
  });

  it('lets changes wait that are no larger than the threshold, until they have grown', () => {
    tf.tidy(() => {
      const subject = createSubject(spikMamba, 7);
      const random = createRandom(4, 'noise');
      const still = tf.tile(randomClips(1, 1, 5), [1, 8, 1, 1, 1]);
      const noise = tf.tensor(Float32Array.from({ length: still.size }, () => 0.02 * random.uniform()), still.shape); // prettier-ignore
      const drift = tf.mul(tf.reshape(tf.range(0, 8), [1, 8, 1, 1, 1]), tf.fill(still.shape, 0.03));
      for (const unit of deltaUnits) {
        const macs = (input: tf.Tensor, threshold: number): number => {
          const stem = stemWork({ threshold, unit }, subject, input, [3, 5]);
          return stem.macs / stem.denseMacs;
        };
        const noisy = tf.add(still, noise);
        expect(macs(noisy, 0)).toBe(1);
        // The first frame alone.
        expect(macs(noisy, 0.05)).toBeLessThanOrEqual(1 / 8);
        // 0.03 a frame: every second one is over 0.05.
        expect(macs(tf.add(tf.add(still, 1), drift), 0.05)).toBeCloseTo(4 / 8, 6);
      }
      disposeTree(subject.parameters);
    });
  });

  it('carries its state like any other: clips apart, together, and from different frames', () => {
    tf.tidy(() => {
      const { model, parameters } = createSubject(spikMamba, 7);
      for (const config of deltaUnits.flatMap((unit) =>
        [0, 0.3].map((threshold) => ({ unit, threshold })),
      )) {
        // prettier-ignore
        const delta = deltaModel(model, config);
        const input = randomClips(2, 6, 9);
        const clip = (i: number, from: number, count: number): tf.Tensor =>
          tf.slice(input, [i, from], [1, count]);
        const alone = [0, 1].map((i) => streamed(delta, parameters, clip(i, 0, 6), [6]).logits);
        // The first clip is three frames ahead of the second.
        const ahead = streamed(delta, parameters, clip(0, 0, 3), [3]).state;
        const state = stackStates([splitState(ahead, 1)[0], undefined]);
        const both = tf.concat([clip(0, 3, 3), clip(1, 0, 3)]);
        const { logits } = delta.apply(parameters, both, state, inference);
        const expected = tf.concat([tf.slice(alone[0], [0, 3], [1, 3]), tf.slice(alone[1], [0, 0], [1, 3])]); // prettier-ignore
        expect(relativeDifference(logits, expected)).toBeLessThan(1e-5);
      }
      disposeTree(parameters);
    });
  });

  it('trains as the whole one does', () => {
    tf.tidy(() => {
      const model = createModel(modelSchema.parse(spikMamba), inputShape, classes);
      const { parameters } = createSubject(spikMamba, 7);
      const input = randomClips(2, 5, 2);
      const training = { training: true, path: '' };
      const [one, other] = [model, deltaModel(model, { threshold: 9 })].map(
        (each) => each.apply(parameters, input, undefined, training).logits,
      );
      expect(relativeDifference(one, other)).toBe(0);
      disposeTree(parameters);
    });
  });
});

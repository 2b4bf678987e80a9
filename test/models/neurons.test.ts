import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';

import { selectBackend } from '../../engine/backend.js';
import { createRandom, permutation } from '../../engine/support/random.js';
import { lempelZivComplexity, lempelZivWords } from '../../models/analysis/lempelZiv.js';
import { dendriticNeuron, drawSynapses, falseMatchProbability } from '../../models/neurons/dendritic.js'; // prettier-ignore
import { metaLifNeuron } from '../../models/neurons/metaLif.js';
import { defaultNeuron } from '../../models/neurons/neuron.js';
import {
  decodeSpikes,
  encodeSpikes,
  spikeCounts,
  spikeLinear,
  spikeShare,
  type SpikeCode,
  type SpikeUse,
} from '../../models/neurons/spikeCoding.js';
import { Initialiser } from '../../models/parameters.js';
import { bestBackend } from '../engine/backends.js';
import { relativeDifference } from './mixerConformance.js';
import { describeNeuron } from './neuronConformance.js';

describeNeuron('integrate-and-fire', { kind: 'if' });
describeNeuron('leaky integrate-and-fire', { kind: 'lif' });
describeNeuron('leaky integrate-and-fire, soft reset, decaying input', {
  kind: 'lif',
  reset: 'soft',
  decayInput: true,
  threshold: 0.6,
});
describeNeuron('with learned time constants', { kind: 'plif' });
describeNeuron('with adapting thresholds', { kind: 'alif' });
describeNeuron('with learned inner parameters', { kind: 'metaLif' });
describeNeuron('with learned inner parameters, soft reset', { kind: 'metaLif', reset: 'soft' });
describeNeuron('with dendrites', { kind: 'dendritic', segments: 2, synapses: 3 });

beforeAll(async () => {
  await selectBackend(bestBackend);
});
const tidily = (name: string, run: () => void): void => it(name, () => void tf.tidy(run));

describe('MetaLIF', () => {
  tidily('is LIF at its first values, but for the reset, which is soft and hard in part', () => {
    const config = { ...defaultNeuron, kind: 'metaLif' as const, tau: 3, threshold: 0.7 };
    const parameters = metaLifNeuron.initialise!(new Initialiser(1), 4, config);
    // One step from rest fires where X / τ reaches the threshold.
    const x = tf.tensor([2, 2.09, 2.11, 9], [1, 1, 1, 4]);
    const { spikes, state } = metaLifNeuron.run(x, [tf.zeros([1, 1, 4])], parameters, config);
    expect(Array.from(spikes.dataSync())).toEqual([0, 0, 1, 1]);
    const r = 1 / (1 + Math.exp(-2));
    expect(state[0].dataSync()[3]).toBeCloseTo(3 - (r * 3 + (1 - r) * 0.7), 5);
  });

  tidily("learns the time constant that made another neuron's spikes", () => {
    const config = {
      ...defaultNeuron,
      kind: 'metaLif' as const,
      relaxed: true,
      detachReset: false,
    };
    const x = tf.randomNormal([8, 30, 1, 1], 1, 1, 'float32', 1);
    const rest = [tf.zeros([8, 1, 1])];
    const fixed = metaLifNeuron.initialise!(new Initialiser(1), 1, config);
    const spikesAt = (logTau: tf.Tensor): tf.Tensor =>
      metaLifNeuron.run(x, rest, { ...fixed, logTau }, config).spikes;
    const target = spikesAt(tf.tensor1d([Math.log(5 - 1)]));
    const loss = (logTau: tf.Tensor): tf.Scalar =>
      tf.mean(tf.square(tf.sub(spikesAt(logTau), target))) as tf.Scalar;
    let logTau: tf.Tensor = tf.tensor1d([0]);
    for (let step = 0; step < 60; step++) {
      const size = 0.3 * 0.92 ** step;
      logTau = tf.tidy(() => tf.sub(logTau, tf.mul(tf.sign(tf.grad(loss)(logTau)), size)));
    }
    expect(1 + Math.exp(logTau.dataSync()[0])).toBeCloseTo(5, 1);
  });
});

describe('dendritic neurons', () => {
  it('listen to others without repetition, the same each time', () => {
    const synapses = drawSynapses(10, 3, 4);
    for (let at = 0; at < synapses.length; at += 4) {
      expect(new Set(synapses.subarray(at, at + 4)).size).toBe(4);
    }
    expect(drawSynapses(10, 3, 4)).toEqual(synapses);
    expect(new Set(synapses).size).toBe(10);
  });

  tidily('fire at a lower threshold after the pattern that a segment knows', () => {
    const config = { ...defaultNeuron, kind: 'dendritic' as const, segments: 1, synapses: 3, segmentThreshold: 3, decayInput: false }; // prettier-ignore
    const parameters = dendriticNeuron.initialise!(new Initialiser(1), 8, config);
    const known = new Set(drawSynapses(8, 1, 3).subarray(0, 3));
    const after = (active: (cell: number) => boolean): number => {
      const before = tf.tensor(
        Array.from({ length: 8 }, (_, i) => Number(active(i))),
        [1, 1, 8],
      );
      const x = tf.fill([1, 1, 1, 8], 0.6);
      return dendriticNeuron.run(x, [tf.zeros([1, 1, 8]), before], parameters, config).spikes.dataSync()[0]; // prettier-ignore
    };
    expect(after((cell) => known.has(cell))).toBe(1);
    const [one] = known;
    expect(after((cell) => known.has(cell) && cell !== one)).toBe(0);
  });

  it('take random patterns for their own as rarely as the formula says', () => {
    expect(falseMatchProbability(2048, 40, 20, 10) / 3.9e-13).toBeCloseTo(1, 1);
    const random = createRandom(1);
    let matches = 0;
    for (let run = 0; run < 20_000; run++) {
      const active = permutation(200, random).subarray(0, 20);
      if (active.reduce((overlap, cell) => overlap + Number(cell < 12), 0) >= 4) matches++;
    }
    const expected = falseMatchProbability(200, 20, 12, 4);
    expect(expected).toBeCloseTo(0.0216, 4);
    // Five standard deviations.
    expect(Math.abs(matches / 20_000 - expected)).toBeLessThan(5 * Math.sqrt(expected / 20_000));
  });
});

describe('Lempel-Ziv complexity', () => {
  it('counts the words of known sequences', () => {
    const words = (text: string): number => lempelZivWords([...text].map(Number));
    expect(words('0001101001000101')).toBe(6);
    expect(words('0')).toBe(1);
    expect(words('0000000')).toBe(2);
    expect(words('0101010')).toBe(3);
    expect(words('')).toBe(0);
  });

  it('is about 1 for random spikes and near 0 for constant ones', () => {
    const random = createRandom(2);
    const spikes = Array.from({ length: 4096 }, () => random.integer(2));
    expect(lempelZivComplexity(spikes)).toBeGreaterThan(0.9);
    expect(lempelZivComplexity(spikes)).toBeLessThan(1.15);
    expect(lempelZivComplexity(new Array<number>(4096).fill(1))).toBeCloseTo(0.006, 3);
  });
});

describe('spike codes', () => {
  const codes: SpikeCode[] = ['binary', 'ternary', 'bitwise', 'complement'];

  it.each(codes)('%s: decodes to what was encoded, and multiplies like it', (code) => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: -19, max: 19 }), { minLength: 6, maxLength: 6 }),
        fc.boolean(),
        (values, positive) => {
          tf.tidy(() => {
            const counts = tf.tensor(positive ? values.map(Math.abs) : values, [2, 3], 'float32');
            const spikes = encodeSpikes(counts, code);
            expect(relativeDifference(decodeSpikes(spikes), counts)).toBe(0);
            const allowed = code === 'ternary' || code === 'bitwise' ? [-1, 0, 1] : [0, 1];
            for (const plane of spikes.planes) {
              for (const value of plane.dataSync()) expect(allowed).toContain(value + 0);
            }
            const more = encodeSpikes(counts, code, spikes.planes.length + 2);
            expect(relativeDifference(decodeSpikes(more), counts)).toBe(0);
          });
        },
      ),
    );
    expect(() => tf.tidy(() => void encodeSpikes(tf.tensor([9]), code, 2))).toThrow(/2 steps/);
  });

  tidily('give the product of the counts, whatever the code', () => {
    const x = tf.randomNormal([5, 16], 0, 1, 'float32', 1);
    const weight = tf.randomNormal([16, 4], 0, 1, 'float32', 2);
    const { counts, threshold } = spikeCounts(x, 3);
    const expected = tf.mul(tf.matMul(counts as tf.Tensor2D, weight as tf.Tensor2D), threshold);
    for (const code of codes) {
      const y = spikeLinear(x, weight, { code, resolution: 3 });
      expect(relativeDifference(y, expected), code).toBeLessThan(1e-5);
    }
    // A blank token has no counts, and no infinities.
    expect(tf.max(tf.abs(spikeLinear(tf.zeros([1, 16]), weight, { code: 'binary', resolution: 3 }))).dataSync()[0]).toBe(0); // prettier-ignore
  });

  tidily('say what they were: counts that are 0, cut or spiked', () => {
    // Mean size 1, so with k = 3 counts of 3, -6, 0 and 3.
    const x = tf.tensor([1, -2, 0, 1], [1, 4]);
    const weight = tf.tensor([1, 10, 100, 1000], [4, 1]);
    const used = (code: SpikeCode, bits?: number): { y: number; use: SpikeUse } => {
      let use: SpikeUse | undefined;
      const y = spikeLinear(x, weight, { code, resolution: 3, bits }, (found) => (use = found));
      return { y: y.dataSync()[0], use: use! };
    };
    const common = { values: 4, zeros: 1, clipped: 0 };
    expect(used('ternary')).toMatchObject({ use: { ...common, steps: 6, spikes: 12 } });
    expect(used('ternary').y).toBeCloseTo(1 - 20 + 1000, 3);
    // 3 is 11, 6 is 110: two bits each.
    expect(used('bitwise').use).toEqual({ ...common, steps: 3, spikes: 6 });
    // Counted from -6: 9, 0, 6 and 9 spikes.
    expect(used('binary').use).toEqual({ ...common, steps: 9, spikes: 24 });
    // Two bits hold 3: -6 is cut to -3.
    const cut = used('bitwise', 2);
    expect(cut.use).toEqual({ ...common, clipped: 1, steps: 2, spikes: 6 });
    expect(cut.y).toBeCloseTo(1 - 10 + 1000, 3);
  });

  tidily('lose what rounding loses: a tenth of normal values become 0', () => {
    const x = tf.randomNormal([1, 200_000], 0, 1, 'float32', 3);
    const { counts, threshold } = spikeCounts(x, 3);
    const zeros = 1 - tf.mean(tf.abs(tf.sign(counts))).dataSync()[0];
    expect(zeros).toBeCloseTo(0.105, 2);
    const error = tf.div(tf.norm(tf.sub(tf.mul(counts, threshold), x)), tf.norm(x)).dataSync()[0];
    expect(error).toBeCloseTo(0.077, 2);
    // Bits are rarer than counts.
    const share = (code: SpikeCode): number => spikeShare(encodeSpikes(counts, code));
    expect(share('bitwise')).toBeLessThan(1 - zeros);
  });

  it('keep the accuracy of a trained network within a percent', () => {
    tf.tidy(() => {
      const random = createRandom(4);
      const centres = Array.from({ length: 4 }, () => Array.from({ length: 8 }, () => random.normal())); // prettier-ignore
      const labels = Array.from({ length: 400 }, () => random.integer(4));
      const x = tf.tensor(labels.map((label) => centres[label].map((value) => value + 0.4 * random.normal()))); // prettier-ignore
      const targets = tf.oneHot(tf.tensor1d(labels, 'int32'), 4);
      let weights: tf.Tensor[] = [
        tf.randomNormal([8, 32], 0, 0.35, 'float32', 5),
        tf.randomNormal([32, 4], 0, 0.2, 'float32', 6),
      ];
      type Product = (a: tf.Tensor, b: tf.Tensor) => tf.Tensor;
      const logits = (product: Product, [first, second]: tf.Tensor[]): tf.Tensor =>
        product(tf.relu(product(x, first)), second);
      const dense: Product = (a, b) => tf.matMul(a as tf.Tensor2D, b as tf.Tensor2D);
      const loss = (...all: tf.Tensor[]): tf.Scalar =>
        tf.neg(tf.mean(tf.sum(tf.mul(targets, tf.logSoftmax(logits(dense, all))), 1))) as tf.Scalar;
      for (let step = 0; step < 80; step++) {
        const gradients = tf.grads(loss as (...xs: tf.Tensor[]) => tf.Scalar)(weights);
        weights = weights.map((value, i) => tf.sub(value, tf.mul(gradients[i], 0.5)));
      }
      const accuracy = (product: Product): number => {
        const predicted = tf.argMax(logits(product, weights), 1).dataSync();
        return labels.filter((label, i) => predicted[i] === label).length / labels.length;
      };
      const before = accuracy(dense);
      expect(before).toBeGreaterThan(0.9);
      for (const code of codes) {
        const after = accuracy((a, b) => spikeLinear(a, b, { code, resolution: 3 }));
        expect(after, code).toBeGreaterThan(before - 0.01);
      }
    });
  });
});

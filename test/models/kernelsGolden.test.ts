import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';

import { selectBackend } from '../../engine/backend.js';
import { inference } from '../../models/context.js';
import { decays } from '../../models/mixers/linear/decays/index.js';
import { featureMaps } from '../../models/mixers/linear/featureMaps/index.js';
import { hebb, hebbBothWays } from '../../models/mixers/linear/memories/hebb.js';
import { normalisers } from '../../models/mixers/linear/normalisers/index.js';
import type { Segment } from '../../models/mixers/linear/slots.js';
import { bestBackend } from '../engine/backends.js';
import { headSizes, relativeDifference } from './mixerConformance.js';

type Heads = number[][][];
type Slopes = 'alibi' | 'annealed' | 'linearSlopes';

/** Made by kernels.py, which knows the published implementations' equations and nothing of this project. */
const golden = JSON.parse(
  readFileSync(join(import.meta.dirname, '../golden/kernels.json'), 'utf8'),
) as {
  readonly inputs: Record<'q' | 'k' | 'v', Heads> & { readonly weight: [Heads, Heads] };
  readonly hedgehog: Record<'hedgehog' | 'hedgehogJoint', Record<'query' | 'weights', Heads>>;
  readonly slopes: ({ heads: number; layer: number; layers: number } & Record<Slopes, number[]>)[];
  readonly lightning: Record<'annealed' | 'linearSlopes', Heads>;
  readonly flow: Record<'sources' | 'heads', Heads>;
};
const { inputs } = golden;
const [heads, tokens, width] = [2, 6, 4];
const sizes = headSizes(heads, width);
const normaliserSizes = {
  ...sizes,
  features: width,
  plainFeatures: width,
  positioned: false,
  epsilon: 1e-9,
};
const place = { layer: 1, layers: 4, rank: 1 };
const batched = (x: Heads): tf.Tensor => tf.tensor4d([x]);
const segment = (): Segment => ({
  x: tf.zeros([1, tokens, sizes.width]),
  mask: undefined,
  frame: 0,
  form: 'parallel',
  context: inference,
});

describe('kernels that share a name, each as the implementation that it is named for', () => {
  beforeAll(async () => {
    await selectBackend(bestBackend);
  });
  const tidily = (name: string, body: () => void): void => it(name, () => void tf.tidy(body));
  const input = (): Record<'q' | 'k' | 'v', tf.Tensor> => ({
    q: batched(inputs.q),
    k: batched(inputs.k),
    v: batched(inputs.v),
  });

  for (const [name, other] of [
    ['hedgehog', 'hedgehogJoint'],
    ['hedgehogJoint', 'hedgehog'],
  ] as const) {
    tidily(`${name}: features and rows of weights`, () => {
      const [query, key] = inputs.weight.map((weight) => tf.tensor3d(weight));
      const map = featureMaps[name](sizes);
      const { q, k } = map.apply({ query, key }, input(), undefined, segment());
      const products = tf.linalg.bandPart(tf.matMul(q, k, false, true), -1, 0);
      const weights = tf.div(products, tf.sum(products, 3, true));
      expect(relativeDifference(q, batched(golden.hedgehog[name].query))).toBeLessThan(1e-6);
      expect(relativeDifference(weights, batched(golden.hedgehog[name].weights))).toBeLessThan(
        1e-6,
      );
      expect(relativeDifference(weights, batched(golden.hedgehog[other].weights))).toBeGreaterThan(
        0.02,
      );
    });
  }

  it.each(golden.slopes)('slopes of $heads heads in layer $layer of $layers', (wanted) => {
    tf.tidy(() => {
      for (const name of ['alibi', 'annealed', 'linearSlopes'] as const) {
        const gate = decays[name]({ ...sizes, heads: wanted.heads }, wanted);
        const k = tf.zeros([1, wanted.heads, 1, width]);
        const { logDecay } = gate.apply({}, k, undefined, segment());
        Array.from(logDecay!.dataSync()).forEach((slope, head) =>
          expect(-slope, `${name}, head ${head}`).toBeCloseTo(wanted[name][head], 6),
        );
      }
    });
  });

  for (const [name, other, normaliser] of [
    ['annealed', 'linearSlopes', 'none'],
    ['linearSlopes', 'annealed', 'scaled'],
  ] as const) {
    tidily(`Lightning with ${name}, ${normaliser === 'none' ? 'un' : ''}scaled`, () => {
      const { q, k, v } = input();
      const { logDecay } = decays[name](sizes, place).apply({}, k, undefined, segment());
      const { out } = normalisers[normaliser](normaliserSizes).apply(
        { q, k, v },
        { q, k },
        (_, memory) =>
          hebb.apply({}, { ...memory, logDecay, position: 0 }, undefined, 'parallel').out,
        undefined,
        segment(),
      );
      expect(relativeDifference(out, batched(golden.lightning[name]))).toBeLessThan(1e-6);
      expect(relativeDifference(out, batched(golden.lightning[other]))).toBeGreaterThan(0.1);
    });
  }

  tidily('Flowformer: sources compete with each other, not heads', () => {
    const { q, k, v } = input();
    const mapped = featureMaps.sigmoid(sizes).apply({}, { q, k }, undefined, segment());
    const { out } = normalisers
      .flow({ ...normaliserSizes, causal: false })
      .apply(
        { q: mapped.q, k: mapped.k, v },
        mapped,
        (_, memory) => hebbBothWays(memory),
        undefined,
        segment(),
      );
    // The published addends of 1e-6 are a floor here.
    expect(relativeDifference(out, batched(golden.flow.sources))).toBeLessThan(2e-5);
    expect(relativeDifference(out, batched(golden.flow.heads))).toBeGreaterThan(0.1);
  });
});

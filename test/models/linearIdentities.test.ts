import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';

import { selectBackend } from '../../engine/backend.js';
import { selectiveScan } from '../../engine/ops/selectiveScan.js';
import { inference } from '../../models/context.js';
import { joinHeads, splitHeads } from '../../models/mixers/heads.js';
import { plainCell } from '../../models/mixers/linear/cell.js';
import { decays } from '../../models/mixers/linear/decays/index.js';
import { featureMaps } from '../../models/mixers/linear/featureMaps/index.js';
import { locals } from '../../models/mixers/linear/locals/index.js';
import { memories } from '../../models/mixers/linear/memories/index.js';
import { retained } from '../../models/mixers/linear/memories/miras.js';
import { inverseOfUnitLower } from '../../models/mixers/linear/memories/triangular.js';
import { conservedFlows } from '../../models/mixers/linear/normalisers/flow.js';
import { normalisers } from '../../models/mixers/linear/normalisers/index.js';
import { positions } from '../../models/mixers/linear/positions/index.js';
import { selectiveAttention } from '../../models/mixers/linear/selectiveStateSpace.js';
import type { MemoryInput, Segment, Sizes } from '../../models/mixers/linear/slots.js';
import { createMixer } from '../../models/mixers/registry.js';
import type { MixerForm } from '../../models/mixers/tokenMixer.js';
import { flatten, Initialiser, unflatten, type ParameterTree } from '../../models/parameters.js';
import { bestBackend } from '../engine/backends.js';
import { headSizes, relativeDifference } from './mixerConformance.js';

const [heads, width, tokens] = [2, 4, 13];
const sizes: Sizes = headSizes(heads, width);
const settings = { ...plainCell, rank: 3, chunkTokens: 4 };

const normal = (shape: number[], seed: number, deviation = 1): tf.Tensor =>
  tf.randomNormal(shape, 0, deviation, 'float32', seed);

/** `[1, heads, tokens, features]`. */
const some = (seed: number, features = width, count = tokens, deviation = 1): tf.Tensor =>
  normal([1, heads, count, features], seed, deviation);

const segment = (x: tf.Tensor = tf.zeros([1, tokens, 8]), frame = 0): Segment => ({
  x,
  mask: undefined,
  frame,
  form: 'parallel',
  context: inference,
});

type Rows = number[][];
const ofHead = (x: tf.Tensor, head: number): Rows => (x.arraySync() as number[][][][])[0][head];
const dot = (a: readonly number[], b: readonly number[]): number =>
  a.reduce((sum, value, i) => sum + value * b[i], 0);

/** Σ_s weight(t, s) v[s] over s ≤ t in float64, head by head. */
function summed(v: tf.Tensor, weight: (head: number, t: number, s: number) => number): tf.Tensor {
  return tf.tensor4d([
    Array.from({ length: heads }, (_, head) => {
      const rows = ofHead(v, head);
      return rows.map((_row, t) =>
        rows[0].map((_value, j) =>
          Array.from({ length: t + 1 }, (_u, s) => weight(head, t, s) * rows[s][j]).reduce(
            (a, b) => a + b,
          ),
        ),
      );
    }),
  ]);
}

const read = (
  name: keyof typeof memories,
  input: Omit<MemoryInput, 'position'>,
  form: MixerForm = 'parallel',
  parameters: ParameterTree = {},
  changes: Partial<typeof settings> = {},
): tf.Tensor =>
  memories[name](sizes, { ...settings, ...changes }).apply(
    parameters,
    { position: 0, ...input },
    undefined,
    form,
  ).out;

const forms: MixerForm[] = ['parallel', 'step'];

/** Entropy of a distribution. */
const entropy = (weights: readonly number[]): number => {
  const total = weights.reduce((a, b) => a + b);
  return -weights.reduce((sum, w) => sum + (w > 0 ? (w / total) * Math.log(w / total) : 0), 0);
};

describe('linear mixers: what their papers state', () => {
  beforeAll(async () => {
    await selectBackend(bestBackend);
  });
  const identity = (name: string, body: () => void): void => it(name, () => void tf.tidy(body));

  identity('Lightning: o[t] = Σ λ^(t-s) (q[t] · k[s]) v[s]', () => {
    const [q, k, v] = [1, 2, 3].map((seed) => some(seed));
    const slopes = [2 ** -4, 2 ** -8];
    const { logDecay } = decays.alibi(sizes, settings).apply({}, k, undefined, segment());
    const expected = summed(
      v,
      (head, t, s) =>
        Math.exp(-slopes[head] * (t - s)) * dot(ofHead(q, head)[t], ofHead(k, head)[s]),
    );
    for (const form of forms) {
      expect(relativeDifference(read('hebb', { q, k, v, logDecay }, form), expected)).toBeLessThan(
        1e-6,
      );
    }
  });

  identity('Lightning: the block is W_o (Norm(Lightning(silu, silu, silu)) ⊙ σ(W x))', () => {
    const shape = { width: 8, heads, rows: 1, columns: 1 };
    const place = { layer: 1, layers: 3 };
    const mixer = createMixer({ name: 'lightning1', ...place }, shape);
    const parameters = mixer.initialise(new Initialiser(3)) as Record<string, ParameterTree>;
    const x = normal([1, tokens, 8], 1);
    const project = (weight: unknown): tf.Tensor =>
      tf.reshape(tf.matMul(tf.reshape(x, [tokens, 8]), weight as tf.Tensor2D), [1, tokens, 8]);
    const [q, k, v] = [parameters.query, parameters.key, parameters.value].map((weight) => {
      const y = project(weight);
      return splitHeads(tf.mul(y, tf.sigmoid(y)), heads);
    });
    const slopes = [2 ** -4, 2 ** -8].map((slope) => slope * (1 - 1 / 2 + 1e-5));
    const read = summed(
      v,
      (head, t, s) =>
        Math.exp(-slopes[head] * (t - s)) * dot(ofHead(q, head)[t], ofHead(k, head)[s]),
    );
    const joined = joinHeads(read);
    // SimpleRMSNorm: x / (|x| / √d).
    const normed = tf.div(joined, tf.div(tf.norm(joined, 2, 2, true), Math.sqrt(8)));
    const gated = tf.mul(normed, tf.sigmoid(project(parameters.outputGate.weight)));
    const expected = tf.matMul(
      tf.reshape(gated, [tokens, 8]),
      parameters.output as unknown as tf.Tensor2D,
    );
    const { output } = mixer.apply(parameters, x, undefined, inference);
    expect(relativeDifference(output, tf.reshape(expected, output.shape))).toBeLessThan(1e-4);
  });

  identity("TransNormer's slopes end at almost 0; another library's are not the same", () => {
    const factorsOf = (name: 'annealed' | 'linearSlopes', layer: number): number[] => {
      const gate = decays[name]({ ...sizes, heads: 8 }, { ...settings, layer, layers: 4 });
      const k = tf.zeros([1, 8, 1, 4]);
      return Array.from(tf.neg(gate.apply({}, k, undefined, segment()).logDecay!).dataSync());
    };
    expect(factorsOf('annealed', 0)[0]).toBeCloseTo(0.5, 4);
    expect(factorsOf('annealed', 0)[7]).toBeCloseTo(0.0039, 4);
    for (const slope of factorsOf('annealed', 3)) {
      expect(1 - Math.exp(-slope)).toBeLessThan(1e-5);
    }
    expect(factorsOf('linearSlopes', 0)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  });

  identity('decay never overflows, where the factored form λ^(-t) does', () => {
    const long = 4096;
    const mixer = createMixer({ name: 'lightning2' }, { width: 8, heads: 2, rows: 1, columns: 1 });
    const parameters = mixer.initialise(new Initialiser(1));
    const x = normal([1, long, 8], 2);
    const { output } = mixer.apply(parameters, x, undefined, inference, { chunk: 64 });
    expect(tf.all(tf.isFinite(output)).dataSync()[0]).toBe(1);
    const factored = tf.exp(tf.mul(tf.range(0, long), 2 ** -4));
    expect(tf.all(tf.isFinite(factored)).dataSync()[0]).toBe(0);
  });

  identity('gated linear attention stays finite at α = 1e-4, and is undecayed at α = 1', () => {
    const long = 512;
    const [q, k, v] = [1, 2, 3].map((seed) => some(seed, width, long));
    const decay = (alpha: number): tf.Tensor => tf.fill(q.shape, Math.log(alpha));
    const strong = read('hebb', { q, k, v, logDecay: decay(1e-4) }, 'step');
    expect(tf.all(tf.isFinite(strong)).dataSync()[0]).toBe(1);
    const [longQ, longK, longV] = [1, 2, 3].map((seed) => some(seed, width, 4096));
    const fading = tf.fill(longQ.shape, Math.log(1e-4));
    const scanned = read('hebb', { q: longQ, k: longK, v: longV, logDecay: fading }, 'chunked');
    expect(tf.all(tf.isFinite(scanned)).dataSync()[0]).toBe(1);
    const short = [q, k, v].map((x) => tf.slice(x, [0, 0, 0, 0], [1, heads, 64, width]));
    const [Q, K, V] = short;
    const at = (logDecay?: tf.Tensor): tf.Tensor =>
      read('hebb', { q: Q, k: K, v: V, ...(logDecay && { logDecay }) });
    const weak = tf.slice(strong, [0, 0, 0, 0], [1, heads, 64, width]);
    expect(relativeDifference(at(tf.fill(Q.shape, Math.log(1e-4))), weak)).toBeLessThan(1e-6);
    expect(relativeDifference(at(tf.fill(Q.shape, 0)), at())).toBeLessThan(1e-6);
  });

  identity('TransNormer: linearised positions give Σ q k cos((s - t) θ)', () => {
    const code = positions.linearised(sizes, width);
    const parameters = code.initialise!(new Initialiser(1));
    const theta = (parameters.theta as tf.Tensor).arraySync() as number[][][];
    const at = (frame: number): { q: tf.Tensor; k: tf.Tensor } =>
      code.apply(parameters, { q: some(1), k: some(2) }, segment(undefined, frame));
    const scores = ({ q, k }: { q: tf.Tensor; k: tf.Tensor }): tf.Tensor =>
      tf.matMul(q, k, false, true);
    const expected = tf.tensor4d([
      [0, 1].map((head) =>
        ofHead(some(1), head).map((q, t) =>
          ofHead(some(2), head).map((k, s) =>
            q.reduce((sum, x, j) => sum + x * k[j] * Math.cos((s - t) * theta[head][0][j]), 0),
          ),
        ),
      ),
    ]);
    expect(relativeDifference(scores(at(0)), expected)).toBeLessThan(1e-6);
    expect(relativeDifference(scores(at(100)), expected)).toBeLessThan(1e-5);
  });

  identity('LightNet: MD-LRPE gives Σ q k cos(offset θ), each feature along its own axis', () => {
    const [rows, columns] = [2, 3];
    const code = positions.linearisedGrid({ ...sizes, rows, columns }, width);
    const parameters = code.initialise!(new Initialiser(1));
    const theta = (parameters.theta as tf.Tensor).arraySync() as number[][][];
    const count = 12;
    const [q, k] = [1, 2].map((seed) => some(seed, width, count));
    const scoresAt = (frame: number): tf.Tensor => {
      const placed = code.apply(parameters, { q, k }, segment(undefined, frame));
      return tf.matMul(placed.q, placed.k, false, true);
    };
    // Four features over three axes: two for time, two for rows, none left for columns.
    const placeOf = (token: number, feature: number): number =>
      feature < 2 ? Math.floor(token / 6) : Math.floor(token / columns) % rows;
    const expected = tf.tensor4d([
      [0, 1].map((head) =>
        ofHead(q, head).map((query, t) =>
          ofHead(k, head).map((key, s) =>
            query.reduce((sum, x, j) => {
              const offset = placeOf(s, j) - placeOf(t, j);
              return sum + x * key[j] * Math.cos(offset * theta[head][0][j]);
            }, 0),
          ),
        ),
      ),
    ]);
    expect(relativeDifference(scoresAt(0), expected)).toBeLessThan(1e-6);
    expect(relativeDifference(scoresAt(100), expected)).toBeLessThan(1e-5);
  });

  it.each([true, false])(
    'LightNet: MD-TPE is a Toeplitz matrix along each axis, causal %s',
    (causal) => {
      tf.tidy(() => {
        const [rows, columns, frames] = [2, 3, 4];
        const count = frames * rows * columns;
        const branch = locals.toeplitz({ ...sizes, rows, columns, causal });
        const parameters = branch.initialise!(new Initialiser(1));
        const [gain, decay] = ['gain', 'decay'].map(
          (name) => (parameters[name] as tf.Tensor).arraySync() as number[][],
        );
        const qkv = [1, 2, 3].map((seed) => normal([1, count, heads * width], seed));
        const out = branch.before!(parameters, qkv, undefined, segment()).qkv;
        const placesOf = (token: number): number[] => [
          Math.floor(token / (rows * columns)),
          Math.floor(token / columns) % rows,
          token % columns,
        ];
        qkv.forEach((x, which) => {
          const values = x.arraySync() as number[][][];
          const expected = values[0].map((row, n) =>
            row.map((own, channel) => {
              const head = Math.floor(channel / width);
              return [0, 1, 2].reduce((sum, axis) => {
                const a = gain[axis][head];
                const lambda = 1 / (1 + Math.exp(-decay[axis][head]));
                return values[0].reduce((total, other, m) => {
                  const offset = placesOf(n).map((place, i) => place - placesOf(m)[i]);
                  const along = offset.every((d, i) => i === axis || d === 0);
                  if (!along || (causal && offset[axis] < 0)) return total;
                  return total + a * lambda ** Math.abs(offset[axis]) * other[channel];
                }, sum);
              }, own);
            }),
          );
          expect(relativeDifference(out[which], tf.tensor3d([expected]))).toBeLessThan(1e-5);
        });
        // Without gains there are no positions.
        const none = { ...parameters, gain: tf.zerosLike(parameters.gain as tf.Tensor) };
        branch.before!(none, qkv, undefined, segment()).qkv.forEach((x, which) => {
          expect(relativeDifference(x, qkv[which])).toBe(0);
        });
      });
    },
  );

  identity('rotary positions depend on the offset alone', () => {
    const code = positions.rotary(sizes, width);
    const scores = (frame: number): tf.Tensor => {
      const { q, k } = code.apply({}, { q: some(1), k: some(2) }, segment(undefined, frame));
      return tf.matMul(q, k, false, true);
    };
    expect(relativeDifference(scores(100), scores(0))).toBeLessThan(1e-5);
    expect(relativeDifference(scores(0), tf.matMul(some(1), some(2), false, true))).toBeGreaterThan(
      0.1,
    );
  });

  identity('BASED: φ(q) · φ(k) = 1 + s + s² / 2, with the upper triangle of features', () => {
    const map = featureMaps.taylor(sizes);
    expect(map.features).toBe((width * (width + 1)) / 2 + width + 1);
    const { q, k } = map.apply({}, { q: some(1), k: some(2) }, undefined, segment());
    expect(q.shape[3]).toBe(map.features);
    // Its memory: features × (values and the sum of weights), and keys and values of the window.
    for (const keyWidth of [2, 4, 8]) {
      const config = { name: 'based', keyWidth, window: 3 };
      const mixer = createMixer(config, { width: 8, heads, rows: 1, columns: 1 });
      const features = 1 + keyWidth + (keyWidth * (keyWidth + 1)) / 2;
      const values = heads * (features * (4 + 1) + 2 * (keyWidth + 4 + 1));
      expect(mixer.cost(100).stateBytes).toBe(4 * values);
    }
    const s = tf.mul(tf.matMul(some(1), some(2), false, true), width ** -0.5);
    const expected = tf.add(tf.add(1, s), tf.div(tf.square(s), 2));
    expect(relativeDifference(tf.matMul(q, k, false, true), expected)).toBeLessThan(1e-6);
  });

  identity('Hedgehog: larger q · k, larger weight; two kernels go by its name', () => {
    const kernel = (name: 'hedgehog' | 'hedgehogJoint', q: tf.Tensor, k: tf.Tensor): tf.Tensor => {
      const map = featureMaps[name]({ ...sizes, heads: 1 });
      const mapped = map.apply(map.initialise!(new Initialiser(1)), { q, k }, undefined, segment());
      return tf.matMul(mapped.q, mapped.k, false, true);
    };
    const direction = tf.div(tf.tensor4d([2, -1, 0.5, 1], [1, 1, 1, 4]), 2);
    const grid = tf.mul(tf.reshape(tf.linspace(-3, 3, 25), [1, 1, 25, 1]), direction);
    const weights = Array.from(kernel('hedgehog', direction, grid).dataSync());
    weights.slice(1).forEach((weight, i) => expect(weight).toBeGreaterThan(weights[i]));
    const [one, other] = (['hedgehog', 'hedgehogJoint'] as const).map((name) => {
      const scores = kernel(name, direction, grid);
      return tf.div(scores, tf.sum(scores, 3, true));
    });
    expect(relativeDifference(one, other)).toBeGreaterThan(1e-2);
  });

  identity('NaLaFormer: longer queries attend more sharply, and a zero query is finite', () => {
    const map = featureMaps.normAware(sizes);
    const weights = (scale: number): tf.Tensor => {
      const { q, k } = map.apply(
        {},
        { q: tf.mul(some(1), scale), k: some(2) },
        undefined,
        segment(),
      );
      return tf.matMul(q, k, false, true);
    };
    expect(tf.min(weights(1)).dataSync()[0]).toBeGreaterThanOrEqual(0);
    const meanEntropy = (scale: number): number => {
      const rows = ofHead(weights(scale), 0);
      return rows.reduce((sum, row) => sum + entropy(row), 0) / rows.length;
    };
    const [short, medium, long] = [0.1, 0.4, 1].map(meanEntropy);
    expect(short).toBeGreaterThan(medium);
    expect(medium).toBeGreaterThan(long);
    const zero = weights(0);
    expect(tf.all(tf.isFinite(zero)).dataSync()[0]).toBe(1);
    // A ReLU map with a sum of weights gives q and 2 q the same.
    const relu = featureMaps
      .relu(sizes)
      .apply({}, { q: some(1), k: some(2) }, undefined, segment());
    const normalised = (q: tf.Tensor): tf.Tensor => {
      const scores = tf.matMul(q, relu.k, false, true);
      return tf.div(scores, tf.add(tf.sum(scores, 3, true), 1e-9));
    };
    expect(relativeDifference(normalised(tf.mul(relu.q, 2)), normalised(relu.q))).toBeLessThan(
      1e-6,
    );
  });

  const normaliserOf = (
    name: 'inLine' | 'flow',
    causal: boolean,
  ): ReturnType<(typeof normalisers)['flow']> =>
    normalisers[name]({
      heads,
      features: width,
      plainFeatures: width,
      positioned: false,
      valueWidth: width,
      keyWidth: width,
      causal,
      epsilon: 1e-6,
    });
  const normalised = (
    name: 'inLine' | 'flow',
    causal: boolean,
    [q, k, v]: readonly tf.Tensor[],
  ): tf.Tensor => {
    const both = (input: { q: tf.Tensor; k: tf.Tensor; v: tf.Tensor }): tf.Tensor =>
      tf.matMul(input.q, tf.matMul(input.k, input.v, true, false));
    return normaliserOf(name, causal).apply(
      { q, k, v },
      { q, k },
      (_, input) => (causal ? read('hebb', input) : both(input)),
      undefined,
      segment(),
    ).out;
  };

  identity('InLine: weights are (s q · k + 1 - s q · k̄) / N, sum to 1 and tell q from 2 q', () => {
    const [q, k, v] = [1, 2, 3].map((seed) => some(seed));
    const scale = width ** -0.5;
    const expected = summed(v, (head, t, s) => {
      const [Q, K] = [q, k].map((x) => ofHead(x, head));
      const count = t + 1;
      const mean = K[0].map(
        (_, j) => K.slice(0, count).reduce((sum, row) => sum + row[j], 0) / count,
      );
      return (scale * dot(Q[t], K[s]) + 1 - scale * dot(Q[t], mean)) / count;
    });
    expect(relativeDifference(normalised('inLine', true, [q, k, v]), expected)).toBeLessThan(1e-6);
    for (const causal of [true, false]) {
      const ones = normalised('inLine', causal, [q, k, tf.onesLike(v)]);
      expect(relativeDifference(ones, tf.onesLike(v))).toBeLessThan(1e-6);
      const doubled = normalised('inLine', causal, [tf.mul(q, 2), k, v]);
      expect(relativeDifference(doubled, normalised('inLine', causal, [q, k, v]))).toBeGreaterThan(
        0.1,
      );
    }
  });

  identity('Flowformer: every source and sink has a flow of 1 in all', () => {
    const [sinks, sources] = [1, 2].map((seed) => tf.sigmoid(some(seed)));
    const { conservedSink, conservedSource } = conservedFlows({
      sinks,
      sources,
      n: tf.ones([1, heads, tokens, 1]),
      total: (_, x) => tf.sum(x, 2, true),
    });
    for (const flow of [conservedSink, conservedSource]) {
      for (const sum of tf.sum(flow, 2).dataSync()) expect(sum).toBeCloseTo(tokens, 4);
    }
  });

  identity('Flowformer: both ways, the linear form equals the quadratic one', () => {
    const [q, k, v] = [1, 2, 3].map((seed) => some(seed));
    const [a, b] = [tf.sigmoid(q), tf.sigmoid(k)];
    const actual = normalised('flow', false, [a, b, v]);
    const expected = [0, 1].map((head) => {
      const [A, B, V] = [a, b, v].map((x) => ofHead(x, head));
      const sum = (rows: Rows): number[] =>
        rows[0].map((_, j) => rows.reduce((total, row) => total + row[j], 0));
      const over = (rows: Rows, by: number[]): Rows =>
        rows.map((row, i) => row.map((x) => x / by[i]));
      const incoming = A.map((row) => dot(row, sum(B)));
      const outgoing = B.map((row) => dot(row, sum(A)));
      const conservedSink = A.map((row) => dot(row, sum(over(B, outgoing))));
      const conservedSource = B.map((row) => dot(row, sum(over(A, incoming))));
      const force = conservedSource.map((x) => Math.exp(Math.max(-1, Math.min(1, x))));
      const total = force.reduce((x, y) => x + y);
      return A.map((row, i) =>
        V[0].map((_, j) =>
          B.reduce(
            (out, source, s) =>
              out +
              ((dot(row, source) / incoming[i]) * V[s][j] * tokens * force[s]) /
                total /
                (1 + Math.exp(-conservedSink[i])),
            0,
          ),
        ),
      );
    });
    expect(relativeDifference(actual, tf.tensor4d([expected]))).toBeLessThan(1e-5);
  });

  identity('Flowformer: causal, every sum and the competition run over the tokens so far', () => {
    const [q, k, v] = [1, 2, 3].map((seed) => some(seed));
    const [a, b] = [tf.sigmoid(q), tf.sigmoid(k)];
    const expected = [0, 1].map((head) => {
      const [A, B, V] = [a, b, v].map((x) => ofHead(x, head));
      /** Σ weight(s) x[s] over s ≤ t. */
      const upTo = (x: Rows, t: number, weight: (s: number) => number = () => 1): number[] =>
        x[0].map((_, i) => x.slice(0, t + 1).reduce((sum, row, s) => sum + weight(s) * row[i], 0));
      const incoming = A.map((row, t) => dot(row, upTo(B, t)));
      const outgoing = B.map((row, t) => dot(row, upTo(A, t)));
      // The number of tokens so far stands for that of all.
      const sink = A.map(
        (row, t) =>
          dot(
            row,
            upTo(B, t, (s) => (s + 1) / outgoing[s]),
          ) /
          (t + 1),
      );
      const source = B.map(
        (row, t) =>
          dot(
            row,
            upTo(A, t, (s) => (s + 1) / incoming[s]),
          ) /
          (t + 1),
      );
      const force = source.map((x) => Math.exp(Math.max(-1, Math.min(1, x))));
      const shares = force.map(
        (x, t) => (x * (t + 1)) / force.slice(0, t + 1).reduce((sum, other) => sum + other),
      );
      return A.map((row, t) =>
        upTo(V, t, (s) => (dot(row, B[s]) / incoming[t]) * shares[s]).map(
          (value) => value / (1 + Math.exp(-sink[t])),
        ),
      );
    });
    const actual = normalised('flow', true, [a, b, v]);
    expect(relativeDifference(actual, tf.tensor4d([expected]))).toBeLessThan(1e-5);
  });

  identity('LightNet: the memory is a softmax over time of the values, in any order', () => {
    const [q, k, v] = [1, 2, 3].map((seed) => some(seed, width, tokens, 3));
    const gate = decays.additive(sizes);
    const { k: keys, logDecay } = gate.apply({}, k, undefined, segment());
    const expected = tf.tensor4d([
      [0, 1].map((head) => {
        const [Q, K, V] = [q, k, v].map((x) => ofHead(x, head));
        return Q.map((query, t) =>
          V[0].map((_, j) =>
            query.reduce((sum, x, i) => {
              const weights = K.slice(0, t + 1).map((row) => Math.exp(row[i]));
              const total = weights.reduce((a, b) => a + b);
              return sum + (x * weights.reduce((a, w, s) => a + w * V[s][j], 0)) / total;
            }, 0),
          ),
        );
      }),
    ]);
    for (const form of forms) {
      const out = read('hebb', { q, k: keys, v, logDecay }, form);
      expect(relativeDifference(out, expected)).toBeLessThan(1e-5);
    }
    const memoryOf = (order: readonly number[]): tf.Tensor => {
      const [K, V] = [k, v].map((x) => tf.gather(x, tf.tensor1d([...order], 'int32'), 2));
      const gated = gate.apply({}, K, undefined, segment());
      const input = { q, k: gated.k, v: V, logDecay: gated.logDecay, position: 0 };
      return memories.hebb().apply({}, input, undefined, 'parallel').state.memory as tf.Tensor;
    };
    const order = Array.from({ length: tokens }, (_, t) => t);
    expect(relativeDifference(memoryOf(order.reverse()), memoryOf([...order].sort()))).toBeLessThan(
      1e-5,
    );
  });

  identity('SpikeGPT: the running mean equals its sum of exponentials', () => {
    const update = memories.weightedKeyValue(sizes);
    const parameters = update.initialise!(new Initialiser(1));
    const [k, v] = [2, 3].map((seed) => some(seed));
    const [w, u] = ['logDecay', 'bonus'].map((name) => (parameters[name] as tf.Tensor).dataSync());
    const expected = tf.tensor4d([
      [0, 1].map((head) => {
        const [K, V] = [k, v].map((x) => ofHead(x, head));
        return K.map((row, t) =>
          row.map((now, j) => {
            const channel = head * width + j;
            const rate = Math.exp(w[channel]);
            const weights = K.slice(0, t).map((past, i) => Math.exp(past[j] - (t - 1 - i) * rate));
            weights.push(Math.exp(u[channel] + now));
            const total = weights.reduce((a, b) => a + b);
            return weights.reduce((a, weight, i) => a + weight * V[i][j], 0) / total;
          }),
        );
      }),
    ]);
    for (const form of forms) {
      const out = read('weightedKeyValue', { q: k, k, v }, form, parameters);
      expect(relativeDifference(out, expected)).toBeLessThan(1e-6);
      // Its logarithms don't overflow.
      const large = read('weightedKeyValue', { q: k, k: tf.add(k, 500), v }, form, parameters);
      expect(relativeDifference(large, expected)).toBeLessThan(1e-3);
    }
  });

  identity('DeltaNet: the chunk form solves (I + L) U = R as forward substitution does', () => {
    const n = 33;
    const same = tf.mul(0.99, tf.linalg.bandPart(tf.ones([n, n]), -1, 0));
    for (const L of [
      tf.sub(same, tf.mul(0.99, tf.eye(n))),
      tf.sub(
        tf.linalg.bandPart(normal([n, n], 4, 0.3), -1, 0),
        tf.linalg.bandPart(normal([n, n], 4, 0.3), 0, 0),
      ),
    ]) {
      const product = tf.matMul(tf.add(tf.eye(n), L) as tf.Tensor2D, inverseOfUnitLower(L));
      expect(relativeDifference(product, tf.eye(n))).toBeLessThan(1e-5);
    }
  });

  identity('DeltaNet: a key written again is overwritten; Hebb adds up', () => {
    const [k, v] = [some(1, width, 3), some(2, width, 3)];
    const keys = tf.div(k, tf.norm(k, 2, 3, true));
    const first = tf.slice(keys, [0, 0, 0, 0], [1, heads, 1, width]);
    const repeated = tf.concat([first, first, first], 2);
    const input = { q: repeated, k: repeated, v, beta: tf.ones([1, heads, 3, 1]) };
    for (const form of forms) {
      expect(relativeDifference(read('delta', input, form), v)).toBeLessThan(1e-6);
    }
    const additive = tf.sub(read('hebb', input), v);
    expect(tf.max(tf.abs(additive)).dataSync()[0]).toBeGreaterThan(0.5);
  });

  identity(
    'Titans: no momentum and no decay is the delta rule; else the gradient with momentum',
    () => {
      const [q, k, v] = [1, 2, 3].map((seed) => some(seed));
      const keys = tf.div(k, tf.norm(k, 2, 3, true));
      const beta = tf.sigmoid(some(4, 1));
      const input = { q, k: keys, v, beta };
      const still = { momentum: tf.fill([heads], -100) };
      for (const form of forms) {
        const out = read('titans', input, form, still);
        expect(relativeDifference(out, read('delta', input, form))).toBeLessThan(1e-5);
      }
      // Each write is down the gradient of |k M - v|² / 2, here by TensorFlow.js.
      const [eta, alpha] = [0.3, 0.9];
      const moving = { momentum: tf.fill([heads], Math.log(eta / (1 - eta))) };
      let [M, S]: tf.Tensor[] = [
        tf.zeros([1, heads, width, width]),
        tf.zeros([1, heads, width, width]),
      ];
      const outputs = Array.from({ length: tokens }, (_, t) => {
        const [key, value, query, strength] = [keys, v, q, beta].map((x) => tf.slice(x, [0, 0, t, 0], [1, heads, 1, -1])); // prettier-ignore
        const loss = (memory: tf.Tensor): tf.Scalar =>
          tf.mul(0.5, tf.sum(tf.mul(strength, tf.square(tf.sub(tf.matMul(key, memory), value)))));
        S = tf.sub(tf.mul(eta, S), tf.grad(loss)(M));
        M = tf.add(tf.mul(alpha, M), S);
        return tf.matMul(query, M);
      });
      const logDecay = tf.fill([1, heads, tokens, 1], Math.log(alpha));
      for (const form of forms) {
        const out = read('titans', { ...input, logDecay }, form, moving);
        expect(relativeDifference(out, tf.concat(outputs, 2))).toBeLessThan(1e-5);
      }
    },
  );

  describe('Miras', () => {
    const inputs = (): { q: tf.Tensor; k: tf.Tensor; v: tf.Tensor; beta: tf.Tensor } => {
      const [q, k, v] = [1, 2, 3].map((seed) => some(seed));
      const keys = tf.div(k, tf.norm(k, 2, 3, true));
      return { q, k: keys, v, beta: tf.sigmoid(some(4, 1)) };
    };
    const logDecay = (): tf.Tensor => tf.neg(tf.softplus(some(5, 1)));
    const threshold = (): tf.Tensor => tf.mul(0.3, tf.softplus(some(6, 1)));
    const moneta = { attentionalBias: 'power', retention: 'norm' } as const;

    identity('the squared error, or p = q = 2, is the delta rule', () => {
      const input = inputs();
      for (const form of forms) {
        const expected = read('delta', input, form);
        for (const changes of [
          { attentionalBias: 'squared', retention: 'decay' },
          { ...moneta, biasPower: 2, retentionPower: 2 },
        ] as const) {
          const out = read('miras', input, form, {}, { ...changes, chunkTokens: 1 });
          expect(relativeDifference(out, expected)).toBeLessThan(1e-6);
        }
      }
    });

    identity('every bias descends its gradient, with every retention, chunk by chunk', () => {
      const input = { ...inputs(), logDecay: logDecay(), threshold: threshold() };
      const losses = {
        squared: (e: tf.Tensor) => tf.mul(0.5, tf.square(e)),
        power: (e: tf.Tensor) => tf.div(tf.pow(tf.abs(e), 3), 3),
        huber(e: tf.Tensor, at: tf.Tensor) {
          const inside = tf.minimum(tf.abs(e), at);
          return tf.sub(tf.mul(inside, tf.abs(e)), tf.mul(0.5, tf.square(inside)));
        },
      };
      const memoryOf = {
        decay: (A: tf.Tensor) => A,
        norm: (A: tf.Tensor) => tf.div(A, tf.sqrt(tf.add(1, tf.sum(tf.pow(A, 4), [2, 3], true)))),
        simplex: (A: tf.Tensor) => {
          const powers = tf.exp(A);
          return tf.div(tf.mul(2, powers), tf.sum(powers, 2, true));
        },
      };
      for (const attentionalBias of ['squared', 'power', 'huber'] as const) {
        for (const retention of ['decay', 'norm', 'simplex'] as const) {
          for (const chunkTokens of [1, 4]) {
            let A: tf.Tensor = tf.zeros([1, heads, width, width]);
            let start = A;
            const outputs = Array.from({ length: tokens }, (_, t) => {
              const at = (x: tf.Tensor): tf.Tensor => tf.slice(x, [0, 0, t, 0], [1, heads, 1, -1]);
              if (t % chunkTokens === 0) start = A;
              const loss = (W: tf.Tensor): tf.Scalar => {
                const error = tf.sub(tf.matMul(at(input.k), W), at(input.v));
                const full = tf.add(at(input.threshold), tf.zerosLike(error));
                return tf.sum(tf.mul(at(input.beta), losses[attentionalBias](error, full)));
              };
              const gradient = tf.grad(loss)(memoryOf[retention](start));
              A = tf.sub(tf.mul(tf.exp(at(input.logDecay)), A), gradient);
              return tf.matMul(at(input.q), memoryOf[retention](A));
            });
            const changes = { attentionalBias, retention, chunkTokens, simplexSum: 2 };
            for (const form of forms) {
              const out = read('miras', input, form, {}, changes);
              const difference = relativeDifference(out, tf.concat(outputs, 2));
              expect(difference, JSON.stringify({ ...changes, form })).toBeLessThan(1e-5);
            }
          }
        }
      }
    });

    identity('Yaad: a corrupted value writes no more than its threshold', () => {
      const [key, value] = [tf.oneHot([1], width), some(2, width, 1)];
      const k = tf.tile(tf.reshape(tf.cast(key, 'float32'), [1, 1, 1, width]), [1, heads, 5, 1]);
      const noise = tf.reshape(tf.tensor1d([0, 0, 0, 0, 100]), [1, 1, 5, 1]);
      const v = tf.add(tf.tile(value, [1, 1, 5, 1]), noise);
      // Written whole four times, then half: 50 of 100 by the delta rule.
      const beta = tf.tile(tf.reshape(tf.tensor1d([1, 1, 1, 1, 0.5]), [1, 1, 5, 1]), [
        1,
        heads,
        1,
        1,
      ]);
      const threshold = tf.tile(tf.reshape(tf.tensor1d([9, 9, 9, 9, 0.58]), [1, 1, 5, 1]), [1, heads, 1, 1]); // prettier-ignore
      const input = { q: k, k, v, beta, threshold };
      const error = (out: tf.Tensor): number => {
        const recalled = tf.slice(out, [0, 0, 4, 0], [1, heads, 1, width]);
        return tf.max(tf.abs(tf.sub(recalled, value))).dataSync()[0];
      };
      for (const form of forms) {
        expect(error(read('delta', input, form))).toBeCloseTo(50, 3);
        const yaad = { attentionalBias: 'huber', retention: 'decay', chunkTokens: 1 } as const;
        expect(error(read('miras', input, form, {}, yaad))).toBeCloseTo(0.29, 5);
      }
    });

    identity('Memora: W = c softmax((1 - λ) log W - β ∇), whose rows sum to c', () => {
      const input = { ...inputs(), logDecay: logDecay() };
      const c = 3;
      const changes = {
        ...settings,
        attentionalBias: 'squared',
        retention: 'simplex',
        simplexSum: c,
        chunkTokens: 1,
      } as const;
      const { state, out } = memories
        .miras(sizes, changes)
        .apply({}, { ...input, position: 0 }, undefined, 'parallel');
      const kept = retained(changes, state.memory as tf.Tensor);
      expect(relativeDifference(tf.sum(kept, 2), tf.fill([1, heads, width], c))).toBeLessThan(1e-6);
      expect(tf.min(kept).dataSync()[0]).toBeGreaterThanOrEqual(0);
      const expected = [0, 1].map((head) => {
        const [Q, K, V] = [input.q, input.k, input.v].map((x) => ofHead(x, head));
        const [strengths, decay] = [input.beta, tf.exp(input.logDecay)].map((x) => ofHead(x, head));
        let W = V[0].map(() => K[0].map(() => c / width));
        return Q.map((query, t) => {
          W = W.map((row, j) => {
            const error = dot(row, K[t]) - V[t][j];
            const logits = row.map(
              (w, i) => decay[t][0] * Math.log(w) - strengths[t][0] * error * K[t][i],
            );
            const powers = logits.map((x) => Math.exp(x));
            const total = powers.reduce((a, b) => a + b);
            return powers.map((x) => (c * x) / total);
          });
          return W.map((row) => dot(row, query));
        });
      });
      expect(relativeDifference(out, tf.tensor4d([expected]))).toBeLessThan(1e-5);
    });
  });

  identity(
    'local linear attention recovers affine values, and is softmax for a large ridge',
    () => {
      const [q, k] = [1, 2].map((seed) => some(seed, 2, 24));
      const affine = (x: tf.Tensor): tf.Tensor => {
        const [a, b] = tf.split(x, 2, 3);
        return tf.concat([tf.add(tf.mul(a, 2), b), tf.sub(1, tf.mul(b, 3))], 3);
      };
      const v = affine(k);
      const local = (ridge: number): tf.Tensor =>
        memories
          .localLinear(sizes, { ...settings, ridge })
          .apply({}, { q, k, v, position: 0 }, undefined, 'parallel').out;
      const softmax = tf.matMul(
        tf.softmax(
          tf.add(
            tf.mul(tf.matMul(q, k, false, true), Math.SQRT1_2),
            tf.mul(-1e9, tf.sub(1, tf.linalg.bandPart(tf.ones([24, 24]), -1, 0))),
          ),
        ),
        v,
      );
      // Two keys don't span the plane: from the third token on.
      const later = (x: tf.Tensor): tf.Tensor => tf.slice(x, [0, 0, 6, 0], [1, heads, 18, 2]);
      expect(relativeDifference(later(local(1e-6)), later(affine(q)))).toBeLessThan(1e-3);
      expect(relativeDifference(later(softmax), later(affine(q)))).toBeGreaterThan(0.1);
      expect(relativeDifference(local(1e7), softmax)).toBeLessThan(1e-5);
    },
  );

  identity('local linear attention is Parallax with r = ρ / (1 - ρ · (k̄ - q))', () => {
    const ridge = 0.05;
    const [q, k, v] = [1, 2, 3].map((seed) => some(seed, 2));
    // Parallax (arXiv 2605.29157, algorithm 1): softmax weights p, out = Σ p (1 + r · (k̄ - k)) v.
    const expected = summed(v, (head, t, s) => {
      const query = ofHead(q, head)[t];
      const keys = ofHead(k, head).slice(0, t + 1);
      const force = keys.map((key) => Math.exp(dot(query, key) / Math.SQRT2));
      const p = force.map((x) => x / force.reduce((a, b) => a + b));
      const mean = (of: (key: number[]) => number): number =>
        keys.reduce((sum, key, i) => sum + p[i] * of(key), 0);
      const z = (key: number[], i: number): number => key[i] - query[i];
      const mu = [0, 1].map((i) => mean((key) => z(key, i)));
      const [a, b, d] = [[0, 0], [0, 1], [1, 1]].map(
        ([i, j]) => mean((key) => z(key, i) * z(key, j)) + (i === j ? ridge : 0),
      ); // prettier-ignore
      const rho = [d * mu[0] - b * mu[1], a * mu[1] - b * mu[0]].map((x) => x / (a * d - b * b));
      const r = rho.map((x) => x / (1 - dot(rho, mu)));
      const centre = [0, 1].map((i) => mean((key) => key[i]));
      return p[s] * (1 + dot(r, centre) - dot(r, keys[s]));
    });
    const out = read('localLinear', { q, k, v }, 'parallel', {}, { ridge });
    expect(relativeDifference(out, expected)).toBeLessThan(1e-5);
  });

  identity('RAT: one token a chunk and no gate is softmax attention; one chunk an average', () => {
    const [q, k, v] = [1, 2, 3].map((seed) => some(seed));
    const shut = tf.fill(q.shape, -60);
    const attention = read(
      'chunkAverage',
      { q, k, v, logDecay: shut },
      'parallel',
      {},
      {
        chunkTokens: 1,
      },
    );
    const scores = (head: number, t: number): number[] =>
      ofHead(k, head)
        .slice(0, t + 1)
        .map((key) => Math.exp(dot(ofHead(q, head)[t], key) / Math.sqrt(width)));
    const softmax = summed(
      v,
      (head, t, s) => scores(head, t)[s] / scores(head, t).reduce((a, b) => a + b),
    );
    expect(relativeDifference(attention, softmax)).toBeLessThan(1e-6);
    const g = 0.7;
    const average = read(
      'chunkAverage',
      { q, k, v, logDecay: tf.fill(q.shape, Math.log(g)) },
      'parallel',
      {},
      { chunkTokens: 100 },
    );
    const expected = summed(v, (_, t, s) => (1 - g) * g ** (t - s));
    expect(relativeDifference(average, expected)).toBeLessThan(1e-6);
  });

  identity('S6 with A = 0 and a step of 1 is linear attention', () => {
    const [channels, states] = [3, 4];
    const inputs = {
      u: normal([1, tokens, channels], 1),
      // softplus(log(e - 1)) = 1
      delta: tf.fill([1, tokens, channels], Math.log(Math.E - 1)),
      A: tf.zeros([channels, states]),
      B: normal([1, tokens, states], 2),
      C: normal([1, tokens, states], 3),
      D: tf.zeros([channels]),
      deltaBias: tf.zeros([channels]),
    };
    const scores = tf.linalg.bandPart(tf.matMul(inputs.C, inputs.B, false, true), -1, 0);
    const expected = tf.matMul(scores, inputs.u);
    const state = tf.zeros([1, channels, states]);
    for (const compute of [selectiveScan, selectiveAttention]) {
      expect(relativeDifference(compute(inputs, state).y, expected)).toBeLessThan(1e-5);
    }
  });

  identity(
    'dynamic convolutions are depthwise ones, by the weights that the mean token gives',
    () => {
      const [rows, columns] = [2, 3];
      const here: Sizes = { ...sizes, rows, columns };
      const branch = locals.dynamic(here);
      const parameters = branch.initialise!(new Initialiser(1));
      const x = normal([1, 2 * rows * columns, 8], 1);
      const { out } = branch.beside!(
        parameters,
        { q: x, k: x, v: splitHeads(x, heads) },
        undefined,
        segment(x),
      );
      const [down, up, bias] = ['down', 'up', 'bias'].map((name) => parameters[name] as tf.Tensor);
      [0, 1].forEach((frame) => {
        const tokensHere = tf.slice(x, [0, frame * 6, 0], [1, 6, 8]);
        const hidden = tf.matMul(tf.mean(tokensHere, 1), down);
        const weights = tf.add(tf.matMul(tf.mul(hidden, tf.sigmoid(hidden)), up), bias);
        // Weights come channel by channel; the filter has channels last.
        const filter = tf.transpose(tf.reshape(weights, [8, 3, 3, 1]), [1, 2, 0, 3]);
        const expected = tf.depthwiseConv2d(
          tf.reshape(tokensHere, [1, rows, columns, 8]) as tf.Tensor4D,
          filter as tf.Tensor4D,
          1,
          'same',
        );
        const actual = tf.slice(joinHeads(out), [0, frame * 6, 0], [1, 6, 8]);
        expect(relativeDifference(actual, tf.reshape(expected, actual.shape))).toBeLessThan(1e-5);
      });
    },
  );

  identity('a gated output is half of it at W = 0, all where gates open, 0 where they shut', () => {
    const names = ['hedgehog', 'softmaxAttention', 'neighbourhood', 'hyperAttention', 'positionalAttention', 'varyingWindows']; // prettier-ignore
    for (const [name, outputGate] of names.flatMap((each) => [
      [each, 'head'],
      [each, 'element'],
    ])) {
      const shape = { width: 8, heads, rows: 1, columns: 1 };
      // The first feature is 1 for every token: a bias.
      const x = tf.concat([tf.ones([1, tokens, 1]), normal([1, tokens, 7], 1)], 2);
      const [plain, gated] = ['none', outputGate].map((gate) =>
        createMixer({ name, outputGate: gate }, shape),
      );
      const parameters = flatten(gated.initialise(new Initialiser(1)));
      const expected = plain.apply(unflatten(parameters), x, undefined, inference).output;
      const gates = parameters.get('outputGate.weight')!.shape[1]!;
      for (const [bias, share] of [
        [0, 0.5],
        [60, 1],
        [-60, 0],
      ]) {
        const weight = tf.concat([tf.fill([1, gates], bias), tf.zeros([7, gates])], 0);
        parameters.set('outputGate.weight', weight);
        const { output } = gated.apply(unflatten(parameters), x, undefined, inference);
        expect(relativeDifference(output, tf.mul(expected, share))).toBeLessThan(1e-7);
      }
    }
  });
});

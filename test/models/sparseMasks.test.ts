import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { selectBackend } from '../../engine/backend.js';
import { createRandom } from '../../engine/support/random.js';
import { inference, Recorder } from '../../models/context.js';
import { createMixer } from '../../models/mixers/registry.js';
import {
  blockAttention,
  denseAttention,
  mergeAttention,
  type PartialAttention,
} from '../../models/mixers/sparse/blockAttention.js';
import {
  coverage,
  denseLogWeights,
  pack,
  simulateTiles,
  staticBlocks,
  uncoveredShare,
  visitedPairs,
  type BlockMask,
  type StaticMask,
} from '../../models/mixers/sparse/blockMask.js';
import { contentOf, dot, greatest, type Content } from '../../models/mixers/sparse/content.js';
import { wholeClip, type Grid, type Piece } from '../../models/mixers/sparse/grid.js';
import { hipMask, searchTree } from '../../models/mixers/sparse/hip.js';
import { causalHyperMask, hyperMask, pastParts } from '../../models/mixers/sparse/hyper.js';
import {
  axisKeys,
  neighbourhoodMask,
  type NeighbourhoodAxis,
} from '../../models/mixers/sparse/neighbourhood.js';
import { positionalScores } from '../../models/mixers/sparse/positional.js';
import { powerDistances, powerMask } from '../../models/mixers/sparse/power.js';
import { routingMask } from '../../models/mixers/sparse/routing.js';
import { s2Mask } from '../../models/mixers/sparse/s2.js';
import { blockTargets, seerGateLoss, seerMask } from '../../models/mixers/sparse/seer.js';
import { flatten, Initialiser, unflatten } from '../../models/parameters.js';
import { bestBackend } from '../engine/backends.js';
import { relativeDifference } from './mixerConformance.js';

const line = (frames: number): Grid => ({ frames, rows: 1, columns: 1 });
const tile = { query: { frames: 4, rows: 2, columns: 2 }, key: { frames: 3, rows: 2, columns: 2 } };
const normal = (shape: number[], seed: number): tf.Tensor =>
  tf.randomNormal(shape, 0, 1, 'float32', seed);
const axis = (changes: Partial<NeighbourhoodAxis>): NeighbourhoodAxis => ({
  window: 0,
  dilation: 1,
  stride: 1,
  causal: false,
  ...changes,
});
const lineMask = (changes: Partial<NeighbourhoodAxis>): StaticMask =>
  neighbourhoodMask({ frames: axis(changes), rows: axis({}), columns: axis({}) });

/** Attention by blocks and by a full matrix, of the same mask. */
function bothWays(
  mask: BlockMask,
  piece: Piece,
  [q, k, v]: readonly tf.Tensor[],
  scale = 0.5,
): [PartialAttention, PartialAttention] {
  return [
    blockAttention(q, k, v, pack(mask, piece), scale),
    denseAttention(q, k, v, denseLogWeights(mask, piece), scale),
  ];
}

function fullAttention([q, k, v]: readonly tf.Tensor[], scale: number): tf.Tensor {
  return tf.matMul(tf.softmax(tf.mul(tf.matMul(q, k, false, true), scale)), v);
}

function contentFrom(q: tf.Tensor, k: tf.Tensor): Content {
  const [groups, tokens] = k.shape;
  return contentOf(q, k, tf.ones([groups, tokens!]), 1);
}

beforeAll(async () => {
  await selectBackend(bestBackend);
});
afterAll(() => {
  expect(tf.memory().numTensors).toBe(0);
});
const tidily = (name: string, run: () => void): void => it(name, () => void tf.tidy(run));

describe('attention in blocks', () => {
  it('equals attention by a full matrix, output and gradients', () => {
    const grids = fc.record({
      frames: fc.integer({ min: 1, max: 6 }),
      rows: fc.integer({ min: 1, max: 3 }),
      columns: fc.integer({ min: 1, max: 4 }),
    });
    const axes = fc.record({
      window: fc.integer({ min: 0, max: 4 }),
      dilation: fc.integer({ min: 1, max: 2 }),
      causal: fc.boolean(),
    });
    const extents = fc.record({
      frames: fc.integer({ min: 1, max: 3 }),
      rows: fc.integer({ min: 1, max: 3 }),
      columns: fc.integer({ min: 1, max: 3 }),
    });
    fc.assert(
      fc.property(grids, axes, axes, extents, extents, (grid, time, space, query, key) => {
        tf.tidy(() => {
          const mask = neighbourhoodMask({ frames: axis(time), rows: axis(space), columns: axis(space) }); // prettier-ignore
          const piece = wholeClip(grid);
          const blocks = staticBlocks(mask, piece, 2, { query, key });
          const tokens = grid.frames * grid.rows * grid.columns;
          const inputs = [1, 2, 3].map((seed) => normal([4, tokens, 3], seed));
          const [inBlocks, dense] = bothWays(blocks, piece, inputs);
          expect(relativeDifference(inBlocks.output, dense.output)).toBeLessThan(1e-5);
          expect(relativeDifference(inBlocks.logSumExp, dense.logSumExp)).toBeLessThan(1e-5);
          const weights = normal([4, tokens, 3], 4);
          const gradients = [0, 1].map((way) =>
            tf.grads((...xs: tf.Tensor[]) =>
              tf.sum(tf.mul(bothWays(blocks, piece, xs)[way].output, weights)),
            )(inputs),
          );
          gradients[0].forEach((gradient, i) =>
            expect(relativeDifference(gradient, gradients[1][i])).toBeLessThan(1e-4),
          );
        });
      }),
      { numRuns: 25 },
    );
  });

  tidily('merges attentions over parts of the keys into the attention over all of them', () => {
    const piece = wholeClip(line(9));
    const inputs = [1, 2, 3].map((seed) => normal([2, 9, 4], seed));
    const tokens = (from: number, to: number): Int32Array =>
      Int32Array.from({ length: to - from }, (_, i) => from + i);
    const part = (from: number, to: number): PartialAttention => {
      const keyBlocks = [tokens(from, to)];
      const list = { queryBlocks: [tokens(0, 9)], keyBlocks, visits: [[0]] };
      return blockAttention(inputs[0], inputs[1], inputs[2], pack([list], piece), 0.5);
    };
    // One part has no keys at all.
    const merged = mergeAttention([part(0, 4), part(4, 4), part(4, 9)]);
    expect(relativeDifference(merged.output, fullAttention(inputs, 0.5))).toBeLessThan(1e-6);
    expect(relativeDifference(merged.logSumExp, part(0, 9).logSumExp)).toBeLessThan(1e-6);
  });

  tidily('gives zero to a query without keys, and merges a query in several blocks', () => {
    const piece = wholeClip(line(3));
    const inputs = [1, 2, 3].map((seed) => normal([1, 3, 2], seed));
    const list = {
      queryBlocks: [Int32Array.of(0), Int32Array.of(2, 0)],
      keyBlocks: [Int32Array.of(0, 1), Int32Array.of(2)],
      visits: [[0], [1]],
    };
    const [inBlocks, dense] = bothWays([list], piece, inputs);
    expect(relativeDifference(inBlocks.output, dense.output)).toBeLessThan(1e-6);
    const rows = inBlocks.output.arraySync() as number[][][];
    expect(rows[0][1]).toEqual([0, 0]);
    expect(uncoveredShare(list, piece)).toBeCloseTo(1 / 3, 9);
    const full = fullAttention(inputs, 0.5).arraySync() as number[][][];
    expect(rows[0][0]).toEqual(full[0][0].map((value) => expect.closeTo(value, 5)));
    expect(() => pack([{ ...list, keyBlocks: [Int32Array.of(7), Int32Array.of(2)] }], piece)).toThrow(/key 7/); // prettier-ignore
  });
});

describe('neighbourhood attention', () => {
  tidily('is full attention with a window of everything, and the values with one of 1', () => {
    const piece = wholeClip(line(7));
    const inputs = [1, 2, 3].map((seed) => normal([2, 7, 4], seed));
    const attend = (window: number): tf.Tensor =>
      bothWays(staticBlocks(lineMask({ window }), piece, 1, tile), piece, inputs)[0].output;
    for (const window of [0, 7, 9]) {
      expect(relativeDifference(attend(window), fullAttention(inputs, 0.5))).toBeLessThan(1e-6);
    }
    expect(relativeDifference(attend(1), inputs[2])).toBe(0);
  });

  it('shows every query exactly w keys, at borders too, ⌊w/2⌋ of them before it elsewhere', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 9 }),
        fc.integer({ min: 1, max: 3 }),
        fc.integer({ min: 0, max: 20 }),
        (window, dilation, more) => {
          const extent = window * dilation + more;
          for (let at = 0; at < extent; at++) {
            const keys = axisKeys(at, extent, axis({ window, dilation }));
            expect(keys.length).toBe(window);
            expect(keys).toContain(at);
            expect(keys.every((key) => key >= 0 && key < extent && (key - at) % dilation === 0)).toBe(true); // prettier-ignore
            const first = at - Math.floor(window / 2) * dilation;
            const last = first + (window - 1) * dilation;
            if (first >= 0 && last < extent)
              expect([keys[0], keys[window - 1]]).toEqual([first, last]);
          }
        },
      ),
    );
  });

  it('makes blocks of windows whose stride is the window', () => {
    const spans = (extent: number, changes: Partial<NeighbourhoodAxis>): number[][] =>
      Array.from({ length: extent }, (_, at) => {
        const keys = axisKeys(at, extent, axis({ window: 4, stride: 4, ...changes }));
        return [keys[0], keys[keys.length - 1] + 1];
      });
    expect(spans(8, {})).toEqual([0, 0, 0, 0, 4, 4, 4, 4].map((start) => [start, start + 4]));
    // The last window is shifted back inside.
    expect(spans(18, {})[17]).toEqual([14, 18]);
    const causal = spans(8, { causal: true });
    expect(causal.map(([from, to]) => to - from)).toEqual([1, 2, 3, 4, 1, 2, 3, 4]);
    expect(() => lineMask({ window: 2, stride: 3 })).toThrow(/stride 3/);
  });

  tidily('attends inside each dilation group as though it were alone', () => {
    const inputs = [1, 2, 3].map((seed) => normal([1, 10, 4], seed));
    const attend = (xs: tf.Tensor[], mask: StaticMask): tf.Tensor => {
      const piece = wholeClip(line(xs[0].shape[1]!));
      return bothWays(staticBlocks(mask, piece, 1, tile), piece, xs)[0].output;
    };
    const dilated = attend(inputs, lineMask({ window: 3, dilation: 2 }));
    for (const residue of [0, 1]) {
      const group = (x: tf.Tensor): tf.Tensor => tf.gather(x, tf.range(residue, 10, 2, 'int32'), 1);
      const alone = attend(inputs.map(group), lineMask({ window: 3 }));
      expect(relativeDifference(group(dilated), alone)).toBeLessThan(1e-6);
    }
  });

  tidily('attends inside each dilation group of two axes as though it were alone', () => {
    const [rows, columns] = [6, 4];
    const inputs = [1, 2, 3].map((seed) => normal([1, rows * columns, 4], seed));
    const plane = (changes: Partial<NeighbourhoodAxis>): StaticMask =>
      neighbourhoodMask({
        frames: axis({}),
        rows: axis({ window: 3, ...changes }),
        columns: axis({ window: 2, ...changes }),
      });
    const attend = (xs: tf.Tensor[], mask: StaticMask, grid: Grid): tf.Tensor => {
      const piece = wholeClip(grid);
      return bothWays(staticBlocks(mask, piece, 1, tile), piece, xs)[0].output;
    };
    const dilated = attend(inputs, plane({ dilation: 2 }), { frames: 1, rows, columns });
    for (const [y, x] of [
      [0, 0],
      [0, 1],
      [1, 0],
      [1, 1],
    ]) {
      const own = Array.from({ length: rows * columns }, (_, token) => token).filter(
        (token) => Math.floor(token / columns) % 2 === y && (token % columns) % 2 === x,
      );
      const group = (all: tf.Tensor): tf.Tensor => tf.gather(all, tf.tensor1d(own, 'int32'), 1);
      const grid = { frames: 1, rows: rows / 2, columns: columns / 2 };
      const alone = attend(inputs.map(group), plane({}), grid);
      expect(relativeDifference(group(dilated), alone)).toBeLessThan(1e-6);
    }
  });

  it('visits the tiles that its simulator says, fewer the better stride and tiles fit', () => {
    const grid = { frames: 1, rows: 1, columns: 32 };
    const mask = (stride: number): StaticMask =>
      neighbourhoodMask({ frames: axis({}), rows: axis({}), columns: axis({ window: 8, stride }) });
    const tiles = (size: number): Grid => ({ frames: 1, rows: 1, columns: size });
    const simulate = (stride: number): { tiles: number; pairs: number } =>
      simulateTiles(mask(stride), grid, 3, { query: tiles(8), key: tiles(8) });
    // Blocks visit themselves alone; sliding windows their neighbours as well.
    expect(simulate(8)).toEqual({ tiles: 3 * 4, pairs: 3 * 4 * 64 });
    expect(simulate(1)).toEqual({ tiles: 3 * 10, pairs: 3 * 10 * 64 });
    // Counted pair by pair.
    const visited = new Set<number>();
    for (let query = 0; query < 32; query++) {
      for (const key of mask(3).keysOf(query, grid, 0)) {
        visited.add(Math.floor(query / 8) * 4 + Math.floor(key / 8));
      }
    }
    expect(simulate(3).tiles).toBe(3 * visited.size);
  });
});

describe('power attention', () => {
  it('sees 2^(L+1) - 1 frames without a gap after L layers, at a logarithmic number of keys', () => {
    const distances = powerDistances(1, 1 << 12);
    let reached = new Set([0]);
    for (const expected of [3, 7, 15, 31, 63]) {
      reached = new Set([...reached].flatMap((from) => distances.map((back) => from + back)));
      let gapless = 0;
      while (reached.has(gapless)) gapless++;
      expect(gapless).toBe(expected);
    }
    for (const window of [1, 3, 8]) {
      const mask = powerMask({ window, furthest: 1000 });
      for (let query = 0; query < 1000; query++) {
        const keys = [...mask.keysOf(query, line(1000), 0)];
        expect(keys.length).toBeLessThanOrEqual(window + 1 + Math.log2(Math.max(1, query)));
        expect(new Set(keys).size).toBe(keys.length);
      }
    }
  });
});

describe('S2 attention', () => {
  it('covers the past only if its heads have a shard each', () => {
    const covered = (heads: number, stride: number, step = 1): number => {
      const config = { blockFrames: 1, localBlocks: 0, stride, step, furthest: 63 };
      // Of the last query: blocks 0 … 63 are as many of each shard.
      const mask = s2Mask(config);
      const seen = new Set<number>();
      for (let head = 0; head < heads; head++) {
        for (const key of mask.keysOf(63, line(64), head)) seen.add(key);
      }
      return seen.size / 64;
    };
    expect(covered(8, 8)).toBe(1);
    expect(covered(3, 8)).toBe(0.375);
    expect(covered(5, 8)).toBe(0.625);
    // Steps that meet again leave shards out, however many heads there are.
    expect(covered(8, 8, 2)).toBe(0.5);
    const shape = { width: 6, heads: 3, rows: 1, columns: 1 };
    expect(() => createMixer({ name: 's2Attention', stride: 8 }, shape)).toThrow(/3 of 8 shards/);
    const mask = s2Mask({ blockFrames: 2, localBlocks: 1, stride: 3, step: 1, furthest: 40 });
    expect(coverage(mask, line(30), 3)).toBe(1);
    expect(coverage(mask, line(30), 2)).toBeLessThan(0.9);
  });
});

describe('windows of varying size', () => {
  const shape = { width: 8, heads: 2, rows: 4, columns: 4 };
  const config = { name: 'varyingWindows', rows: 2, columns: 2 } as const;

  tidily('are plain windows with a zero head, and read elsewhere once it says so', () => {
    const mixer = createMixer(config, shape);
    const parameters = mixer.initialise(new Initialiser(1));
    const x = normal([2, 16, 8], 1);
    const { output } = mixer.apply(parameters, x, undefined, inference);
    // As neighbourhoods whose stride is their window.
    const plain = createMixer(
      {
        name: 'neighbourhood',
        frames: { window: 1 },
        rows: { window: 2, stride: 2 },
        columns: { window: 2, stride: 2 },
      },
      shape,
    );
    const same = plain.apply(parameters, x, undefined, inference).output;
    expect(relativeDifference(output, same)).toBeLessThan(1e-6);

    // An offset of a window's width to the right, the same for every window: LeakyReLU(mean) · w = 2 on the ones.
    const constant = tf.concat([tf.slice(x, [0, 0, 0], [-1, -1, 7]), tf.ones([2, 16, 1])], 2);
    const windows = tf.buffer([8, 8]);
    for (const head of [0, 1]) windows.set(2, 7, head * 4 + 3);
    const moved = mixer.apply({ ...parameters, windows: windows.toTensor() }, constant, undefined, inference).output; // prettier-ignore
    // Keys and values two columns to the left stand where windows of the left half look.
    const grid = tf.reshape(constant, [2, 4, 4, 8]);
    const rolled = tf.reshape(tf.slice(grid, [0, 0, 2], [-1, -1, 2]), [2, 8, 8]);
    const half = createMixer({ name: 'softmaxAttention', causal: false }, { ...shape, rows: 2, columns: 2 }); // prettier-ignore
    const weights = parameters as unknown as Record<string, tf.Tensor>;
    const heads = (y: tf.Tensor): tf.Tensor =>
      tf.transpose(tf.reshape(y, [2, 2, 4, 2, 4]), [0, 1, 3, 2, 4]);
    const times = (y: tf.Tensor, name: string): tf.Tensor =>
      tf.reshape(tf.matMul(tf.reshape(y, [-1, 8]), weights[name] as tf.Tensor2D), y.shape);
    expect(half.causal).toBe(false);
    const left = tf.reshape(tf.slice(grid, [0, 0, 0], [-1, -1, 2]), [2, 8, 8]);
    const [q, k, v] = [times(left, 'query'), times(rolled, 'key'), times(rolled, 'value')].map(heads); // prettier-ignore
    const scores = tf.mul(tf.matMul(q, k, false, true), 0.5);
    const mixed = tf.transpose(tf.matMul(tf.softmax(scores), v), [0, 1, 3, 2, 4]);
    const expected = times(tf.reshape(mixed, [2, 8, 8]), 'output');
    const actual = tf.reshape(tf.slice(tf.reshape(moved, [2, 4, 4, 8]), [0, 0, 0], [-1, -1, 2]), [2, 8, 8]); // prettier-ignore
    expect(relativeDifference(actual, expected)).toBeLessThan(1e-5);
  });

  tidily('learn the offset to where their values stand', () => {
    // Only the right half has values; windows of the left half have to look there to see them.
    const mixer = createMixer({ name: 'varyingWindows', rows: 1, columns: 2 }, { width: 2, heads: 1, rows: 1, columns: 4 }); // prettier-ignore
    const eye = tf.eye(2);
    const fixed = { query: tf.zeros([2, 2]), key: tf.zeros([2, 2]), value: eye, output: eye, bias: tf.zeros([1, 2, 2]) }; // prettier-ignore
    const x = tf.tensor([1, 0, 1, 0.3, 1, 0.7, 1, 1], [1, 4, 2]);
    let windows: tf.Tensor = tf.zeros([2, 4]);
    const seen = (w: tf.Tensor): tf.Tensor => {
      const { output } = mixer.apply({ ...fixed, windows: w }, x, undefined, inference);
      return tf.sum(tf.slice(output, [0, 0, 1], [1, 2, 1]));
    };
    for (let step = 0; step < 60; step++) {
      windows = tf.add(windows, tf.mul(tf.grad(seen)(windows), 0.1));
    }
    const before = seen(tf.zeros([2, 4])).dataSync()[0];
    expect(before).toBeCloseTo(0.3, 5);
    expect(seen(windows).dataSync()[0]).toBeGreaterThan(1.6);
  });
});

describe('positional attention', () => {
  tidily('weighs by positions alone, by the matrix that can be exported', () => {
    const shape = { width: 8, heads: 2, rows: 1, columns: 3 };
    const mixer = createMixer({ name: 'positionalAttention', frames: 2 }, shape);
    const parameters = mixer.initialise(new Initialiser(1)) as Record<string, tf.Tensor>;
    const weights = tf.softmax(positionalScores(parameters, 2)); // [heads, 3, 2 · 3]
    for (const seed of [1, 2]) {
      const x = normal([1, 6, 8], seed);
      const { output } = mixer.apply(parameters, x, undefined, inference);
      const values = tf.reshape(tf.matMul(tf.reshape(x, [6, 8]), parameters.value as tf.Tensor2D), [6, 2, 4]); // prettier-ignore
      // Frame 1 sees itself first, then frame 0.
      const ordered = tf.concat([tf.slice(values, [3], [3]), tf.slice(values, [0], [3])]);
      const mixed = tf.matMul(weights, tf.transpose(ordered, [1, 0, 2]));
      const expected = tf.matMul(tf.reshape(tf.transpose(mixed, [1, 0, 2]), [3, 8]), parameters.output as tf.Tensor2D); // prettier-ignore
      expect(relativeDifference(tf.reshape(tf.slice(output, [0, 3], [1, 3]), [3, 8]), expected)).toBeLessThan(1e-5); // prettier-ignore
    }
  });
});

describe('positional attention in time', () => {
  tidily('moves with its input, by whole frames', () => {
    const [frames, reach, shift] = [12, 3, 4];
    const shape = { width: 8, heads: 2, rows: 1, columns: 2 };
    const mixer = createMixer({ name: 'positionalAttention', frames: reach }, shape);
    const parameters = mixer.initialise(new Initialiser(1));
    const x = normal([1, frames * 2, 8], 1);
    const moved = tf.concat([normal([1, shift * 2, 8], 2), x], 1);
    const [own, later] = [x, moved].map((y) => mixer.apply(parameters, y, undefined, inference).output); // prettier-ignore
    // From where all frames that it sees are there.
    const seen = (y: tf.Tensor, from: number): tf.Tensor => tf.slice(y, [0, from * 2], [1, (frames - reach) * 2]); // prettier-ignore
    expect(relativeDifference(seen(later, reach + shift), seen(own, reach))).toBeLessThan(1e-6);
  });
});

describe('routing attention', () => {
  tidily('is full attention with one cluster of everything', () => {
    const piece = wholeClip(line(12));
    const inputs = [1, 2, 3].map((seed) => normal([2, 12, 4], seed));
    const content = contentFrom(inputs[0], inputs[1]);
    const mask = routingMask({ clusters: 1, members: 12 }, piece, content, new Float32Array(4));
    expect(relativeDifference(bothWays(mask, piece, inputs)[0].output, fullAttention(inputs, 0.5))).toBeLessThan(1e-6); // prettier-ignore
    const two = routingMask({ clusters: 2, members: 3 }, piece, content, Float32Array.of(1, 0, 0, 0, 0.9, 0.1, 0, 0)); // prettier-ignore
    expect(uncoveredShare(two[0], piece)).toBeGreaterThanOrEqual(0.5);
  });

  it('finds planted clusters by running means of its members', () => {
    const shape = { width: 4, heads: 1, rows: 1, columns: 1 };
    const mixer = createMixer({ name: 'routingAttention', clusters: 6, members: 40 }, shape);
    const random = createRandom(5);
    const planted = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, -1]]; // prettier-ignore
    const labels = Array.from({ length: 90 }, () => random.integer(3));
    const recorder = new Recorder();
    tf.tidy(() => {
      const values = labels.flatMap((label) => planted[label].map((value) => 3 * value + 0.3 * random.normal())); // prettier-ignore
      const x = tf.tensor(values, [1, 90, 4]);
      const leaves = flatten(mixer.initialise(new Initialiser(2)));
      for (const name of ['query', 'key', 'value', 'output']) leaves.set(name, tf.eye(4));
      for (let round = 0; round < 8; round++) {
        mixer.apply(unflatten(leaves), x, undefined, { training: true, recorder, path: '' });
        const { mean } = recorder.statistics.get('centroids')!;
        leaves.set('centroids.runningMean', tf.clone(mean));
        recorder.dispose();
      }
      const centroids = tf.reshape(leaves.get('centroids.runningMean')!, [6, 4]).arraySync() as number[][]; // prettier-ignore
      for (const direction of planted) {
        const best = Math.max(...centroids.map((centroid) => dot(centroid, direction) / Math.sqrt(dot(centroid, centroid)))); // prettier-ignore
        expect(best).toBeGreaterThan(0.97);
      }
    });
  });
});

/** Queries and keys whose scores vary slowly with the distance of their tokens, `[1, tokens, 2]`. */
const smooth = (tokens: number): tf.Tensor =>
  tf.tensor(
    Array.from({ length: tokens }, (_, i) => {
      const angle = (Math.PI * i) / tokens;
      return [4 * Math.cos(angle), 4 * Math.sin(angle)];
    }).flat(),
    [1, tokens, 2],
  );

describe('SeerAttention', () => {
  const piece = wholeClip(line(64));
  const config = { queryTile: { rows: 1, columns: 1 }, keyTile: line(8), top: 2 };

  tidily('is dense at threshold 0', () => {
    const inputs = [1, 2, 3].map((seed) => normal([2, 64, 4], seed));
    const gate = { query: normal([1, 4, 3], 4), key: normal([1, 12, 3], 5) };
    const content = contentFrom(inputs[0], inputs[1]);
    const mask = seerMask({ ...config, threshold: 0 }, piece, content, gate);
    expect(relativeDifference(bothWays(mask, piece, inputs)[0].output, fullAttention(inputs, 0.5))).toBeLessThan(1e-6); // prettier-ignore
    const some = seerMask({ ...config, threshold: 0.3 }, piece, content, gate);
    expect(visitedPairs(some[0])).toBeLessThan(0.6 * visitedPairs(mask[0]));
  });

  it('learns to choose blocks that hold nearly as much attention as the best ones', () => {
    tf.tidy(() => {
      // The keys that a query wants stand at the mirrored place: mostly not in its own block.
      const keys = smooth(64);
      const queries = tf.mul(tf.reverse(keys, 1), 4);
      const content = contentFrom(queries, keys);
      let gate = [tf.mul(normal([1, 2, 8], 1), 0.3), tf.mul(normal([1, 6, 8], 2), 0.3)];
      const loss = (query: tf.Tensor, key: tf.Tensor): tf.Scalar =>
        seerGateLoss({ query, key }, config, piece, content) as tf.Scalar;
      const first = loss(gate[0], gate[1]).dataSync()[0];
      for (let step = 0; step < 60; step++) {
        const gradients = tf.grads(loss as (...xs: tf.Tensor[]) => tf.Scalar)(gate);
        gate = gate.map((value, i) => tf.sub(value, tf.mul(gradients[i], 0.05)));
      }
      expect(loss(gate[0], gate[1]).dataSync()[0]).toBeLessThan(0.8 * first);

      const weights = tf.softmax(tf.mul(tf.matMul(queries, keys, false, true), 2 ** -0.5)).arraySync() as number[][][]; // prettier-ignore
      const massOf = (query: number, blocks: readonly number[]): number =>
        blocks.reduce((sum, block) => sum + weights[0][query].slice(8 * block, 8 * block + 8).reduce((a, b) => a + b), 0); // prettier-ignore
      const [{ visits }] = seerMask(config, piece, content, { query: gate[0], key: gate[1] });
      let [learned, oracle] = [0, 0];
      for (let query = 0; query < 64; query++) {
        const own = Math.floor(query / 8);
        const others = [0, 1, 2, 3, 4, 5, 6, 7].filter((block) => block !== own);
        const best = greatest(others.map((block) => massOf(query, [block])), 2).map((i) => others[i]); // prettier-ignore
        oracle += massOf(query, [...best, own]) / 64;
        learned += massOf(query, visits[query]) / 64;
      }
      expect(oracle).toBeGreaterThan(0.95);
      expect(learned).toBeGreaterThan(oracle - 0.03);
    });
  });

  tidily('trains its gate towards the greatest weight of each block', () => {
    const content = contentFrom(normal([1, 6, 2], 1), normal([1, 6, 2], 2));
    const tiles = [Int32Array.of(5)];
    const blocks = [Int32Array.of(0, 1), Int32Array.of(2, 3)];
    const targets = blockTargets({ ...config, reach: 5 }, wholeClip(line(6)), content, { tiles, blocks, candidates: [[0, 1]] }); // prettier-ignore
    const q = content.q.subarray(10, 12);
    const score = (key: number): number => Math.exp(dot(q, content.k.subarray(2 * key, 2 * key + 2)) / Math.SQRT2); // prettier-ignore
    const most = [Math.max(score(0), score(1)), Math.max(score(2), score(3))];
    expect(targets[0]).toBeCloseTo(most[0] / (most[0] + most[1]), 5);
    expect(targets[0] + targets[1]).toBeCloseTo(1, 6);
  });
});

describe('HiP attention', () => {
  const tokens = 512;
  const recall = (scores: readonly number[], ranges: number, leaf: number): number => {
    const found = new Set<number>();
    for (const [from, to] of searchTree(scores.length, ranges, leaf, (at) => scores[at])) {
      for (let i = from; i < to; i++) found.add(i);
    }
    const best = greatest(scores, ranges * leaf);
    return best.filter((i) => found.has(i)).length / best.length;
  };

  it('finds the best keys of a smooth field of scores, and misses lone spikes', () => {
    const random = createRandom(3);
    let [onSmooth, onSpikes] = [0, 0];
    for (let run = 0; run < 20; run++) {
      const phase = 2 * Math.PI * random.uniform();
      onSmooth += recall(Array.from({ length: tokens }, (_, i) => Math.sin((4 * Math.PI * i) / tokens + phase)), 8, 8) / 20; // prettier-ignore
      onSpikes +=
        recall(
          Array.from({ length: tokens }, () => random.normal()),
          8,
          8,
        ) / 20;
    }
    expect(onSmooth).toBeGreaterThan(0.95);
    expect(onSpikes).toBeLessThan(0.6);
  });

  tidily('is dense when it keeps everything, and computes O(k log(n/k)) scores otherwise', () => {
    const piece = wholeClip(line(64));
    const inputs = [1, 2, 3].map((seed) => normal([2, 64, 4], seed));
    const content = contentFrom(inputs[0], inputs[1]);
    const queryTile = { rows: 1, columns: 1 };
    const all = hipMask({ queryTile, ranges: 64, leaf: 1 }, piece, content);
    expect(relativeDifference(bothWays(all, piece, inputs)[0].output, fullAttention(inputs, 0.5))).toBeLessThan(1e-6); // prettier-ignore
    let scores = 0;
    const [ranges, leaf] = [4, 2];
    const some = hipMask({ queryTile, ranges, leaf }, piece, content, () => scores++);
    expect(Math.max(...some[0].visits.map((blocks) => blocks.reduce((sum, block) => sum + some[0].keyBlocks[block].length, 0)))).toBeLessThanOrEqual(ranges * leaf); // prettier-ignore
    expect(scores / (2 * 64)).toBeLessThanOrEqual(2 * ranges * Math.log2(64 / ranges));
    expect(scores).toBeGreaterThan(0);
  });
});

describe('HyperAttention', () => {
  const tokens = 64;
  const piece = wholeClip(line(tokens));
  const config = { block: 8, samples: tokens, bits: 4, seed: 1 };

  tidily('is exact when every key is drawn, none counted twice', () => {
    const inputs = [1, 2, 3].map((seed) => normal([2, tokens, 4], seed));
    const mask = hyperMask(config, piece, contentFrom(inputs[0], inputs[1]));
    for (const way of bothWays(mask, piece, inputs)) {
      expect(relativeDifference(way.output, fullAttention(inputs, 0.5))).toBeLessThan(1e-6);
    }
  });

  tidily('errs about half as much with four times as many keys', () => {
    const inputs = [1, 2, 3].map((seed) => normal([1, 512, 4], seed));
    const content = contentFrom(inputs[0], inputs[1]);
    const whole = wholeClip(line(512));
    const exact = fullAttention(inputs, 0.5);
    const error = (samples: number): number => {
      let sum = 0;
      for (let seed = 0; seed < 8; seed++) {
        const mask = hyperMask({ ...config, block: 16, samples, seed }, whole, content);
        const { output } = blockAttention(inputs[0], inputs[1], inputs[2], pack(mask, whole), 0.5);
        sum += tf.mean(tf.square(tf.sub(output, exact))).dataSync()[0] / 8;
      }
      return Math.sqrt(sum);
    };
    const ratio = error(16) / error(64);
    expect(ratio).toBeGreaterThan(1.6);
    expect(ratio).toBeLessThan(2.8);
  });

  const causal = { ...config, leaf: 4, reach: tokens };

  it('halves the past as recursion does', () => {
    const seen = new Set<string>();
    const halve = (from: number, to: number): void => {
      if (to - from <= causal.leaf) return;
      const middle = (from + to) / 2;
      for (let frame = middle; frame < to; frame++) seen.add(`${frame}: ${from}-${middle}`);
      halve(from, middle);
      halve(middle, to);
    };
    halve(0, tokens);
    const parts = Array.from({ length: tokens }, (_, frame) =>
      pastParts(frame, causal.leaf).map(([from, to]) => `${frame}: ${from}-${to}`),
    ).flat();
    expect(new Set(parts)).toEqual(seen);
    expect(parts.length).toBe(seen.size);
  });

  tidily('causal, is exact when every key is drawn, none counted twice', () => {
    const inputs = [1, 2, 3].map((seed) => normal([2, tokens, 4], seed));
    const [q, k, v] = inputs;
    const later = tf.sub(1, tf.linalg.bandPart(tf.ones([tokens, tokens]), -1, 0));
    const scores = tf.sub(tf.mul(tf.matMul(q, k, false, true), 0.5), tf.mul(later, 1e9));
    const exact = tf.matMul(tf.softmax(scores), v);
    const mask = causalHyperMask(causal, piece, contentFrom(q, k));
    for (const way of bothWays(mask, piece, inputs)) {
      expect(relativeDifference(way.output, exact)).toBeLessThan(1e-6);
    }
  });

  tidily('causal, sees a few keys of each half, the same whatever comes later', () => {
    const [q, k] = [1, 2].map((seed) => normal([1, tokens, 4], seed));
    const few = { ...causal, block: 2, samples: 2 };
    const keysOf = (queries: tf.Tensor, keys: tf.Tensor, count: number): unknown => {
      const part = wholeClip(line(count));
      const [list] = causalHyperMask(few, part, contentFrom(queries, keys));
      return list.keyBlocks.map((block, i) =>
        [...block].map((token) => [token, list.logWeight!(i, token, i)]),
      );
    };
    const whole = keysOf(q, k, tokens) as number[][][];
    for (const count of [9, 31, 32]) {
      const [start, other] = [q, k].map((x) => tf.slice(x, [0, 0, 0], [1, count, 4]));
      expect(keysOf(start, other, count)).toEqual(whole.slice(0, count));
    }
    const levels = Math.log2(tokens / few.leaf);
    const most = Math.max(...whole.map((keys) => keys.length));
    expect(most).toBeLessThanOrEqual(few.leaf + levels * (few.block + few.samples));
    // The weights of the keys stand for all keys so far, where any was drawn of each half.
    const last = whole[tokens - 1].reduce((sum, [, weight]) => sum + Math.exp(weight), 0);
    expect(last).toBeCloseTo(tokens, 3);
  });
});

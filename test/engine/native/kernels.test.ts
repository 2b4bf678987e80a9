import fc from 'fast-check';
import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { selectBackend } from '../../../engine/index.js';
import { loadAddon } from '../../../engine/native/addon.js';
import { createRandom } from '../../../engine/support/random.js';

const live = await selectBackend('native').then(
  () => true,
  () => false,
);
if (!live) console.warn('native backend not built: its tests are skipped');

type Op = (...xs: tf.Tensor[]) => tf.Tensor | tf.Tensor[];

/** Draws with zeros, ones and a few large values among normal ones; never the same twice. */
function draw(shape: number[], seed: number, scale = 1): tf.Tensor {
  const random = createRandom(seed, 'native kernels');
  const size = shape.reduce((a, b) => a * b, 1);
  const values = Float32Array.from({ length: size }, () => {
    const kind = random.uniform();
    if (kind < 0.1) return 0;
    return random.normal() * (kind < 0.15 ? 30 : 1) * scale;
  });
  return tf.tensor(values, shape, 'float32');
}

interface Result {
  shape: number[];
  dtype: string;
  values: number[];
}

async function results(name: string, make: () => tf.Tensor[], op: Op): Promise<Result[]> {
  await selectBackend(name);
  return tf.tidy(() => {
    const outputs = op(...make());
    return (Array.isArray(outputs) ? outputs : [outputs]).map((y) => ({
      shape: y.shape,
      dtype: y.dtype,
      values: [...y.dataSync()],
    }));
  });
}

/** Half a unit in the last place of 1. */
const roundingOf1 = 2 ** -24;

/**
 * Fails unless `native` gives what `cpu` gives: shapes, types, values to float32 rounding.
 *
 * @param terms where values may be differences of much larger ones: for each output, by how many roundings of 1 it may
 * differ besides, value by value or as one number.
 */
async function same(make: () => tf.Tensor[], op: Op, tolerance = 2e-5, terms?: Op): Promise<void> {
  const expected = await results('cpu', make, op);
  const actual = await results('native', make, op);
  expect(actual.map(({ shape, dtype }) => ({ shape, dtype }))).toEqual(
    expected.map(({ shape, dtype }) => ({ shape, dtype })),
  );
  const far = expected.flatMap(({ values }, i) => {
    const scale = values.reduce((m, v) => Math.max(m, Number.isFinite(v) ? Math.abs(v) : 0), 1);
    return values.flatMap((value, j) => {
      const other = actual[i].values[j];
      if (Object.is(value, other) || value === other) return [];
      const excess = Math.abs(value - other) - tolerance * Math.max(scale * 0.1, Math.abs(value));
      return excess <= 0 ? [] : [{ i, j, value, other, excess }];
    });
  });
  if (far.length === 0) return;
  const roundings = terms === undefined ? [] : await results('cpu', make, terms);
  for (const { i, j, value, other, excess } of far) {
    const allowed = roundings[i]?.values ?? [0];
    if (!(excess <= allowed[j % allowed.length] * roundingOf1)) {
      expect.fail(`value ${j} of output ${i}: cpu ${value}, native ${other}`);
    }
  }
}

/**
 * Roundings of sums of products: `n` terms add up to √n roundings of the sum of their sizes, save for a chance that
 * falls as exp(-λ²/2) with a factor λ (Higham & Mary 2019); 6 leaves none in a million. The sum of the sizes is what the
 * op makes of the sizes; more terms than an input has values there are not.
 */
const summed =
  (op: Op): Op =>
  (...xs) => {
    const outputs = op(...xs.map((x) => tf.abs(x)));
    const roundings = 6 * Math.sqrt(Math.max(...xs.map(({ size }) => size)));
    return [outputs].flat().map((y) => tf.mul(y, roundings));
  };

const sameSums = (make: () => tf.Tensor[], op: Op, tolerance?: number): Promise<void> =>
  same(make, op, tolerance, summed(op));

const extent = fc.oneof(fc.constantFrom(1, 2, 3, 16, 17, 33), fc.integer({ min: 1, max: 40 }));
const shape = fc.array(extent, { minLength: 1, maxLength: 4 }).filter(small);
const seed = fc.integer();

function small(extents: readonly number[]): boolean {
  return extents.reduce((a, b) => a * b, 1) <= 20_000;
}

describe.skipIf(!live).each(live ? ['best', 'avx2', 'portable'] : ['best'])(
  'native kernels against cpu, %s instructions',
  (instructions) => {
    beforeAll(() => {
      loadAddon().limitInstructionSet(instructions as 'best');
    });
    afterAll(() => {
      loadAddon().limitInstructionSet('best');
    });

    const check = <T extends unknown[]>(
      arbitraries: { [K in keyof T]: fc.Arbitrary<T[K]> },
      property: (...values: T) => Promise<void>,
      numRuns = 12,
    ): Promise<void> =>
      fc.assert(fc.asyncProperty(...(arbitraries as [fc.Arbitrary<unknown>]), property as never), {
        numRuns,
      }) as Promise<void>;

    const unary: Record<string, Op> = {
      abs: tf.abs,
      ceil: tf.ceil,
      clipByValue: (x) => tf.clipByValue(x, -0.5, 2),
      cos: tf.cos,
      elu: tf.elu,
      erf: tf.erf,
      exp: tf.exp,
      expm1: tf.expm1,
      floor: tf.floor,
      leakyRelu: (x) => tf.leakyRelu(x, 0.3),
      log: tf.log,
      log1p: tf.log1p,
      neg: tf.neg,
      reciprocal: tf.reciprocal,
      relu: tf.relu,
      relu6: tf.relu6,
      round: tf.round,
      rsqrt: (x) => tf.rsqrt(tf.abs(x)),
      selu: tf.selu,
      sigmoid: tf.sigmoid,
      sign: tf.sign,
      sin: tf.sin,
      softplus: tf.softplus,
      sqrt: (x) => tf.sqrt(tf.abs(x)),
      square: tf.square,
      step: (x) => tf.step(x, 0.25),
      tanh: tf.tanh,
      onesLike: tf.onesLike,
      zerosLike: tf.zerosLike,
      toInt: (x) => tf.cast(x, 'int32'),
      toBool: (x) => tf.cast(x, 'bool'),
    };
    it.each(Object.keys(unary))('%s', (name) =>
      check([shape, seed], (extents: number[], s: number) =>
        same(() => [draw(extents, s)], unary[name]),
      ),
    );

    it('exp, sigmoid, softplus, tanh and log at the ends of their range', () =>
      same(
        () => [
          tf.tensor1d([
            -Infinity,
            -1e30,
            -104,
            -88,
            -87,
            -1e-3,
            -1e-30,
            0,
            1e-30,
            1e-3,
            87,
            88,
            89,
            1e30,
            Infinity,
            NaN,
          ]),
        ],
        (x) => [tf.exp(x), tf.sigmoid(x), tf.softplus(x), tf.tanh(x), tf.log(x), tf.relu(x)],
      ));

    const binary: Record<string, (a: tf.Tensor, b: tf.Tensor) => tf.Tensor> = {
      add: tf.add,
      sub: tf.sub,
      mul: tf.mul,
      div: tf.div,
      maximum: tf.maximum,
      minimum: tf.minimum,
      squaredDifference: tf.squaredDifference,
      pow: (a, b) => tf.pow(tf.add(tf.abs(a), 0.5), tf.clipByValue(b, -3, 3)),
      equal: tf.equal,
      notEqual: tf.notEqual,
      greater: tf.greater,
      greaterEqual: tf.greaterEqual,
      less: tf.less,
      lessEqual: tf.lessEqual,
    };
    const broadcasting = fc
      .array(fc.tuple(extent, fc.boolean(), fc.boolean()), { minLength: 1, maxLength: 4 })
      .filter((axes) => small(axes.map(([e]) => e)))
      .chain((axes) =>
        fc.record({
          a: fc.constant(axes.map(([e, one]) => (one ? 1 : e))),
          b: fc.constant(axes.map(([e, , one]) => (one ? 1 : e))),
          cut: fc.integer({ min: 0, max: axes.length - 1 }),
        }),
      );
    it.each(Object.keys(binary))('%s, broadcasting', (name) =>
      check([broadcasting, seed], ({ a, b, cut }, s: number) =>
        same(
          () => [draw(a, s), draw(b.slice(cut), s + 1)],
          (x, y) => binary[name](x, y),
        ),
      ),
    );
    it('adds scalars and empty tensors', async () => {
      await same(() => [tf.scalar(2), tf.scalar(3)], tf.mul as Op);
      await same(() => [tf.zeros([0, 3]), tf.zeros([3])], tf.add as Op);
      await same(() => [draw([5, 7], 1), tf.scalar(0.5)], tf.sub as Op);
    });
    it('select, addN, gradient of elu, prelu', () =>
      check([shape, seed], (extents: number[], s: number) =>
        same(
          () => [draw(extents, s), draw(extents, s + 1), draw(extents, s + 2)],
          (a, b, c) => [
            tf.where(tf.greater(a, 0), b, c),
            tf.addN([a, b, c]),
            tf.grad((x) => tf.elu(x))(a, b),
            tf.prelu(
              a,
              tf.slice(
                b,
                extents.map(() => 0),
                extents.map((e, d) => (d === 0 ? 1 : e)),
              ),
            ),
          ],
        ),
      ));

    const reductions: Record<string, (x: tf.Tensor, axes: number[], keep: boolean) => tf.Tensor> = {
      sum: tf.sum,
      mean: tf.mean,
      max: tf.max,
      min: tf.min,
      prod: (x, axes, keep) => tf.prod(tf.add(tf.mul(tf.tanh(x), 0.1), 1), axes, keep),
    };
    it.each(Object.keys(reductions))('%s over any axes', (name) =>
      check(
        [shape, fc.infiniteStream(fc.boolean()), fc.boolean(), seed],
        (extents: number[], chosen, keep: boolean, s: number) => {
          const axes = extents
            .map((_, d) => d)
            .filter(() => (chosen as Iterator<boolean>).next().value);
          return sameSums(
            () => [draw(extents, s)],
            (x) => reductions[name](x, axes.length === 0 ? [0] : axes, keep),
          );
        },
      ),
    );
    it('long sums', async () => {
      await same(
        () => [draw([100_003], 3)],
        (x) => tf.sum(x),
      );
      await same(
        () => [draw([3001, 17], 4)],
        (x) => [tf.sum(x, 0), tf.max(x, 0), tf.mean(x, 1)],
      );
    });
    it('softmax, logSoftmax and their gradients', () =>
      check([extent, extent, seed], (rows: number, n: number, s: number) =>
        same(
          () => [draw([rows, n], s, 3), draw([rows, n], s + 1)],
          (x, dy) => [
            tf.softmax(x),
            tf.logSoftmax(x),
            tf.grad((v) => tf.softmax(v))(x, dy),
            tf.grad((v) => tf.logSoftmax(v))(x, dy),
          ],
          undefined,
          (x, dy) => {
            // Of the exponents, which round by their size, and of the sum.
            const exponents = tf.add(tf.mul(4, tf.max(tf.abs(x))), 6 * Math.sqrt(n));
            const spread = tf.max(tf.sum(tf.abs(dy), -1));
            return [exponents, exponents, tf.mul(exponents, spread), tf.mul(exponents, spread)];
          },
        ),
      ));
    it('batch normalisation', () =>
      check([shape, seed], (extents: number[], s: number) => {
        const full = [3, ...extents].slice(-4);
        const features = [full[full.length - 1]];
        const normalise =
          (of: (x: tf.Tensor) => tf.Tensor, centre: (mean: tf.Tensor) => tf.Tensor): Op =>
          (x, mean, variance, scale) => {
            const spread = tf.add(tf.abs(variance), 0.1) as tf.Tensor1D;
            const [from, to] = [of(x) as tf.Tensor4D, centre(mean) as tf.Tensor1D];
            const factor = of(scale) as tf.Tensor1D;
            return [
              tf.batchNorm(from, to, spread, undefined, factor, 1e-3),
              tf.batchNorm(from, to, spread, of(mean) as tf.Tensor1D),
            ];
          };
        const sizes = normalise(tf.abs, (mean) => tf.neg(tf.abs(mean)));
        return same(
          () => [
            draw(full, s),
            draw(features, s + 1),
            draw(features, s + 2),
            draw(features, s + 3),
          ],
          normalise(tf.clone, tf.clone),
          undefined,
          (...xs) => [sizes(...xs)].flat().map((y) => tf.mul(y, 8)),
        );
      }));

    it('transpose, reverse, tile, pad', () =>
      check([shape, seed, fc.boolean()], (extents: number[], s: number, ints: boolean) => {
        const random = createRandom(s, 'layout');
        const perm = extents.map((_, d) => d).sort(() => random.uniform() - 0.5);
        const axes = perm.filter(() => random.uniform() < 0.5);
        const reps = extents.map(() => 1 + Math.floor(random.uniform() * 2));
        const paddings = extents.map(
          () =>
            [Math.floor(random.uniform() * 3), Math.floor(random.uniform() * 3)] as [
              number,
              number,
            ],
        );
        return same(
          () => [ints ? tf.cast(draw(extents, s), 'int32') : draw(extents, s)],
          (x) => [
            tf.transpose(x, perm),
            tf.reverse(x, axes),
            tf.tile(x, reps),
            tf.pad(x, paddings, 2),
          ],
        );
      }));
    it('slice, concat, split, stack, unstack', () =>
      check([shape, seed], (extents: number[], s: number) => {
        const random = createRandom(s, 'slices');
        const axis = Math.floor(random.uniform() * extents.length);
        const begin = extents.map((e) => Math.floor(random.uniform() * e));
        const size = extents.map((e, d) => 1 + Math.floor(random.uniform() * (e - begin[d])));
        const part = 1 + Math.floor(random.uniform() * extents[axis]);
        return same(
          () => [draw(extents, s), draw(extents, s + 1)],
          (x, y) => [
            tf.slice(x, begin, size),
            tf.concat([x, y, x], axis),
            tf.stack([x, y], axis),
            ...tf.unstack(x, axis),
            ...(part < extents[axis] ? tf.split(x, [part, extents[axis] - part], axis) : []),
          ],
        );
      }));
    it('gather and its gradient, segment sums', () =>
      check([shape, seed], (extents: number[], s: number) => {
        const random = createRandom(s, 'gather');
        const axis = Math.floor(random.uniform() * extents.length);
        const indices = Array.from({ length: 5 }, () =>
          Math.floor(random.uniform() * extents[axis]),
        );
        return same(
          () => [
            draw(extents, s),
            draw(
              extents.map((e, d) => (d === axis ? 5 : e)),
              s + 1,
            ),
          ],
          (x, dy) => [
            tf.gather(x, tf.tensor1d(indices, 'int32'), axis),
            tf.grad((v) => tf.gather(v, tf.tensor1d(indices, 'int32'), axis))(x, dy),
          ],
        );
      }));
    it('refuses an index out of range', async () => {
      await selectBackend('native');
      expect(() => tf.gather(tf.zeros([3, 2]), tf.tensor1d([3], 'int32'))).toThrow('not in [0, 2]');
    });

    const side = fc.oneof(fc.constantFrom(1, 6, 14, 32, 33), fc.integer({ min: 1, max: 90 }));
    it('matMul, transposed, with gradients', () =>
      check(
        [side, side, side, fc.boolean(), fc.boolean(), seed],
        (m: number, n: number, k: number, ta: boolean, tb: boolean, s: number) =>
          sameSums(
            () => [
              draw(ta ? [k, m] : [m, k], s),
              draw(tb ? [n, k] : [k, n], s + 1),
              draw([m, n], s + 2),
            ],
            (a, b, dy) => [
              tf.matMul(a, b, ta, tb),
              ...tf.grads((x, y) => tf.matMul(x, y, ta, tb))([a, b], dy),
            ],
          ),
        20,
      ));
    it('matMul in batches', () =>
      check(
        [
          fc.constantFrom([1, 1], [3, 3], [1, 4], [4, 1], [9, 9]),
          side,
          side,
          fc.boolean(),
          fc.boolean(),
          seed,
        ],
        ([left, right], m: number, k: number, ta: boolean, tb: boolean, s: number) =>
          sameSums(
            () => [
              draw([left, ...(ta ? [k, m] : [m, k])], s),
              draw([right, ...(tb ? [5, k] : [k, 5])], s + 1),
            ],
            (a, b) => tf.matMul(a, b, ta, tb),
          ),
      ));
    it.each([
      // More rows than a block of two threads, and more depth; few rows; more columns than a block.
      [460, 520, 20],
      [3, 900, 1000],
      [90, 12, 4100],
    ])('large matMul on several threads: %i × %i by %i', (m, k, n) =>
      sameSums(
        () => [draw([m, k], 1), draw([k, n], 2)],
        (a, b) => tf.matMul(a, b),
      ),
    );
    it.each(['linear', 'relu', 'relu6', 'elu', 'sigmoid', 'leakyrelu', 'prelu'] as const)(
      'fused matMul with %s',
      (activation) =>
        check([side, side, side, seed], (m: number, n: number, k: number, s: number) =>
          same(
            () => [draw([m, k], s), draw([k, n], s + 1), draw([n], s + 2), draw([n], s + 3)],
            (a, b, bias, alpha) =>
              tf.fused.matMul({
                a: a as tf.Tensor2D,
                b: b as tf.Tensor2D,
                bias,
                activation,
                ...(activation === 'prelu' && { preluActivationWeights: alpha }),
                leakyreluAlpha: 0.1,
              }),
            2e-4,
            // No activation but prelu is steeper than 1.
            summed((a, b, bias, alpha) =>
              tf.mul(tf.add(tf.matMul(a, b), bias), tf.add(1, tf.max(alpha))),
            ),
          ),
        ),
    );

    const map = fc.record({
      batch: fc.integer({ min: 1, max: 3 }),
      depth: fc.integer({ min: 1, max: 4 }),
      height: fc.integer({ min: 1, max: 9 }),
      width: fc.integer({ min: 1, max: 20 }),
      channels: fc.constantFrom(1, 2, 5, 16, 33),
      filters: fc.constantFrom(1, 3, 8, 31, 40),
      size: fc.integer({ min: 1, max: 4 }),
      stride: fc.integer({ min: 1, max: 3 }),
      dilation: fc.integer({ min: 1, max: 2 }),
      same: fc.boolean(),
      seed,
    });
    type Map = typeof map extends fc.Arbitrary<infer T> ? T : never;
    const holds = (m: Map): boolean =>
      m.same || Math.min(m.height, m.width) >= (m.size - 1) * m.dilation + 1;
    const padOf = (m: Map): 'same' | 'valid' => (m.same ? 'same' : 'valid');

    it('conv2d with gradients', () =>
      check([map.filter((m) => m.stride === 1 || m.dilation === 1).filter(holds)], (m: Map) =>
        sameSums(
          () => [
            draw([m.batch, m.height, m.width, m.channels], m.seed),
            draw([m.size, m.size, m.channels, m.filters], m.seed + 1),
          ],
          (x, filter) => {
            const y = (a: tf.Tensor, f: tf.Tensor): tf.Tensor =>
              tf.conv2d(a as tf.Tensor4D, f as tf.Tensor4D, m.stride, padOf(m), 'NHWC', m.dilation);
            // TensorFlow.js has no gradient of a dilated convolution.
            if (m.dilation > 1) return y(x, filter);
            return [y(x, filter), ...tf.grads((a, f) => tf.sum(tf.square(y(a, f))))([x, filter])];
          },
          1e-4,
        ),
      ));
    it('conv2d 3 × 3 of many channels, by minimal filtering', () =>
      check(
        [
          fc.record({
            batch: fc.integer({ min: 1, max: 3 }),
            height: fc.integer({ min: 8, max: 15 }),
            width: fc.integer({ min: 8, max: 15 }),
            channels: fc.constantFrom(16, 17, 33),
            filters: fc.constantFrom(16, 31, 40),
            same: fc.boolean(),
            seed,
          }),
        ],
        (m) =>
          sameSums(
            () => [
              draw([m.batch, m.height, m.width, m.channels], m.seed),
              draw([3, 3, m.channels, m.filters], m.seed + 1),
            ],
            (x, filter) => {
              const y = (a: tf.Tensor, f: tf.Tensor): tf.Tensor =>
                tf.conv2d(a as tf.Tensor4D, f as tf.Tensor4D, 1, m.same ? 'same' : 'valid');
              return [y(x, filter), ...tf.grads((a, f) => tf.sum(tf.square(y(a, f))))([x, filter])];
            },
            1e-4,
          ),
        4,
      ));
    it('conv2d in patches', () =>
      sameSums(
        () => [draw([3, 16, 24, 2], 1), draw([8, 8, 2, 19], 2)],
        (x, filter) => {
          const y = (a: tf.Tensor, f: tf.Tensor): tf.Tensor =>
            tf.conv2d(a as tf.Tensor4D, f as tf.Tensor4D, 8, 'valid');
          return [y(x, filter), ...tf.grads((a, f) => tf.sum(tf.square(y(a, f))))([x, filter])];
        },
        1e-4,
      ));
    it('conv3d with gradients', () =>
      check([map.filter((m) => m.same && m.dilation === 1)], (m: Map) =>
        sameSums(
          () => [
            draw([m.batch, m.depth, m.height, m.width, m.channels], m.seed),
            draw([Math.min(2, m.size), m.size, m.size, m.channels, m.filters], m.seed + 1),
          ],
          (x, filter) => {
            const y = (a: tf.Tensor, f: tf.Tensor): tf.Tensor =>
              tf.conv3d(a as tf.Tensor5D, f as tf.Tensor5D, m.stride, 'same');
            return [y(x, filter), ...tf.grads((a, f) => tf.sum(tf.square(y(a, f))))([x, filter])];
          },
          1e-4,
        ),
      ));
    it('depthwise conv2d with gradients', () =>
      check([map.filter((m) => m.stride === 1 || m.dilation === 1).filter(holds)], (m: Map) =>
        sameSums(
          () => [
            draw([m.batch, m.height, m.width, m.channels], m.seed),
            draw([m.size, m.size, m.channels, m.filters === 3 ? 2 : 1], m.seed + 1),
          ],
          (x, filter) => {
            const y = (a: tf.Tensor, f: tf.Tensor): tf.Tensor =>
              tf.depthwiseConv2d(
                a as tf.Tensor4D,
                f as tf.Tensor4D,
                m.stride,
                padOf(m),
                'NHWC',
                m.dilation,
              );
            if (m.dilation > 1) return y(x, filter);
            return [y(x, filter), ...tf.grads((a, f) => tf.sum(tf.square(y(a, f))))([x, filter])];
          },
          1e-4,
        ),
      ));
    it('fused conv2d and depthwise conv2d', () =>
      check([map.filter((m) => m.dilation === 1).filter(holds)], (m: Map) => {
        const fused =
          (flat: 'relu' | 'linear', deep: 'sigmoid' | 'linear'): Op =>
          (x, filter, bias, depthFilter, depthBias) => [
            tf.fused.conv2d({
              x: x as tf.Tensor4D,
              filter: filter as tf.Tensor4D,
              strides: m.stride,
              pad: padOf(m),
              bias,
              activation: flat,
            }),
            tf.fused.depthwiseConv2d({
              x: x as tf.Tensor4D,
              filter: depthFilter as tf.Tensor4D,
              strides: m.stride,
              pad: padOf(m),
              bias: depthBias,
              activation: deep,
            }),
          ];
        return same(
          () => [
            draw([m.batch, m.height, m.width, m.channels], m.seed),
            draw([m.size, m.size, m.channels, m.filters], m.seed + 1),
            draw([m.filters], m.seed + 2),
            draw([m.size, m.size, m.channels, 1], m.seed + 3),
            draw([m.channels], m.seed + 4),
          ],
          fused('relu', 'sigmoid'),
          1e-4,
          summed(fused('linear', 'linear')),
        );
      }));
    it('pooling with gradients, in two and three dimensions', () =>
      check([map.filter((m) => m.dilation === 1).filter(holds)], (m: Map) =>
        sameSums(
          () => [
            draw([m.batch, m.height, m.width, m.channels], m.seed),
            draw([m.batch, m.depth, m.height, m.width, m.channels], m.seed + 1),
          ],
          (x, volume) => {
            const depthSize = Math.min(m.size, m.depth);
            const size = [depthSize, m.size, m.size] as [number, number, number];
            const flat = [tf.maxPool, tf.avgPool].map(
              (pool) => (v: tf.Tensor) =>
                tf.sum(tf.square(pool(v as tf.Tensor4D, m.size, m.stride, padOf(m)))),
            );
            const deep = [tf.maxPool3d, tf.avgPool3d].map(
              (pool) => (v: tf.Tensor) =>
                tf.sum(tf.square(pool(v as tf.Tensor5D, size, m.stride, padOf(m)))),
            );
            return [
              tf.maxPool(x as tf.Tensor4D, m.size, m.stride, padOf(m)),
              tf.avgPool(x as tf.Tensor4D, m.size, m.stride, padOf(m)),
              tf.maxPool3d(volume as tf.Tensor5D, size, m.stride, padOf(m)),
              tf.avgPool3d(volume as tf.Tensor5D, size, m.stride, padOf(m)),
              ...flat.map((f) => tf.grad(f)(x)),
              ...deep.map((f) => tf.grad(f)(volume)),
            ];
          },
        ),
      ));
  },
);

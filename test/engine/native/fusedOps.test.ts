import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { selectBackend } from '../../../engine/backend.js';
import { sizeOf, type Attributes, type FusedOpDefinition } from '../../../engine/fused.js';
import { loadAddon } from '../../../engine/native/addon.js';
import { ops } from '../../../engine/native/ops/index.js';
import { adamwDefinition } from '../../../engine/ops/adamw.js';
import { transposeMatrixDefinition } from '../../../engine/ops/linear.js';
import { batchNormInferenceDefinition } from '../../../engine/ops/normalise.js';
import { patchesDefinition } from '../../../engine/ops/patches.js';
import {
  spikeConv2dDefinition,
  spikeCountDefinition,
  spikeMatMulDefinition,
} from '../../../engine/ops/spikes.js';
import { selectiveScan } from '../../../engine/ops/selectiveScan.js';
import { createRandom, type Random } from '../../../engine/support/random.js';
import { testedBackends } from '../backends.js';
import { cases, drawArrays, erase, type Case } from '../fusedCases.js';

const halves = (random: Random): number => Math.round(4 * random.normal()) / 4;

/**
 * Neurons compare with a threshold, and the loops compute in double: inputs whose states stay exact in
 * float32 keep a rounding from making a spike of none.
 */
const exactLif: Attributes = {
  tau: 2,
  threshold: 0.625,
  adaptationStrength: 0.5,
  adaptationDecay: 0.5,
};

const sparse = (random: Random): number => (random.uniform() < 0.2 ? 1 : 0);

const nativeCases: Case[] = [
  ...cases
    .filter(({ attributes }) => attributes.relaxed !== true)
    // Has no native kernel: its loop moves whole rows.
    .filter(({ definition }) => definition.name !== 'GatherRows')
    .map((test): Case => {
      if (!/lif/i.test(test.title)) return test;
      const draw = (random: Random, input: number): number =>
        test.title.startsWith('parametric') && input === 2 ? 2 : halves(random);
      return { ...test, attributes: { ...test.attributes, ...exactLif }, draw };
    }),
  {
    title: 'adamw',
    definition: erase(adamwDefinition),
    attributes: {
      beta1: 0.9,
      beta2: 0.99,
      epsilon: 1e-8,
      gradientClip: 1,
      rates: Float32Array.of(1, 0.5),
      weightDecays: Float32Array.of(0.1, 0),
    },
    // Settings, loss, norms; then parameter, gradient and moments of two parameters.
    shapes: ({ a, b, c }) => [
      [3],
      [],
      [3],
      ...[1, 2, 3, 4].map(() => [a * b, c]),
      ...[1, 2, 3, 4].map(() => [b]),
    ],
    fixed: [0],
    draw: (random, input) => {
      if (input === 0) return 1 + random.integer(4);
      return Math.abs(random.normal()) * (input === 6 || input === 10 ? 1 : halves(random));
    },
  },
  {
    title: 'batchNormInference',
    definition: erase(batchNormInferenceDefinition),
    attributes: { epsilon: 1e-3 },
    shapes: ({ a, b, c }) => [[a * b, c], [c], [c], [c], [c]],
    draw: (random, input) => (input === 4 ? Math.exp(random.normal()) : random.normal()),
  },
  {
    title: 'patches',
    definition: erase(patchesDefinition),
    attributes: { size: 3 },
    shapes: ({ a, b, c, d }) => [[a, d, 3 * Math.min(b, 5), 3 * Math.min(c, 5)]],
  },
  {
    title: 'transposeMatrix',
    definition: erase(transposeMatrixDefinition),
    attributes: {},
    shapes: ({ b, c }) => [[b, c]],
  },
  {
    title: 'countSpikes',
    definition: erase(spikeCountDefinition),
    attributes: {},
    shapes: ({ a, b, c }) => [[a, b, c]],
    draw: (random) => (random.uniform() < 0.5 ? 0 : random.uniform() < 0.5 ? 1 : random.normal()),
  },
  ...[true, false].flatMap((binary): Case[] => [
    {
      title: `spikeMatMul ${binary ? 'binary' : 'graded'}`,
      definition: erase(spikeMatMulDefinition),
      attributes: { binary },
      fixed: binary ? [0] : [],
      shapes: ({ b, c, d }) => [
        [3 * b, c],
        [c, 11 * d],
      ],
      draw: (random, input) =>
        input === 0 ? sparse(random) * (binary ? 1 : random.normal()) : random.normal(),
    },
    ...(['same', 'valid'] as const).flatMap((padding) =>
      [1, 2].map((stride): Case => ({
        title: `spikeConv2d ${binary ? 'binary' : 'graded'} ${padding} stride ${stride}`,
        definition: erase(spikeConv2dDefinition),
        attributes: { binary, padding, stride },
        fixed: binary ? [0] : [],
        shapes: ({ a, b, c, d }) => [
          [a, 3 + (b % 6), 3 + (c % 5), 1 + (c % 40)],
          [3, 3, 1 + (c % 40), 11 * d],
        ],
        draw: (random, input) =>
          input === 0 ? sparse(random) * (binary ? 1 : random.normal()) : random.normal(),
      })),
    ),
  ]),
];

/** Nothing but zeros, and large values; a power of two keeps what is exact exact. */
const scales = fc.constantFrom(1, 1, 0, 1024);

/**
 * Beyond one vector, one tile and one chunk of steps in every direction, and in two at a time: where all
 * are long, fewer steps of fewer clips show the same.
 */
const extents = fc
  .record({
    a: fc.integer({ min: 1, max: 3 }),
    b: fc.oneof(fc.integer({ min: 1, max: 12 }), fc.constant(16)),
    c: fc.oneof(fc.integer({ min: 1, max: 150 }), fc.constantFrom(1, 16, 64, 128)),
    d: fc.integer({ min: 1, max: 17 }),
  })
  .map(({ a, b, c, d }) => {
    const most = Math.ceil(3000 / (c * d));
    return { a: Math.min(a, most), b: Math.min(b, Math.ceil(most / Math.min(a, most))), c, d };
  });

/** Half a unit in the last place of 1. */
const roundingOf1 = 2 ** -24;

/**
 * What rounding may leave in each output of a normalisation beyond a share of the largest value. Rounding goes by
 * what is subtracted, not by what is left: of groups of few or nearly equal values that is next to nothing, by
 * definition in the gradient of a pair under batch normalisation or of one value under the others. `n` terms of
 * a size t round to n·u·t at most; x - mean by u·|x|, which the division by the deviation enlarges.
 */
function normalisationRounding(
  name: string,
  pass: 'forward' | 'backward',
  inputs: readonly Float32Array[],
  [[rows, features]]: readonly (readonly number[])[],
  epsilon: number,
): number[] {
  const perFeature = name === 'BatchNormTraining';
  const [groups, length] = perFeature ? [features, rows] : [rows, features];
  const [x, scale] = inputs;
  let largestDeviation = 0;
  let largestInverse = 0;
  let largestNormal = 0;
  for (let g = 0; g < groups; g++) {
    const values = Array.from(
      { length },
      (_, i) => x[perFeature ? i * groups + g : g * length + i],
    );
    const mean = name === 'RmsNorm' ? 0 : values.reduce((sum, value) => sum + value, 0) / length;
    const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
    const inverse = 1 / Math.sqrt(squares / length + epsilon);
    largestDeviation = Math.max(largestDeviation, Math.sqrt(squares / length));
    largestInverse = Math.max(largestInverse, inverse);
    largestNormal = Math.max(largestNormal, largestOf(values) * inverse);
  }
  const factor = largestOf(scale);
  const dy = largestOf(inputs[inputs.length - 1]);
  const sizes =
    pass === 'forward'
      ? [factor * largestNormal, largestOf(x), largestOf(x) * largestDeviation]
      : [largestInverse * factor * dy * (1 + largestNormal), dy * largestNormal, dy];
  return sizes.map((size) => (length + 8) * roundingOf1 * size);
}

function largestOf(values: ArrayLike<number>): number {
  let largest = 0;
  for (let i = 0; i < values.length; i++) largest = Math.max(largest, Math.abs(values[i]));
  return largest;
}

/** As a share of the largest value, or of 1, after what rounding alone may do. */
function largestDifference(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  rounding: number,
): number {
  const scale = Math.max(1, largestOf(expected));
  let largest = 0;
  for (let i = 0; i < expected.length; i++) {
    const difference = Math.max(0, Math.abs(actual[i] - expected[i]) - rounding) / scale;
    largest = Math.max(largest, Number.isNaN(difference) ? Infinity : difference);
  }
  return largest;
}

describe.runIf(testedBackends.includes('native'))('native kernels of fused ops', () => {
  const instructionSets = ['portable', 'avx2', 'best'] as const;
  afterAll(() => loadAddon().limitInstructionSet('best'));

  describe.each(instructionSets)('with %s instructions', (instructionSet) => {
    it.each(nativeCases)('$title equals its loops', (test) => {
      const addon = loadAddon();
      addon.limitInstructionSet(instructionSet);
      const native = ops(addon.kernels);
      fc.assert(
        fc.property(extents, scales, fc.integer(), (extent, scale, seed) => {
          const { definition, attributes } = test;
          const shapes = test.shapes(extent);
          const inputs = drawArrays(test, extent, seed, scale).map((x) => Float32Array.from(x));
          const outputs = compare(definition, 'forward', inputs, shapes, attributes, native);
          if (definition.backward === undefined) return;
          const outputShapes = definition.forward.outputShapes(shapes, attributes);
          const kept = outputShapes.map((_, i) => definition.saveOutputs?.[i] ?? false);
          const random = createRandom(seed, 'dy');
          const dys = outputShapes.map((shape) =>
            Float32Array.from({ length: sizeOf(shape) }, () => random.normal()),
          );
          compare(
            definition,
            'backward',
            [...inputs, ...outputs.filter((_, i) => kept[i]), ...dys],
            [...shapes, ...outputShapes.filter((_, i) => kept[i]), ...outputShapes],
            attributes,
            native,
          );
        }),
        // One step of one clip, all zeros, all large and work for several threads, whatever else is drawn.
        {
          numRuns: 20,
          examples: [
            [{ a: 1, b: 1, c: 17, d: 3 }, 1, 1],
            [{ a: 1, b: 5, c: 33, d: 2 }, 0, 2],
            [{ a: 2, b: 7, c: 31, d: 5 }, 1024, 3],
            [{ a: 3, b: 9, c: 96, d: 8 }, 1, 4],
          ],
        },
      );
    });
  });
});

describe.runIf(testedBackends.includes('native'))(
  'states that the scan keeps for its gradient',
  () => {
    beforeAll(async () => {
      await selectBackend('native');
    });
    afterAll(() => {
      loadAddon().limitInstructionSet('best');
      expect(tf.memory().numTensors).toBe(0);
    });

    const scans = cases.filter(({ title }) => title.includes('electiveScan'));
    it.each(scans)('$title: gradients are the same with them and without', (test) => {
      const { reverse } = test.attributes as { reverse: boolean };
      const scan = (...[u, delta, A, B, C, D, deltaBias, initial, z]: tf.Tensor[]): tf.Tensor[] =>
        Object.values(selectiveScan({ u, delta, A, B, C, D, deltaBias, z }, initial, { reverse }));
      fc.assert(
        fc.property(
          extents,
          fc.constantFrom('portable' as const, 'avx2' as const, 'best' as const),
          fc.integer(),
          ({ b, ...rest }, instructionSet, seed) => {
            loadAddon().limitInstructionSet(instructionSet);
            tf.tidy(() => {
              // Beyond one chunk of steps, of which the last may be cut.
              const extent = { ...rest, b: 3 * b + 1 };
              const shapes = test.shapes(extent);
              const inputs = drawArrays(test, extent, seed).map((x, i) =>
                tf.tensor(Float32Array.from(x), shapes[i]),
              );
              const dys = scan(...inputs).map(({ shape }, i) =>
                tf.randomNormal(shape, 0, 1, 'float32', seed + i),
              );
              const names = [...inputs, ...dys].map((x, i) => [`input${100 + i}`, x] as const);
              const found = tf
                .engine()
                .runKernel(`${test.definition.name}Grad`, Object.fromEntries(names), { reverse });
              let outputs = 0;
              const loss = (...xs: tf.Tensor[]): tf.Tensor => {
                const results = scan(...xs);
                outputs = tf.engine().state.activeTape!.at(-1)!.outputs.length;
                return tf.addN(dys.map((dy, i) => tf.sum(tf.mul(results[i], dy))));
              };
              tf.grads(loss)(inputs).forEach((gradient, i) => {
                const expected = (found as tf.Tensor[])[i];
                expect(gradient.shape).toEqual(expected.shape);
                // A compiler may round one of the two passes over the states less often.
                const difference = largestDifference(gradient.dataSync(), expected.dataSync(), 0);
                expect(difference).toBeLessThan(1e-4);
              });
              expect(outputs).toBe(3);
            });
          },
        ),
        { numRuns: 10 },
      );
    });
  },
);

/** Runs both on the same arrays; returns the loops' outputs. */
function compare(
  definition: FusedOpDefinition<Attributes>,
  pass: 'forward' | 'backward',
  inputs: Float32Array[],
  shapes: readonly (readonly number[])[],
  attributes: Attributes,
  native: ReturnType<typeof ops>,
): Float32Array[] {
  const loop = definition[pass]!;
  const kernel = native[pass === 'forward' ? definition.name : `${definition.name}Grad`];
  const outputShapes = loop.outputShapes(shapes, attributes);
  const expected = outputShapes.map((shape) => new Float32Array(sizeOf(shape)));
  loop.run(inputs, expected, shapes, attributes);
  // Not a number wherever the kernel leaves a value unwritten.
  const actual = outputShapes.map((shape) => new Float32Array(sizeOf(shape)).fill(NaN));
  kernel.run(inputs, actual, shapes, attributes);
  const rounding = /^(BatchNormTraining|LayerNorm|RmsNorm)$/.test(definition.name)
    ? normalisationRounding(definition.name, pass, inputs, shapes, Number(attributes.epsilon))
    : [];
  actual.forEach((values, i) =>
    expect(largestDifference(values, expected[i], rounding[i] ?? 0)).toBeLessThan(1e-4),
  );
  return expected;
}

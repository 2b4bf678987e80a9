import '@tensorflow/tfjs-backend-cpu';

import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { selectBackend } from '../../engine/backend.js';
import {
  referenceGradients,
  sizeOf,
  type Attributes,
  type FusedOpDefinition,
} from '../../engine/fused.js';
import { adamwDefinition } from '../../engine/ops/adamw.js';
import { causalConv1dDefinition } from '../../engine/ops/causalConv1d.js';
import { depthwiseConv2dDefinition } from '../../engine/ops/depthwiseConv2d.js';
import {
  adaptiveLifDefinition,
  defaultLif,
  lifDefinition,
  parametricLifDefinition,
  type Surrogate,
} from '../../engine/ops/lif.js';
import { linear } from '../../engine/ops/linear.js';
import {
  decayingLinearAttentionDefinition,
  linearAttentionDefinition,
} from '../../engine/ops/linearAttention.js';
import { batchNormDefinition, rmsNormDefinition } from '../../engine/ops/normalise.js';
import { patchesDefinition } from '../../engine/ops/patches.js';
import {
  gatedSelectiveScanDefinition,
  selectiveScanDefinition,
} from '../../engine/ops/selectiveScan.js';
import { siluDefinition, siluGateDefinition } from '../../engine/ops/silu.js';
import { createRandom, type Random } from '../../engine/support/random.js';
import { testedBackends } from './backends.js';

/** One op with one choice of settings and a way to draw inputs for it. */
interface Case {
  readonly title: string;
  readonly definition: FusedOpDefinition<Attributes>;
  readonly attributes: Attributes;
  /** Shapes of the inputs for the given extents. */
  shapes(extent: Extents): number[][];
  /** How input i is drawn; standard normal by default. */
  readonly draw?: (random: Random, input: number) => number;
  /** Outputs that carry gradient; all by default. */
  readonly differentiable?: readonly boolean[];
  /** Whether finite differences make sense (no step functions). */
  readonly smooth?: boolean;
}

interface Extents {
  readonly a: number;
  readonly b: number;
  readonly c: number;
  readonly d: number;
}

const erase = <A extends Attributes>(
  definition: FusedOpDefinition<A>,
): FusedOpDefinition<Attributes> => definition as unknown as FusedOpDefinition<Attributes>;

const lifShapes = ({ a, b, c }: Extents): number[][] => [
  [a, b, c],
  [a, c],
];

/** Learned time constants and adapting thresholds take a third input. */
const lifVariants = [
  {
    variant: 'parametricLif',
    definition: parametricLifDefinition,
    // One time constant for every neuron, or one for each.
    extra: ({ c, d }: Extents): number[] => (d % 2 === 0 ? [1] : [c]),
    settings: {} as Attributes,
    draw: (random: Random, input: number) =>
      input === 2 ? 1.2 + Math.abs(random.normal()) : random.normal(),
  },
  {
    variant: 'adaptiveLif',
    definition: adaptiveLifDefinition,
    extra: ({ a, c }: Extents): number[] => [a, c],
    settings: { adaptationStrength: 0.7, adaptationDecay: 0.8 } as Attributes,
    draw: undefined,
  },
];

const cases: Case[] = [
  ...(['atan', 'sigmoid', 'triangle', 'rectangle'] as Surrogate[]).flatMap((surrogate) =>
    (['hard', 'soft'] as const).flatMap((reset) =>
      [true, false].map((detachReset): Case => ({
        title: `lif ${surrogate} ${reset}${detachReset ? ' detached' : ''}`,
        definition: erase(lifDefinition),
        attributes: {
          ...defaultLif,
          surrogate,
          reset,
          detachReset,
          decayInput: detachReset,
          tau: 1.7,
          threshold: 0.6,
          surrogateWidth: 1.3,
        },
        shapes: lifShapes,
      })),
    ),
  ),
  ...(['hard', 'soft'] as const).flatMap((reset) =>
    (['atan', 'sigmoid', 'triangle'] as const).map((surrogate): Case => ({
      title: `lif ${surrogate} ${reset} relaxed`,
      definition: {
        ...erase(lifDefinition),
        // The reference has no relaxed form: gradients are held against finite differences alone.
        reference: () => {
          throw new Error('no relaxed reference');
        },
      },
      attributes: { ...defaultLif, surrogate, reset, detachReset: false, relaxed: true },
      shapes: lifShapes,
      smooth: true,
    })),
  ),
  ...lifVariants.flatMap(({ variant, definition, extra, settings, draw }) =>
    (['hard', 'soft'] as const).flatMap((reset) =>
      [false, true].flatMap((relaxed) =>
        [true, false].map((decayInput): Case => ({
          title: `${variant} ${reset}${decayInput ? ' decaying input' : ''}${relaxed ? ' relaxed' : ''}`,
          definition: erase(definition),
          attributes: {
            ...defaultLif,
            ...settings,
            reset,
            decayInput,
            detachReset: !relaxed && decayInput,
            threshold: 0.6,
            relaxed,
          },
          shapes: (extent) => [...lifShapes(extent), extra(extent)],
          draw,
          ...(relaxed && { smooth: true }),
        })),
      ),
    ),
  ),
  ...[false, true].flatMap((reverse) =>
    [false, true].map((gated): Case => ({
      title: `${gated ? 'gated ' : ''}selectiveScan${reverse ? ' reverse' : ''}`,
      definition: erase(gated ? gatedSelectiveScanDefinition : selectiveScanDefinition),
      attributes: { reverse },
      shapes: ({ a, b, c, d }) => [
        [a, b, c],
        [a, b, c],
        [c, d],
        [a, b, d],
        [a, b, d],
        [c],
        [c],
        [a, c, d],
        ...(gated ? [[a, b, c]] : []),
      ],
      draw: (random, input) => (input === 2 ? -Math.exp(random.normal()) : random.normal()),
      smooth: true,
    })),
  ),
  ...[false, true].map((reverse): Case => ({
    title: `causalConv1d${reverse ? ' reverse' : ''}`,
    definition: erase(causalConv1dDefinition),
    attributes: { reverse },
    shapes: ({ a, b, c, d }) => [[a, b, c], [d + 1, c], [c], [a, d, c]],
    smooth: true,
  })),
  ...[
    { causal: false, normalise: true },
    { causal: true, normalise: true },
    { causal: true, normalise: false },
  ].map(({ causal, normalise }): Case => ({
    title: `linearAttention ${causal ? 'causal' : 'bidirectional'}${normalise ? '' : ', fixed scale'}`,
    definition: erase(linearAttentionDefinition),
    attributes: { heads: 2, causal, normalise, epsilon: 0.5 },
    shapes: ({ a, b, c, d }) => [
      [a, b, c, 2 * d],
      [a, b, c, 2 * d],
      [a, b, c, 2 * d],
      [a, 2, d, d],
      [a, 2, d],
    ],
    // Queries, keys and their sum are not negative; some are exactly zero, as spikes are.
    draw: (random, input) =>
      [0, 1, 4].includes(input) ? Math.max(0, random.normal()) : random.normal(),
    smooth: false,
  })),
  ...[true, false].flatMap((normalise) =>
    ['head', 'channel'].map((per): Case => ({
      title: `linearAttention decaying per ${per}${normalise ? '' : ', fixed scale'}`,
      definition: erase(decayingLinearAttentionDefinition),
      attributes: { heads: 2, causal: true, normalise, epsilon: 0.5 },
      shapes: ({ a, b, c, d }) => [
        [a, b, c, 2 * d],
        [a, b, c, 2 * d],
        [a, b, c, 2 * d],
        [a, 2, d, d],
        [a, 2, d],
        [a, b, per === 'head' ? 2 : 2 * d],
      ],
      draw: (random, input) => {
        if (input === 5) return random.uniform();
        return [0, 1, 4].includes(input) ? Math.max(0, random.normal()) : random.normal();
      },
      smooth: false,
    })),
  ),
  {
    title: 'batchNorm',
    definition: erase(batchNormDefinition),
    attributes: { epsilon: 1e-3 },
    shapes: ({ a, b, c }) => [[a * b + 1, c], [c], [c]],
    differentiable: [true, false, false],
    smooth: true,
  },
  {
    title: 'rmsNorm',
    definition: erase(rmsNormDefinition),
    attributes: { epsilon: 1e-3 },
    shapes: ({ a, b, c }) => [[a * b, c], [c]],
    smooth: true,
  },
  {
    title: 'silu',
    definition: erase(siluDefinition),
    attributes: {},
    shapes: ({ a, b }) => [[a, b]],
    smooth: true,
  },
  {
    title: 'siluGate',
    definition: erase(siluGateDefinition),
    attributes: {},
    shapes: ({ a, b }) => [
      [a, b],
      [a, b],
    ],
    smooth: true,
  },
  {
    title: 'patches',
    definition: erase(patchesDefinition),
    attributes: { size: 2 },
    shapes: ({ a, b, c, d }) => [[a, b, 2 * c, 2 * d]],
    smooth: true,
  },
  {
    title: 'depthwiseConv2d',
    definition: erase(depthwiseConv2dDefinition),
    attributes: {},
    shapes: ({ a, b, c, d }) => [[a, b, c, d], [3, 3, d], [d]],
    smooth: true,
  },
];

const extents = fc.record({
  a: fc.integer({ min: 1, max: 3 }),
  b: fc.integer({ min: 1, max: 5 }),
  c: fc.integer({ min: 1, max: 5 }),
  d: fc.integer({ min: 1, max: 4 }),
});

function drawArrays(test: Case, extent: Extents, seed: number): Float64Array[] {
  const random = createRandom(seed, test.title);
  return test.shapes(extent).map((shape, i) => {
    const values = new Float64Array(sizeOf(shape));
    for (let j = 0; j < values.length; j++) {
      // Rounded to float32, so that both precisions start from the same numbers.
      values[j] = Math.fround((test.draw ?? ((r) => r.normal()))(random, i));
    }
    return values;
  });
}

function toTensors(arrays: Float64Array[], shapes: readonly number[][]): tf.Tensor[] {
  return arrays.map((values, i) => tf.tensor(Float32Array.from(values), shapes[i]));
}

function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  expect(a.length).toBe(b.length);
  let largest = 0;
  for (let i = 0; i < a.length; i++) {
    const difference = Math.abs(a[i] - b[i]) / (1 + Math.abs(b[i]));
    largest = Math.max(largest, Number.isNaN(difference) ? Infinity : difference);
  }
  return largest;
}

function runKernel(
  definition: FusedOpDefinition<Attributes>,
  inputs: tf.Tensor[],
  attributes: Attributes,
): tf.Tensor[] {
  const named = Object.fromEntries(inputs.map((x, i) => [`input${String(i).padStart(2, '0')}`, x]));
  const outputs = tf
    .engine()
    .runKernel(definition.name, named, attributes as unknown as tf.NamedAttrMap);
  return Array.isArray(outputs) ? outputs : [outputs as tf.Tensor];
}

describe.each(testedBackends)('fused ops on %s', (backend) => {
  beforeAll(async () => {
    await selectBackend(backend);
  });
  afterAll(() => {
    expect(tf.memory().numTensors).toBe(0);
  });

  it.each(cases.filter(({ attributes }) => attributes.relaxed !== true))(
    '$title equals its reference, outputs and gradients',
    (test) => {
      fc.assert(
        fc.property(extents, fc.integer(), (extent, seed) => {
          tf.tidy(() => {
            const shapes = test.shapes(extent);
            const inputs = toTensors(drawArrays(test, extent, seed), shapes);
            const expected = test.definition.reference(inputs, test.attributes);
            const actual = runKernel(test.definition, inputs, test.attributes);
            const outputShapes = expected.map(({ shape }) => shape);
            expect(actual.map(({ shape }) => shape)).toEqual(outputShapes);
            expected.forEach((output, i) => {
              expect(largestDifference(actual[i].dataSync(), output.dataSync())).toBeLessThan(2e-4);
            });

            const random = createRandom(seed, 'dy');
            const dys = outputShapes.map((shape, i) =>
              (test.differentiable?.[i] ?? true)
                ? tf.tensor(
                    Float32Array.from({ length: sizeOf(shape) }, () => random.normal()),
                    shape,
                  )
                : tf.zeros(shape),
            );
            const wanted = referenceGradients(test.definition, inputs, dys, test.attributes);
            const saved = actual.filter((_, i) => test.definition.saveOutputs?.[i] ?? false);
            const gradients = runKernel(
              { ...test.definition, name: `${test.definition.name}Grad` },
              [...inputs, ...saved, ...dys],
              test.attributes,
            );
            wanted.forEach((gradient, i) => {
              expect(gradients[i].shape).toEqual(gradient.shape);
              expect(largestDifference(gradients[i].dataSync(), gradient.dataSync())).toBeLessThan(
                2e-3,
              );
            });
          });
        }),
        { numRuns: 12 },
      );
    },
  );
});

describe('gradients against central finite differences in float64', () => {
  it.each(cases.filter(({ smooth }) => smooth === true || smooth === false))('$title', (test) => {
    const { definition, attributes } = test;
    fc.assert(
      fc.property(extents, fc.integer(), (extent, seed) => {
        const shapes = test.shapes(extent);
        const inputs = drawArrays(test, extent, seed);
        // Away from the kink at zero: queries, keys and normalisers strictly positive here.
        if (test.smooth === false) {
          inputs.forEach((x, i) => {
            if ([0, 1, 4].includes(i)) x.forEach((value, j) => (x[j] = value + 0.1));
          });
        }
        const outputShapes = definition.forward.outputShapes(shapes, attributes);
        const random = createRandom(seed, 'dy');
        const dys = outputShapes.map((shape, i) =>
          Float64Array.from({ length: sizeOf(shape) }, () =>
            (test.differentiable?.[i] ?? true) ? random.normal() : 0,
          ),
        );
        const evaluate = (): Float64Array[] => {
          const outputs = outputShapes.map((shape) => new Float64Array(sizeOf(shape)));
          definition.forward.run(inputs, outputs, shapes, attributes);
          return outputs;
        };
        const loss = (): number =>
          evaluate().reduce(
            (sum, output, i) => sum + output.reduce((s, value, j) => s + value * dys[i][j], 0),
            0,
          );
        const outputs = evaluate();
        const saved = outputs.filter((_, i) => definition.saveOutputs?.[i] ?? false);
        const backward = definition.backward!;
        const savedShapes = outputShapes.filter((_, i) => definition.saveOutputs?.[i] ?? false);
        const allShapes = [...shapes, ...savedShapes, ...outputShapes];
        const gradients = backward
          .outputShapes(allShapes, attributes)
          .map((shape) => new Float64Array(sizeOf(shape)));
        backward.run([...inputs, ...saved, ...dys], gradients, allShapes, attributes);
        inputs.forEach((values, i) => {
          for (let j = 0; j < values.length; j++) {
            const step = 1e-5;
            const kept = values[j];
            values[j] = kept + step;
            const above = loss();
            values[j] = kept - step;
            const below = loss();
            values[j] = kept;
            const numeric = (above - below) / (2 * step);
            expect(Math.abs(gradients[i][j] - numeric) / (1 + Math.abs(numeric))).toBeLessThan(
              1e-5,
            );
          }
        });
      }),
      { numRuns: 12 },
    );
  });
});

describe('adamw', () => {
  beforeAll(async () => {
    await selectBackend('wasm');
  });

  it('equals its reference', () => {
    tf.tidy(() => {
      const attributes = {
        learningRate: 0.01,
        beta1: 0.9,
        beta2: 0.99,
        epsilon: 1e-8,
        weightDecay: 0.1,
        step: 3,
        gradientScale: 0.5,
      };
      const [p, g, m] = [1, 2, 3].map((seed) => tf.randomNormal([7, 5], 0, 1, 'float32', seed));
      const inputs = [p, g, m, tf.square(m)];
      const expected = adamwDefinition.reference(inputs, attributes);
      const actual = runKernel(erase(adamwDefinition), inputs, attributes);
      expected.forEach((output, i) => {
        expect(largestDifference(actual[i].dataSync(), output.dataSync())).toBeLessThan(1e-5);
      });
    });
  });
});

describe('linear', () => {
  beforeAll(async () => {
    await selectBackend('wasm');
  });

  it('has the gradients that differences give', () => {
    fc.assert(
      fc.property(fc.integer(), (seed) => {
        tf.tidy(() => {
          const random = createRandom(seed, 'linear');
          // Small whole numbers, and a loss that is linear in each value: differences are exact.
          const draw = (shape: number[]): tf.Tensor =>
            tf.tensor(
              Float32Array.from({ length: sizeOf(shape) }, () => random.integer(9) - 4),
              shape,
            );
          const inputs = [[2, 3, 4], [4, 5], [5]].map(draw);
          const dy = draw([2, 3, 5]);
          const loss = (x: tf.Tensor, weight: tf.Tensor, bias: tf.Tensor): tf.Scalar =>
            tf.sum(tf.mul(linear(x, weight, bias), dy));
          const gradients = tf.grads(loss as (...xs: tf.Tensor[]) => tf.Tensor)(inputs);
          inputs.forEach((input, i) => {
            const gradient = gradients[i].dataSync();
            const values = input.dataSync();
            for (let j = 0; j < input.size; j++) {
              const [above, below] = [1, -1].map((step) => {
                const moved = Float32Array.from(values);
                moved[j] += step;
                const [x, weight, bias] = inputs.map((other, k) =>
                  k === i ? tf.tensor(moved, other.shape) : other,
                );
                return loss(x, weight, bias).dataSync()[0];
              });
              expect(gradient[j]).toBe((above - below) / 2);
            }
          });
        });
      }),
      { numRuns: 5 },
    );
  });

  it('has the gradients of a plain product where matrices are larger than a tile', () => {
    tf.tidy(() => {
      const [x, weight, dy] = [
        [70, 45],
        [45, 33],
        [70, 33],
      ].map((shape, seed) => tf.randomNormal(shape, 0, 1, 'float32', seed + 1));
      const loss = (a: tf.Tensor, b: tf.Tensor): tf.Scalar => tf.sum(tf.mul(linear(a, b), dy));
      const [dx, dWeight] = tf.grads(loss as (...xs: tf.Tensor[]) => tf.Tensor)([x, weight]);
      const expected = [tf.matMul(dy, weight, false, true), tf.matMul(x, dy, true, false)];
      expect(largestDifference(dx.dataSync(), expected[0].dataSync())).toBeLessThan(1e-5);
      expect(largestDifference(dWeight.dataSync(), expected[1].dataSync())).toBeLessThan(1e-5);
    });
  });
});

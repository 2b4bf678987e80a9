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
import { euclideanNorms } from '../../engine/ops/norm.js';
import { linear } from '../../engine/ops/linear.js';
import { batchNormInference, batchNormInferenceDefinition } from '../../engine/ops/normalise.js';
import { runningAveragesDefinition } from '../../engine/ops/runningAverage.js';
import {
  spikeConv2d,
  spikeConv2dDefinition,
  spikeMatMul,
  spikeMatMulDefinition,
  type SpikeConvConfig,
} from '../../engine/ops/spikes.js';
import { createRandom, type Random } from '../../engine/support/random.js';
import { testedBackends } from './backends.js';
import { cases, drawArrays, erase, type Case } from './fusedCases.js';

const extents = fc.record({
  a: fc.integer({ min: 1, max: 3 }),
  b: fc.integer({ min: 1, max: 5 }),
  c: fc.integer({ min: 1, max: 5 }),
  d: fc.integer({ min: 1, max: 4 }),
});

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

/** Runs an op's kernel; on a backend where an op is its reference, its loop, which the reference must equal. */
function runKernel(
  definition: FusedOpDefinition<Attributes>,
  inputs: tf.Tensor[],
  attributes: Attributes,
): tf.Tensor[] {
  if (tf.getKernel(definition.name, tf.getBackend()) === undefined) {
    const loop = definition.name.endsWith('Grad') ? definition.backward! : definition.forward;
    const shapes = inputs.map(({ shape }) => shape);
    const outputShapes = loop.outputShapes(shapes, attributes);
    const outputs = outputShapes.map((shape) => new Float32Array(sizeOf(shape)));
    loop.run(
      inputs.map((input) => input.dataSync() as Float32Array),
      outputs,
      shapes,
      attributes,
    );
    return outputs.map((output, i) => tf.tensor(output, [...outputShapes[i]]));
  }
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
        fc.property(extents, fc.constantFrom(1, 1, 0), fc.integer(), (extent, scale, seed) => {
          tf.tidy(() => {
            const shapes = test.shapes(extent);
            const inputs = toTensors(drawArrays(test, extent, seed, scale), shapes);
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

const adamwAttributes = {
  beta1: 0.9,
  beta2: 0.99,
  epsilon: 1e-8,
  gradientClip: 1,
  rates: Float32Array.of(1, 0.5),
  weightDecays: Float32Array.of(0.1, 0),
};

const normal = (shape: number[], seed: number, deviation = 1): tf.Tensor =>
  tf.randomNormal(shape, 0, deviation, 'float32', seed);

/** Two parameters in the middle of training; the size of the gradients decides whether they are clipped. */
function adamwInputs(loss: number, scale: number): tf.Tensor[] {
  const tensors = [[7, 5], [3]].map((shape, p) => ({
    parameter: normal(shape, 4 * p + 1),
    gradient: tf.mul(normal(shape, 4 * p + 2), scale),
    m: normal(shape, 4 * p + 3),
    v: tf.square(normal(shape, 4 * p + 4)),
  }));
  return [
    tf.tensor1d([0.01, 3, 0.1]),
    tf.scalar(loss),
    euclideanNorms(tensors.map(({ gradient }) => gradient)),
    ...tensors.flatMap(({ parameter, gradient, m, v }) => [parameter, gradient, m, v]),
  ];
}

function averageInputs(loss: number, scale: number): tf.Tensor[] {
  const pairs = [1, 2, 3, 4].map((seed) => normal([6], seed));
  const norms = euclideanNorms([tf.mul(normal([3], 5), scale)]);
  return [tf.tensor1d([0.01, 3, 0.1]), tf.scalar(loss), norms, ...pairs];
}

describe.each(testedBackends)('euclideanNorms on %s', (backend) => {
  beforeAll(async () => {
    await selectBackend(backend);
  });

  it('adds up in double, and does not overflow where squares do', () => {
    tf.tidy(() => {
      const norms = (...tensors: tf.Tensor[]): number[] => [...euclideanNorms(tensors).dataSync()];
      const square = tf.tensor([
        [3, 0],
        [0, 4],
      ]);
      expect(norms(square, tf.tensor1d([12]), tf.zeros([0]))).toEqual([13, 5, 12, 0]);
      expect(norms(tf.fill([10_000], 3e-3))[1]).toBeCloseTo(0.3, 6);
      if (backend !== 'tensorflow') {
        expect(norms(tf.tensor([3e25, 4e25]))[0] / 5e25).toBeCloseTo(1, 6);
      }
      expect(norms(tf.tensor([1, NaN]), square)).toEqual([NaN, NaN, 5]);
      expect(norms(square, tf.tensor([1, Infinity]))).toEqual([Infinity, 5, Infinity]);
    });
  });
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

/** An op whose gradient is not a loop of its own, and how models call it. */
interface LooplessCase extends Case {
  call(inputs: readonly tf.Tensor[]): tf.Tensor;
  /** Terms of the longest sum of a gradient. */
  terms(shapes: readonly number[][]): number;
  /** Inputs that are subtracted: their magnitudes add up where their sign is turned. */
  readonly subtracted?: readonly number[];
  /** What its gradient needs of a backend. */
  readonly needs?: string;
}

const spike =
  (graded: boolean) =>
  (random: Random, input: number): number => {
    if (input > 0) return random.normal();
    return random.uniform() < 0.85 ? 0 : graded ? random.normal() : 1;
  };

const looplessCases: LooplessCase[] = [
  ...[false, true].flatMap((graded): LooplessCase[] => [
    {
      title: `spikeMatMul${graded ? ' graded' : ''}`,
      definition: erase(spikeMatMulDefinition),
      attributes: { binary: !graded },
      shapes: ({ a, b, c, d }) => [
        [a * b, 4 * c],
        [4 * c, d],
      ],
      draw: spike(graded),
      call: ([x, weight]) => spikeMatMul(x, weight),
      terms: ([[rows, inputs], [, outputs]]) => Math.max(rows, inputs, outputs),
    },
    ...(['same', 'valid'] as const).flatMap((padding) =>
      [1, 2].map((stride): LooplessCase => {
        const config: SpikeConvConfig = { stride, padding };
        return {
          title: `spikeConv2d ${padding} stride ${stride}${graded ? ' graded' : ''}`,
          definition: erase(spikeConv2dDefinition),
          attributes: { ...config, binary: !graded },
          shapes: ({ a, b, c, d }) => [
            [a, 2 + b, 2 + c, d],
            [3, 3, d, b],
          ],
          draw: spike(graded),
          call: ([x, weight]) => spikeConv2d(x, weight, config),
          terms: ([[batch, height, width, inputs], [size, , , outputs]]) =>
            Math.max(batch * height * width, size * size * Math.max(inputs, outputs)),
          needs: 'Conv2DBackpropFilter',
        };
      }),
    ),
  ]),
  {
    title: 'batchNormInference',
    definition: erase(batchNormInferenceDefinition),
    attributes: { epsilon: 1e-3 },
    shapes: ({ a, b, c }) => [[a * b, c], [c], [c], [c], [c]],
    draw: (random, input) => (input === 4 ? 0.5 + Math.abs(random.normal()) : random.normal()),
    call: ([x, scale, shift, mean, variance]) =>
      batchNormInference(x, { scale, shift, mean, variance }, { epsilon: 1e-3 }),
    terms: ([[rows]]) => rows,
    subtracted: [3],
  },
];

/** d Σ dy · op(inputs) / d each input, by central differences of the op's loop in float64. */
function differenceGradients(
  { definition, attributes }: Case,
  inputs: Float64Array[],
  shapes: readonly number[][],
  dy: Float64Array,
): Float64Array[] {
  const step = 1e-5;
  const loss = (): number => {
    const output = new Float64Array(dy.length);
    definition.forward.run(inputs, [output], shapes, attributes);
    return output.reduce((sum, value, j) => sum + value * dy[j], 0);
  };
  return inputs.map((values) =>
    values.map((kept, j) => {
      values[j] = kept + step;
      const above = loss();
      values[j] = kept - step;
      const below = loss();
      values[j] = kept;
      return (above - below) / (2 * step);
    }),
  );
}

describe.each(testedBackends)('gradients without a loop of their own on %s', (backend) => {
  beforeAll(async () => {
    await selectBackend(backend);
  });
  afterAll(() => {
    expect(tf.memory().numTensors).toBe(0);
  });

  it.each(looplessCases)('$title: its reference, and finite differences in float64', (test) => {
    if (test.needs !== undefined && tf.getKernel(test.needs, backend) === undefined) return;
    fc.assert(
      fc.property(extents, fc.integer(), (extent, seed) => {
        tf.tidy(() => {
          const shapes = test.shapes(extent);
          const inputs = drawArrays(test, extent, seed);
          const [outputShape] = test.definition.forward.outputShapes(shapes, test.attributes);
          const random = createRandom(seed, 'dy');
          const dy = Float64Array.from({ length: sizeOf(outputShape) }, () =>
            Math.fround(random.normal()),
          );
          const tensors = toTensors(inputs, shapes);
          const dyTensor = tf.tensor(Float32Array.from(dy), [...outputShape]);
          const call = (...xs: tf.Tensor[]): tf.Tensor => test.call(xs);
          const gradients = tf.grads(call)(tensors, dyTensor);
          const wanted = referenceGradients(test.definition, tensors, [dyTensor], test.attributes);
          const numeric = differenceGradients(test, inputs, shapes, dy);
          // What rounding can do to a sum is a share of the sum of its terms' magnitudes.
          const magnitudes = differenceGradients(
            test,
            inputs.map((values, i) =>
              values.map((x) => (test.subtracted?.includes(i) ? -1 : 1) * Math.abs(x)),
            ),
            shapes,
            dy.map((x) => Math.abs(x)),
          );
          const share = (test.terms(shapes) + 12) * 2 ** -23;
          gradients.forEach((gradient, i) => {
            expect(gradient.shape).toEqual(shapes[i]);
            const values = gradient.dataSync();
            const reference = wanted[i].dataSync();
            numeric[i].forEach((difference, j) => {
              const bound = share * Math.abs(magnitudes[i][j]) + 1e-8;
              expect(Math.abs(values[j] - difference)).toBeLessThanOrEqual(bound);
              expect(Math.abs(values[j] - reference[j])).toBeLessThanOrEqual(bound);
            });
          });
        });
      }),
      { numRuns: 12 },
    );
  });
});

describe.each(testedBackends)('updates on %s', (backend) => {
  beforeAll(async () => {
    await selectBackend(backend);
  });
  afterAll(() => {
    expect(tf.memory().numTensors).toBe(0);
  });

  const updates = [
    { definition: erase(adamwDefinition), attributes: adamwAttributes, inputs: adamwInputs },
    { definition: erase(runningAveragesDefinition), attributes: {}, inputs: averageInputs },
  ];

  it.each(updates)('$definition.name equals its reference', ({ definition, ...update }) => {
    tf.tidy(() => {
      const { attributes } = update;
      for (const [loss, scale] of [
        [0.5, 1],
        [0.5, 0.01],
        [NaN, 1],
      ]) {
        const inputs = update.inputs(loss, scale);
        const expected = definition.reference(inputs, attributes);
        const actual = runKernel(definition, inputs, attributes);
        expected.forEach((output, i) => {
          expect(largestDifference(actual[i].dataSync(), output.dataSync())).toBeLessThan(1e-5);
        });
      }
    });
  });

  it.each(updates)('$definition.name changes nothing where a gradient is not finite', (update) => {
    tf.tidy(() => {
      for (const [loss, scale] of [
        [NaN, 1],
        [Infinity, 1],
        [0.5, NaN],
        [0.5, Infinity],
      ]) {
        const inputs = update.inputs(loss, scale);
        const before = inputs.map((x) => x.dataSync().slice());
        const perTensor = (inputs.length - 3) / 2 === 2 ? 2 : 4;
        const kept = before.slice(3).filter((_, i) => i % perTensor !== 1);
        const after = runKernel(update.definition, inputs, update.attributes);
        expect(after.map((x) => [...x.dataSync()])).toEqual(kept.map((x) => [...x]));
      }
    });
  });
});

describe('batchNormInference', () => {
  beforeAll(async () => {
    await selectBackend('wasm');
  });

  it('equals its reference, and is differentiable', () => {
    tf.tidy(() => {
      const rows = tf.randomNormal([7, 5]);
      const [scale, shift, mean] = [1, 2, 3].map((seed) =>
        tf.randomNormal([5], 0, 1, 'float32', seed),
      );
      const variance = tf.square(tf.randomNormal([5]));
      const inputs = [rows, scale, shift, mean, variance];
      const [expected] = batchNormInferenceDefinition.reference(inputs, { epsilon: 1e-5 });
      const normal = (x: tf.Tensor): tf.Tensor =>
        batchNormInference(x, { scale, shift, mean, variance });
      expect(largestDifference(normal(rows).dataSync(), expected.dataSync())).toBeLessThan(1e-4);
      const factor = tf.div(scale, tf.sqrt(tf.add(variance, 1e-5)));
      const slope = tf.grad(normal)(rows);
      expect(largestDifference(slope.dataSync(), tf.tile(factor, [7]).dataSync())).toBeLessThan(
        1e-4,
      );
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

/** TensorFlow.js's ops with a kernel on the GPU, loops over events and the scan, against the host's in float32. */
import * as tf from '@tensorflow/tfjs-core';

import { selectBackend } from '../../engine/backend.js';
import { binEvents } from '../../engine/ops/binEvents.js';
import { eventRepresentations } from '../../engine/ops/eventLoops.js';
import { selectiveScan } from '../../engine/ops/selectiveScan.js';
import { createRandom } from '../../engine/support/random.js';

type Run = (...inputs: tf.Tensor[]) => tf.Tensor;

interface PlainCase {
  readonly title: string;
  readonly shapes: readonly (readonly number[])[];
  readonly run: Run;
  /** Whether gradients are compared too. */
  readonly differentiable?: boolean;
}

const convolution = (
  shape: number[],
  filter: number[],
  strides: number,
  pad: 'same' | 'valid',
  dilations = 1,
): PlainCase => ({
  title: `conv2d ${shape.join(' × ')}, ${filter.join(' × ')}, stride ${strides}, ${pad}, dilation ${dilations}`,
  shapes: [shape, filter],
  run: (x, w) => tf.conv2d(x as tf.Tensor4D, w as tf.Tensor4D, strides, pad, 'NHWC', dilations),
  differentiable: dilations === 1,
});

const pooling = (kind: 'max' | 'avg', size: number, strides: number): PlainCase => ({
  title: `${kind} pooling ${size}, stride ${strides}`,
  shapes: [[3, 9, 8, 5]],
  run: (x) =>
    kind === 'max'
      ? tf.maxPool(x as tf.Tensor4D, size, strides, 'same')
      : tf.avgPool(x as tf.Tensor4D, size, strides, 'same'),
  differentiable: true,
});

const reduction = (shape: number[], axis: number | number[]): PlainCase => ({
  title: `sum of ${shape.join(' × ')} over ${axis}`,
  shapes: [shape],
  run: (x) => tf.sum(x, axis),
});

const cases: readonly PlainCase[] = [
  convolution([3, 9, 8, 4], [3, 3, 4, 6], 1, 'same'),
  convolution([2, 9, 7, 3], [3, 2, 3, 5], 2, 'valid'),
  convolution([2, 8, 8, 6], [1, 1, 6, 5], 1, 'same'),
  convolution([2, 8, 8, 6], [2, 2, 6, 5], 2, 'same'),
  convolution([2, 10, 9, 2], [3, 3, 2, 3], 1, 'same', 2),
  {
    title: 'depthwise convolution',
    shapes: [
      [3, 9, 8, 5],
      [3, 3, 5, 1],
    ],
    run: (x, w) => tf.depthwiseConv2d(x as tf.Tensor4D, w as tf.Tensor4D, 2, 'same'),
    differentiable: true,
  },
  {
    // Through the op: its states are kept for the way back only while gradients are recorded.
    title: 'selectiveScan',
    shapes: [[2, 29, 70], [2, 29, 70], [70, 16], [2, 29, 16], [2, 29, 16], [70], [70]],
    run(u, delta, logA, B, C, D, deltaBias) {
      const A = tf.neg(tf.exp(logA));
      return selectiveScan({ u, delta, A, B, C, D, deltaBias }, tf.zeros([2, 70, 16])).y;
    },
    differentiable: true,
  },
  pooling('max', 2, 2),
  pooling('max', 3, 1),
  pooling('avg', 3, 2),
  reduction([100_003], 0),
  reduction([1 << 17], 0),
  reduction([5, 4096], 1),
  reduction([700, 7], 1),
  reduction([3000, 3], 0),
  reduction([3, 1500, 40], 1),
  reduction([2, 3, 5, 7], [0, 2]),
  { title: 'cumsum of rows', shapes: [[7, 700]], run: (x) => tf.cumsum(x, 1) },
  { title: 'cumsum, inner', shapes: [[7, 60, 3]], run: (x) => tf.cumsum(x, 1) },
  { title: 'cumsum, exclusive', shapes: [[7, 300]], run: (x) => tf.cumsum(x, 1, true) },
  { title: 'cumsum, reverse', shapes: [[7, 300]], run: (x) => tf.cumsum(x, 1, false, true) },
  ...eventRepresentations.map((representation): PlainCase => ({
    title: `binEvents ${representation}`,
    shapes: [],
    run() {
      const random = createRandom(3);
      const whole = (limit: number) => Array.from({ length: 5000 }, () => random.integer(limit));
      const [x, y, polarity] = [40, 30, 2].map(whole);
      const tUs = Float64Array.from(whole(100_000));
      const columns = { x: Uint16Array.from(x), y: Uint16Array.from(y), tUs };
      const half = (count: number) => Int32Array.from({ length: count }, (_, i) => i >> 1);
      const size = { height: 15, width: 20, rows: half(30), columns: half(40) };
      const grid = { bins: 7, fromUs: 1000, toUs: 99_000, ...size };
      return binEvents({ ...columns, polarity: Uint8Array.from(polarity) }, grid, representation);
    },
  })),
];

/** The relative norms of the differences, per op; what an op throws stands in their place. */
export async function plainOps(
  backend: string,
): Promise<{ title: string; outputs: number; gradients?: number; error?: string }[]> {
  const inputs = cases.map(({ shapes }, i) => {
    const random = createRandom(i, 'plain');
    return shapes.map((shape) =>
      Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => random.normal()),
    );
  });
  const outcomes = async (name: string) => {
    await selectBackend(name);
    return cases.map((test, i) => outcomeOf(test, inputs[i]));
  };
  const expected = await outcomes('cpu');
  const actual = await outcomes(backend);
  return cases.map(({ title }, i) => {
    const { error, values } = actual[i];
    if (error !== undefined) return { title, outputs: Infinity, error };
    const [outputs, ...gradients] = values.map((found, k) =>
      difference(found, expected[i].values[k]),
    );
    return { title, outputs, ...(gradients.length > 0 && { gradients: Math.max(...gradients) }) };
  });
}

/** The output, then the gradients of its inputs for some gradient of it. */
function outcomeOf(
  { shapes, run, differentiable }: PlainCase,
  inputs: readonly Float32Array[],
): { values: ArrayLike<number>[]; error?: string } {
  try {
    const values = tf.tidy(() => {
      const tensors = inputs.map((input, i) => tf.tensor(input, shapes[i] as number[]));
      const y = run(...tensors);
      if (differentiable !== true) return [y.dataSync()];
      const random = createRandom(9, 'dy');
      const dy = tf.tensor(
        Float32Array.from({ length: y.size }, () => random.normal()),
        y.shape,
      );
      return [y, ...tf.grads(run)(tensors, dy)].map((tensor) => tensor.dataSync());
    });
    return { values };
  } catch (error) {
    return { values: [], error: String((error as Error).stack).slice(0, 600) };
  }
}

function difference(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) return Infinity;
  let [sum, norm] = [0, 0];
  for (let i = 0; i < expected.length; i++) {
    sum += (actual[i] - expected[i]) ** 2;
    norm += expected[i] ** 2;
  }
  const result = Math.sqrt(sum) / (Math.sqrt(norm) + 1e-6);
  return Number.isNaN(result) ? Infinity : result;
}

/**
 * Times works of the engine on the GPU, with device clocks, and counts the bytes that they must move.
 *
 *     node bench.mjs
 */
import { writeSync } from 'node:fs';

import * as tf from '@tensorflow/tfjs-core';

import { selectBackend } from '../../engine/backend.js';
import { precisions } from '../../engine/cuda/matMul.js';
import { registerCudaBackend } from '../../engine/cuda/register.js';
import { defaultLif, lif } from '../../engine/ops/lif.js';
import { selectiveScan } from '../../engine/ops/selectiveScan.js';
import { type StepTimes, timeStreaming, timeTraining } from './graphs.js';

interface Figure {
  readonly work: string;
  readonly milliseconds: number;
  readonly gigabytesPerSecond?: number;
  readonly teraflops?: number;
}

await selectBackend('cuda');
const { backend, products } = registerCudaBackend();
const figures: Figure[] = [];

/** What fails stands in its place; the others still run. */
function failed(work: string, error: unknown): void {
  const reason = String((error as Error).stack).slice(0, 1000);
  writeSync(1, `${JSON.stringify({ work, error: reason })}\n`);
}

/** Median of ten timings of `run`, after three that do not count. */
function measure(
  work: string,
  run: () => void,
  counts: { bytes?: number; operations?: number },
): void {
  const once = (): void =>
    void tf.tidy(() => {
      run();
    });
  try {
    for (let i = 0; i < 3; i++) once();
    backend.driver.synchronise();
  } catch (error) {
    failed(work, error);
    return;
  }
  const times = Array.from({ length: 10 }, () => backend.driver.time(once)).sort((a, b) => a - b);
  const milliseconds = times[5];
  figures.push({
    work,
    milliseconds,
    ...(counts.bytes && { gigabytesPerSecond: counts.bytes / milliseconds / 1e6 }),
    ...(counts.operations && { teraflops: counts.operations / milliseconds / 1e9 }),
  });
  writeSync(1, `${JSON.stringify(figures.at(-1))}\n`);
}

/** A step launch by launch, and as a graph. */
function measureSteps(work: string, time: () => StepTimes): void {
  try {
    const { plain, graph } = time();
    for (const [form, milliseconds] of Object.entries({ plain, graph })) {
      figures.push({ work: `${work}, ${form}`, milliseconds });
      writeSync(1, `${JSON.stringify(figures.at(-1))}\n`);
    }
  } catch (error) {
    failed(work, error);
  }
}

const n = 1 << 26;
const a = tf.zeros([n]);
const b = tf.ones([n]);
measure(
  'copy',
  () => backend.driver.copy(backend.output([n]).values.pointer, backend.values(a).pointer, 4 * n),
  { bytes: 8 * n },
);
measure('add', () => void tf.add(a, b), { bytes: 12 * n });
measure('exp', () => void tf.exp(a), { bytes: 8 * n });
measure('sum', () => void tf.sum(a), { bytes: 4 * n });
const rows = tf.reshape(a, [1 << 17, 512]);
const bias = tf.ones([512]);
measure('add a row', () => void tf.add(rows, bias), { bytes: 8 * n });
measure('sum of columns', () => void tf.sum(rows, 0), { bytes: 4 * n });
measure('transpose', () => void tf.transpose(rows), { bytes: 8 * n });
const [steps, neurons] = [32, 4 << 20];
const x: tf.Tensor = tf.randomNormal([1, 16, 1 << 16]).tile([1, 2, 64]);
const v = tf.zeros([1, neurons]);
measure('lif forward', () => void lif(x, v, defaultLif), { bytes: 8 * steps * neurons });
const dy = tf.ones(x.shape);
const gradient = tf.grad((input: tf.Tensor) => lif(input, v, defaultLif).spikes);
measure('lif forward + backward', () => void gradient(x, dy), { bytes: 20 * steps * neurons });
x.dispose();
dy.dispose();
for (const [batch, length, channels] of [
  [16, 1024, 512],
  [16, 4096, 2048],
]) {
  const states = 16;
  const wide = (): tf.Tensor =>
    tf.tile(tf.randomNormal([1, 64, channels]), [batch, length / 64, 1]);
  const mixes = (): tf.Tensor => tf.tile(tf.randomNormal([1, 64, states]), [batch, length / 64, 1]);
  const state = tf.zeros([batch, channels, states]);
  const inputs = [
    wide(),
    wide(),
    tf.neg(tf.tile(tf.range(1, states + 1).reshape([1, states]), [channels, 1])),
    mixes(),
    mixes(),
    tf.randomNormal([channels]),
    tf.randomNormal([channels], -4),
  ];
  const scan = (
    u: tf.Tensor,
    delta: tf.Tensor,
    A: tf.Tensor,
    B: tf.Tensor,
    C: tf.Tensor,
    D: tf.Tensor,
    deltaBias: tf.Tensor,
  ): tf.Tensor => selectiveScan({ u, delta, A, B, C, D, deltaBias }, state).y;
  const size = batch * length * channels;
  measure(
    `selectiveScan forward ${batch} × ${length} × ${channels}`,
    () => void scan(...(inputs as Parameters<typeof scan>)),
    { bytes: 12 * size },
  );
  const dys = tf.ones(inputs[0].shape);
  const grads = tf.grads(scan as (...xs: tf.Tensor[]) => tf.Tensor);
  measure(
    `selectiveScan forward + backward ${batch} × ${length} × ${channels}`,
    () => void grads(inputs, dys),
    { bytes: 32 * size },
  );
  tf.dispose([...inputs, state, dys]);
}
const [frames, pixels, wide] = [512, 32, 64];
const images = tf.ones([frames, pixels, pixels, wide]) as tf.Tensor4D;
const filter = tf.ones([3, 3, wide, wide]) as tf.Tensor4D;
const products3 = 2 * frames * pixels ** 2 * 9 * wide ** 2;
const convolve = (x: tf.Tensor, w: tf.Tensor): tf.Tensor =>
  tf.conv2d(x as tf.Tensor4D, w as tf.Tensor4D, 1, 'same');
measure('conv2d forward', () => void convolve(images, filter), { operations: products3 });
const convolved = tf.grads(convolve as (...xs: tf.Tensor[]) => tf.Tensor);
measure('conv2d forward + backward', () => void convolved([images, filter], images), {
  operations: 3 * products3,
});
tf.dispose([images, filter]);
const square: tf.Tensor2D = tf.randomNormal([4096, 4096]);
for (const precision of precisions) {
  products.precision = precision;
  const name = `matMul 4096, ${precision}`;
  measure(name, () => void tf.matMul(square, square), { operations: 2 * 4096 ** 3 });
}
square.dispose();
// Wall clock, with the read of the result.
for (const preset of ['small', 'base']) {
  for (const precision of precisions) {
    products.precision = precision;
    measureSteps(`training step × 32 clips, ${preset}, ${precision}`, () =>
      timeTraining(backend, preset),
    );
  }
  products.precision = 'float32';
  measureSteps(`streaming one bin, ${preset}`, () => timeStreaming(backend, preset));
}
process.exit(0);

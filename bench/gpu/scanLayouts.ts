/**
 * Times layouts of the selective scan, by which its default was chosen, and compares what they give with the first.
 *
 *     node scanLayouts.mjs
 */
import { writeSync } from 'node:fs';

import * as tf from '@tensorflow/tfjs-core';

import { selectBackend } from '../../engine/backend.js';
import { type ScanLayout, scan } from '../../engine/cuda/launches/scan.js';
import { registerCudaBackend } from '../../engine/cuda/register.js';

const states = 16;
/** Channels of a thread, threads of a block, blocks that fit, steps of a stage, steps in registers. */
type Numbers = readonly [number, number, number, number, number];

const layouts: readonly { forward: Numbers; backward: Numbers; segments?: number }[] = [
  { forward: [2, 256, 2, 12, 4], backward: [2, 256, 2, 12, 4] },
  { forward: [2, 128, 4, 12, 4], backward: [2, 128, 4, 12, 4] },
  { forward: [2, 256, 2, 8, 4], backward: [2, 256, 2, 8, 4] },
  { forward: [2, 128, 5, 8, 4], backward: [2, 128, 5, 8, 2] },
  { forward: [2, 128, 5, 8, 4], backward: [4, 128, 3, 8, 2] },
  { forward: [2, 256, 2, 12, 4], backward: [4, 128, 2, 12, 4] },
  { forward: [2, 256, 2, 16, 4], backward: [2, 128, 3, 16, 4] },
  { forward: [1, 128, 6, 16, 8], backward: [1, 128, 4, 16, 8] },
  { forward: [1, 128, 6, 12, 6], backward: [1, 128, 4, 12, 6] },
  { forward: [1, 128, 6, 12, 6], backward: [1, 128, 4, 12, 4] },
  { forward: [1, 128, 6, 12, 6], backward: [1, 128, 4, 12, 6], segments: 2 },
  { forward: [1, 128, 6, 12, 6], backward: [1, 128, 4, 12, 6], segments: 3 },
  { forward: [1, 128, 6, 12, 6], backward: [1, 128, 4, 12, 6], segments: 4 },
  { forward: [2, 128, 4, 12, 4], backward: [2, 128, 4, 12, 4], segments: 2 },
  { forward: [2, 128, 4, 12, 4], backward: [2, 128, 4, 12, 4], segments: 4 },
  { forward: [2, 128, 4, 12, 4], backward: [2, 128, 4, 12, 4], segments: 8 },
];

await selectBackend('cuda');
const { backend, device } = registerCudaBackend();

const layoutOf = ([channels, threads, blocks, stage, chunk]: Numbers): ScanLayout => ({
  ...{ lanes: 4, channels, threads, blocks, stage, chunk },
});

/** Median of seven timings, after two that do not count. */
function median(run: () => void): number {
  for (let i = 0; i < 2; i++) run();
  return Array.from({ length: 7 }, () => backend.driver.time(run)).sort((a, b) => a - b)[3];
}

for (const [batch, length, channels] of [
  [16, 4096, 2048],
  [16, 1024, 512],
]) {
  const drawn = (...shape: number[]): tf.Tensor =>
    tf.tile(tf.randomNormal([shape[0], 64, shape[2]]), [1, shape[1] / 64, 1]);
  const shapes = {
    rows: [batch, length, channels],
    mixes: [batch, length, states],
    state: [batch, channels, states],
    A: [channels, states],
    channels: [channels],
  };
  const decays = tf.neg(tf.tile(tf.range(1, states + 1).reshape([1, states]), [channels, 1]));
  const inputs = [
    ...[drawn(...shapes.rows), drawn(...shapes.rows), decays],
    ...[drawn(...shapes.mixes), drawn(...shapes.mixes)],
    ...[tf.randomNormal([channels]), tf.randomNormal([channels], -4), tf.zeros(shapes.state)],
    tf.tensor1d([]),
  ];
  const [dY, dLast] = [drawn(...shapes.rows), tf.zeros(shapes.state)];
  const given = (xs: readonly tf.Tensor[]) => xs.map((x) => backend.values(x));
  const outputs = [shapes.rows, shapes.state].map((shape) => tf.zeros(shape));
  const gradients = [
    ...[shapes.rows, shapes.rows, shapes.A, shapes.mixes, shapes.mixes],
    ...[shapes.channels, shapes.channels, shapes.state],
  ].map((shape) => tf.zeros(shape));
  const sizes = [batch, length, channels, states, false];
  /** Norms of what came out, by which a wrong layout shows. */
  const norms = (): number[] =>
    [...outputs, ...gradients].map((x) => tf.tidy(() => tf.sqrt(tf.mean(tf.square(x))).dataSync()[0])); // prettier-ignore
  let first: number[] | undefined;
  for (const { forward, backward, segments = 1 } of layouts) {
    const line: Record<string, unknown> = {
      size: [batch, length, channels],
      forward,
      backward,
      segments,
    };
    try {
      const layout = { forward: layoutOf(forward), backward: layoutOf(backward), segments };
      const run = scan(device, () => layout) as unknown as Record<
        'scanForward' | 'scanBackward',
        (...values: unknown[]) => void
      >;
      const kept = tf.zeros([Math.ceil(length / forward[3]), ...shapes.state]);
      const [keep] = given([kept]);
      const go = (...last: unknown[]) => run.scanForward(...given(inputs), ...given(outputs), ...sizes, ...last); // prettier-ignore
      const back = () => run.scanBackward(...given(inputs), ...given([dY, dLast, ...gradients]), { length: 0 }, ...sizes, keep); // prettier-ignore
      // What a layout does not write is no number.
      for (const x of [...outputs, ...gradients]) tf.tidy(() => backend.assign(x, tf.fill(x.shape, NaN))); // prettier-ignore
      line.forward1 = median(() => go());
      line.forwardKeeping = median(() => go(keep));
      line.backward1 = median(back);
      line.both = median(() => {
        go(keep);
        back();
      });
      line.gigabytesPerSecond = (32 * batch * length * channels) / (line.both as number) / 1e6;
      const found = norms();
      first ??= found;
      line.difference = Math.max(...found.map((x, i) => Math.abs(x - first![i]) / (first![i] + 1e-20))); // prettier-ignore
      kept.dispose();
    } catch (error) {
      line.error = String((error as Error).stack).slice(0, 500);
    }
    writeSync(1, `${JSON.stringify(line)}\n`);
  }
  tf.dispose([...inputs, dY, dLast, ...outputs, ...gradients]);
}
process.exit(0);

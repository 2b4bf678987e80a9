import * as tf from '@tensorflow/tfjs-core';

import { defineFusedOp, type Attributes, type HostKernel } from '../fused.js';

interface PatchConfig extends Attributes {
  readonly size: number;
}

/** Calls `visit` for every row of a patch: `size` neighbouring values, at `frameAt` and at `patchAt`. */
function forEachRow(
  [frames, channels, height, width]: readonly number[],
  size: number,
  visit: (frameAt: number, patchAt: number) => void,
): void {
  const columns = width / size;
  const features = channels * size * size;
  const patches = (height / size) * columns;
  for (let frame = 0; frame < frames; frame++) {
    for (let c = 0; c < channels; c++) {
      for (let row = 0; row < height; row++) {
        const source = ((frame * channels + c) * height + row) * width;
        const patchRow = frame * patches + Math.floor(row / size) * columns;
        const within = (c * size + (row % size)) * size;
        for (let column = 0; column < columns; column++) {
          visit(source + column * size, (patchRow + column) * features + within);
        }
      }
    }
  }
}

const forward: HostKernel<PatchConfig> = {
  outputShapes: ([[frames, channels, height, width]], { size }) => [
    [frames, (height / size) * (width / size), channels * size * size],
  ],
  run([x], [y], [shape], { size }) {
    forEachRow(shape, size, (frameAt, patchAt) => {
      for (let i = 0; i < size; i++) y[patchAt + i] = x[frameAt + i];
    });
  },
};

const backward: HostKernel<PatchConfig> = {
  outputShapes: ([x]) => [[...x]],
  run([, dy], [dx], [shape], { size }) {
    forEachRow(shape, size, (frameAt, patchAt) => {
      for (let i = 0; i < size; i++) dx[frameAt + i] = dy[patchAt + i];
    });
  },
};

const fused = defineFusedOp<PatchConfig>({
  name: 'Patches',
  forward,
  backward,
  reference([x], { size }) {
    const [frames, channels, height, width] = x.shape;
    const rows = height / size;
    const columns = width / size;
    const cut = tf.reshape(x, [frames, channels, rows, size, columns, size]);
    return [
      tf.reshape(tf.transpose(cut, [0, 2, 4, 1, 3, 5]), [
        frames,
        rows * columns,
        channels * size * size,
      ]),
    ];
  },
});

/**
 * Cuts frames into square patches, so that a strided convolution becomes a matrix product.
 *
 * @param x `[frames, channels, height, width]`; height and width are multiples of `size`.
 * @returns `[frames, patches, channels · size²]`, patches in raster order, features ordered as
 *   (channel, row, column).
 */
export function patches(x: tf.Tensor, size: number): tf.Tensor {
  return fused([x], { size })[0];
}

export const patchesDefinition = fused.definition;

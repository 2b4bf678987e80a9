import * as tf from '@tensorflow/tfjs-core';

import { defineFusedOp, type Attributes, type HostKernel } from '../fused.js';

/** Calls `visit` for every pair of an output pixel and an input pixel that one tap joins. */
function forEachTap(
  [frames, height, width]: readonly number[],
  size: number,
  visit: (outputPixel: number, inputPixel: number, tap: number) => void,
): void {
  const margin = (size - 1) / 2;
  for (let frame = 0; frame < frames; frame++) {
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const output = (frame * height + y) * width + x;
        for (let ky = 0; ky < size; ky++) {
          const row = y + ky - margin;
          if (row < 0 || row >= height) continue;
          for (let kx = 0; kx < size; kx++) {
            const column = x + kx - margin;
            if (column < 0 || column >= width) continue;
            visit(output, (frame * height + row) * width + column, ky * size + kx);
          }
        }
      }
    }
  }
}

const forward: HostKernel<Attributes> = {
  outputShapes: ([x]) => [[...x]],
  run([x, weight, bias], [y], [shape, [size]]) {
    const channels = shape[3];
    for (let at = 0; at < y.length; at++) y[at] = bias[at % channels];
    forEachTap(shape, size, (output, input, tap) => {
      const yAt = output * channels;
      const xAt = input * channels;
      const weightAt = tap * channels;
      for (let c = 0; c < channels; c++) y[yAt + c] += weight[weightAt + c] * x[xAt + c];
    });
  },
};

const backward: HostKernel<Attributes> = {
  outputShapes: (shapes) => shapes.slice(0, 3).map((shape) => [...shape]),
  run([x, weight, , dy], [dx, dWeight, dBias], [shape, [size]]) {
    const channels = shape[3];
    for (let at = 0; at < dy.length; at++) dBias[at % channels] += dy[at];
    forEachTap(shape, size, (output, input, tap) => {
      const yAt = output * channels;
      const xAt = input * channels;
      const weightAt = tap * channels;
      for (let c = 0; c < channels; c++) {
        const gradient = dy[yAt + c];
        dx[xAt + c] += gradient * weight[weightAt + c];
        dWeight[weightAt + c] += gradient * x[xAt + c];
      }
    });
  },
};

const fused = defineFusedOp<Attributes>({
  name: 'DepthwiseConv2dSame',
  forward,
  backward,
  // Shifted copies rather than `tf.depthwiseConv2d`, which not every backend can differentiate.
  reference([x, weight, bias]) {
    const [size] = weight.shape;
    const margin = (size - 1) / 2;
    const padded = tf.pad(x, [
      [0, 0],
      [margin, margin],
      [margin, margin],
      [0, 0],
    ]);
    const taps = Array.from({ length: size * size }, (_, tap) => {
      const shifted = tf.slice(padded, [0, Math.floor(tap / size), tap % size, 0], x.shape);
      const factor = tf.slice(weight, [Math.floor(tap / size), tap % size, 0], [1, 1, -1]);
      return tf.mul(shifted, tf.reshape(factor, [-1]));
    });
    return [tf.add(tf.addN(taps), bias)];
  },
});

/**
 * Depthwise 2-D convolution of each frame, stride 1, zero padding to the same size.
 *
 * @param x `[frames, height, width, channels]`.
 * @param weight `[size, size, channels]`, size odd.
 * @param bias `[channels]`.
 */
export function depthwiseConv2d(x: tf.Tensor, weight: tf.Tensor, bias: tf.Tensor): tf.Tensor {
  return fused([x, weight, bias], {})[0];
}

export const depthwiseConv2dDefinition = fused.definition;

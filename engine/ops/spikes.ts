import * as tf from '@tensorflow/tfjs-core';

import { defineFusedOp, type Attributes, type HostKernel } from '../fused.js';
import { productGradients } from './linear.js';

/**
 * Share of values that are not zero below which adding up weight rows beats the
 * dense product (docs/benchmarks.md says how it was found).
 */
export const sparseBelowDensity = 0.2;

/** Where that holds: elsewhere, loops do not beat vectors, or counting would wait for another device. */
const sparseBackends: readonly string[] = ['native', 'cpu'];

/** Whether the sparse kernel is to be taken, and how; measures the density. */
function sparseConfig(x: tf.Tensor): SparseConfig | undefined {
  if (!sparseBackends.includes(tf.getBackend())) return undefined;
  const { density, binary } = spikeDensity(x);
  return density < sparseBelowDensity ? { binary } : undefined;
}

const countKernel: HostKernel<Attributes> = {
  outputShapes: () => [[2]],
  run([x], [counts]) {
    for (let i = 0; i < x.length; i++) {
      if (x[i] === 0) continue;
      counts[0]++;
      if (x[i] !== 1) counts[1]++;
    }
  },
};

const count = defineFusedOp<Attributes>({
  name: 'CountSpikes',
  forward: countKernel,
  reference([x]) {
    const fired = tf.notEqual(x, 0);
    const graded = tf.logicalAnd(fired, tf.notEqual(x, 1));
    return [tf.stack([fired, graded].map((mask) => tf.sum(tf.cast(mask, 'float32'))))];
  },
});

/** What a tensor of spikes holds. */
export interface SpikeDensity {
  /** Share of values that are not 0. */
  readonly density: number;
  /** Whether all others are 1. */
  readonly binary: boolean;
}

export function spikeDensity(x: tf.Tensor): SpikeDensity {
  const [spikes, graded] = tf.tidy(() => count([x], {})[0].dataSync());
  return { density: spikes / Math.max(1, x.size), binary: graded === 0 };
}

/** Settings of the sparse kernels. */
interface SparseConfig extends Attributes {
  /** Whether all values are 0 or 1: additions then do. */
  readonly binary: boolean;
}

const productKernel: HostKernel<SparseConfig> = {
  outputShapes: ([[rows], [, outputs]]) => [[rows, outputs]],
  run([x, weight], [y], [[rows, inputs], [, outputs]]) {
    for (let r = 0; r < rows; r++) {
      for (let i = 0; i < inputs; i++) {
        const spike = x[r * inputs + i];
        if (spike === 0) continue;
        for (let o = 0; o < outputs; o++) y[r * outputs + o] += spike * weight[i * outputs + o];
      }
    }
  },
};

const product = defineFusedOp<SparseConfig>({
  name: 'SpikeMatMul',
  forward: productKernel,
  reference: ([x, weight]) => [tf.matMul(x as tf.Tensor2D, weight as tf.Tensor2D)],
});

/**
 * x · weight where most of x is zero, as spikes are: only the weight rows of neurons that fired are added.
 * Forward, the density of x decides between this and the dense product, on `native` and `cpu`; the gradient is
 * dense. On `native` both give the same to the last bit.
 *
 * @param x `[…, inputs]`; spikes are 0 and 1, other values are right as well.
 * @param weight `[inputs, outputs]`.
 * @returns `[…, outputs]`.
 */
export function spikeMatMul(x: tf.Tensor, weight: tf.Tensor): tf.Tensor {
  const [inputs, outputs] = weight.shape;
  const multiply = tf.customGrad((spikes, weights, save) => {
    const [X, W] = [spikes, weights] as tf.Tensor2D[];
    (save as tf.GradSaveFunc)([X, W]);
    const sparse = sparseConfig(X);
    return {
      value: sparse === undefined ? tf.matMul(X, W) : product([X, W], sparse)[0],
      gradFunc: (dy: tf.Tensor, [savedX, savedW]: tf.Tensor[]) =>
        productGradients(savedX as tf.Tensor2D, savedW as tf.Tensor2D, dy as tf.Tensor2D),
    };
  });
  const y = multiply(tf.reshape(x, [-1, inputs]), weight);
  return tf.reshape(y, [...x.shape.slice(0, -1), outputs]);
}

export interface SpikeConvConfig extends Attributes {
  readonly stride: number;
  /** `same`: zero padding, output ⌈extent / stride⌉; `valid`: none. */
  readonly padding: 'same' | 'valid';
}

/** Where the first output pixel's kernel starts, and the output's extent, along one axis. */
export function convolutionExtent(
  extent: number,
  size: number,
  { stride, padding }: SpikeConvConfig,
): { margin: number; out: number } {
  if (padding === 'valid') return { margin: 0, out: Math.floor((extent - size) / stride) + 1 };
  const out = Math.ceil(extent / stride);
  return { margin: Math.floor(Math.max(0, (out - 1) * stride + size - extent) / 2), out };
}

const convolutionKernel: HostKernel<SpikeConvConfig & SparseConfig> = {
  outputShapes: ([[batch, height, width], [size, , , outputs]], config) => [
    [
      batch,
      convolutionExtent(height, size, config).out,
      convolutionExtent(width, size, config).out,
      outputs,
    ],
  ],
  run([x, weight], [y], [[batch, height, width, inputs], [size, , , outputs]], config) {
    const vertical = convolutionExtent(height, size, config);
    const horizontal = convolutionExtent(width, size, config);
    for (let pixel = 0; pixel < batch * height * width; pixel++) {
      const column = pixel % width;
      const row = Math.floor(pixel / width) % height;
      const frame = Math.floor(pixel / width / height);
      for (let i = 0; i < inputs; i++) {
        const spike = x[pixel * inputs + i];
        if (spike === 0) continue;
        // The outputs that this spike reaches.
        for (let ky = 0; ky < size; ky++) {
          const outRow = (row + vertical.margin - ky) / config.stride;
          if (outRow < 0 || outRow >= vertical.out || !Number.isInteger(outRow)) continue;
          for (let kx = 0; kx < size; kx++) {
            const outColumn = (column + horizontal.margin - kx) / config.stride;
            if (outColumn < 0 || outColumn >= horizontal.out || !Number.isInteger(outColumn)) {
              continue;
            }
            const to = ((frame * vertical.out + outRow) * horizontal.out + outColumn) * outputs;
            const from = ((ky * size + kx) * inputs + i) * outputs;
            for (let o = 0; o < outputs; o++) y[to + o] += spike * weight[from + o];
          }
        }
      }
    }
  },
};

const convolution = defineFusedOp<SpikeConvConfig & SparseConfig>({
  name: 'SpikeConv2d',
  forward: convolutionKernel,
  reference: ([x, weight], { stride, padding }) => [
    tf.conv2d(x as tf.Tensor4D, weight as tf.Tensor4D, stride, padding),
  ],
});

/**
 * 2-D convolution of frames of spikes: as `spikeMatMul`, by additions where few neurons fired.
 *
 * @param x `[batch, height, width, inputs]`; spikes are 0 and 1, other values are right as well.
 * @param weight `[size, size, inputs, outputs]`.
 * @returns `[batch, out height, out width, outputs]`.
 */
export function spikeConv2d(
  x: tf.Tensor,
  weight: tf.Tensor,
  config: SpikeConvConfig = { stride: 1, padding: 'same' },
): tf.Tensor {
  const sparse = sparseConfig(x);
  if (sparse !== undefined) return convolution([x, weight], { ...config, ...sparse })[0];
  return tf.conv2d(x as tf.Tensor4D, weight as tf.Tensor4D, config.stride, config.padding);
}

export const spikeMatMulDefinition = product.definition;
export const spikeConv2dDefinition = convolution.definition;
export const spikeCountDefinition = count.definition;

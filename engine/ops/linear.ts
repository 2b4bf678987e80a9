import * as tf from '@tensorflow/tfjs-core';

import { defineFusedOp, type Attributes, type HostKernel } from '../fused.js';

const tile = 32;

const transposeKernel: HostKernel<Attributes> = {
  outputShapes: ([[rows, columns]]) => [[columns, rows]],
  run([x], [y], [[rows, columns]]) {
    for (let r0 = 0; r0 < rows; r0 += tile) {
      const r1 = Math.min(rows, r0 + tile);
      for (let c0 = 0; c0 < columns; c0 += tile) {
        const c1 = Math.min(columns, c0 + tile);
        for (let c = c0; c < c1; c++) {
          for (let r = r0; r < r1; r++) y[c * rows + r] = x[r * columns + c];
        }
      }
    }
  },
};

const transposeMatrix = defineFusedOp<Attributes>({
  name: 'TransposeMatrix',
  forward: transposeKernel,
  reference: ([x]) => [tf.transpose(x)],
});

const transposed = (x: tf.Tensor): tf.Tensor2D => transposeMatrix([x], {})[0] as tf.Tensor2D;

/** dy · weightᵀ and xᵀ · dy. */
export function productGradients(
  x: tf.Tensor2D,
  weight: tf.Tensor2D,
  dy: tf.Tensor2D,
): tf.Tensor[] {
  // The WebAssembly backend's product with a transposed operand runs ten times slower than the plain
  // one: it transposes first.
  if (tf.getBackend() === 'wasm') {
    return [tf.matMul(dy, transposed(weight)), tf.matMul(transposed(x), dy)];
  }
  return [tf.matMul(dy, weight, false, true), tf.matMul(x, dy, true, false)];
}

const product = tf.customGrad((x, weight, save) => {
  (save as tf.GradSaveFunc)([x as tf.Tensor, weight as tf.Tensor]);
  return {
    value: tf.matMul(x as tf.Tensor2D, weight as tf.Tensor2D),
    gradFunc: (dy: tf.Tensor, [savedX, savedWeight]: tf.Tensor[]) =>
      productGradients(savedX as tf.Tensor2D, savedWeight as tf.Tensor2D, dy as tf.Tensor2D),
  };
});

/**
 * y = x · weight (+ bias) over the last axis.
 *
 * @param x `[…, inputs]`.
 * @param weight `[inputs, outputs]`.
 * @param bias `[outputs]`.
 * @returns `[…, outputs]`.
 */
export function linear(x: tf.Tensor, weight: tf.Tensor, bias?: tf.Tensor): tf.Tensor {
  const [inputs, outputs] = weight.shape;
  const y = product(tf.reshape(x, [-1, inputs]), weight);
  return tf.reshape(bias === undefined ? y : tf.add(y, bias), [...x.shape.slice(0, -1), outputs]);
}

export const transposeMatrixDefinition = transposeMatrix.definition;

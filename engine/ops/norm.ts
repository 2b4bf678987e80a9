import * as tf from '@tensorflow/tfjs-core';

import { defineFusedOp, type Attributes } from '../fused.js';

const op = defineFusedOp<Attributes>({
  name: 'EuclideanNorms',
  forward: {
    outputShapes: (shapes) => [[1 + shapes.length]],
    run(tensors, [norms]) {
      let total = 0;
      tensors.forEach((x, t) => {
        let sum = 0;
        for (let i = 0; i < x.length; i++) sum += x[i] * x[i];
        norms[1 + t] = Math.sqrt(sum);
        total += sum;
      });
      norms[0] = Math.sqrt(total);
    },
  },
  reference(tensors) {
    const norms = tf.stack(tensors.map((x) => tf.norm(x)));
    return [tf.concat([tf.reshape(tf.norm(norms), [1]), norms])];
  },
});

/**
 * Euclidean norms of tensors; added up in double, but for backends where the op is its reference.
 *
 * @returns `[1 + tensors.length]`: that of all values of all tensors, then that of each.
 */
export function euclideanNorms(tensors: readonly tf.Tensor[]): tf.Tensor1D {
  return op(tensors, {})[0] as tf.Tensor1D;
}

export const euclideanNormsDefinition = op.definition;

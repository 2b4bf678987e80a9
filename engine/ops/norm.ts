import * as tf from '@tensorflow/tfjs-core';

import { defineFusedOp, type Attributes } from '../fused.js';

const op = defineFusedOp<Attributes>({
  name: 'EuclideanNorm',
  forward: {
    outputShapes: () => [[]],
    run([x], [norm]) {
      let sum = 0;
      for (let i = 0; i < x.length; i++) sum += x[i] * x[i];
      norm[0] = Math.sqrt(sum);
    },
  },
  reference: ([x]) => [tf.norm(x)],
});

/** The Euclidean norm of all values of a tensor, as a scalar; added up in double on the backends in host memory. */
export function euclideanNorm(x: tf.Tensor): tf.Scalar {
  return op([x], {})[0] as tf.Scalar;
}

export const euclideanNormDefinition = op.definition;

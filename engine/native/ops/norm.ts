import { euclideanNormsDefinition } from '../../ops/norm.js';
import type { Addon } from '../addon.js';
import { native, type NativeOps } from './native.js';

export function norm({ sumOfSquares }: Addon['kernels']): NativeOps {
  const sum = new Float64Array(1);
  return {
    EuclideanNorms: native(euclideanNormsDefinition.forward, (tensors, [norms]) => {
      let total = 0;
      tensors.forEach((x, t) => {
        sumOfSquares(x, sum);
        norms[1 + t] = Math.sqrt(sum[0]);
        total += sum[0];
      });
      norms[0] = Math.sqrt(total);
    }),
  };
}

import { euclideanNormDefinition } from '../../ops/norm.js';
import type { Addon } from '../addon.js';
import { native, type NativeOps } from './native.js';

export function norm({ sumOfSquares }: Addon['kernels']): NativeOps {
  const sum = new Float64Array(1);
  return {
    EuclideanNorm: native(euclideanNormDefinition.forward, ([x], [result]) => {
      sumOfSquares(x, sum);
      result[0] = Math.sqrt(sum[0]);
    }),
  };
}

import { depthwiseConv2dDefinition } from '../../ops/depthwiseConv2d.js';
import type { Addon } from '../addon.js';
import { native, type NativeOps } from './native.js';

export function depthwiseConv2d(kernels: Addon['kernels']): NativeOps {
  const { depthwiseSameForward, depthwiseSameBackward } = kernels;
  const { forward, backward } = depthwiseConv2dDefinition;
  return {
    DepthwiseConv2dSame: native(forward, (inputs, [y], [shape, [size]]) => {
      depthwiseSameForward(...inputs, y, ...shape, size);
    }),
    DepthwiseConv2dSameGrad: native(
      backward!,
      ([x, weight, , dY], [dX, dWeight, dBias], [shape, [size]]) => {
        depthwiseSameBackward(x, weight, dY, dX, dWeight, dBias, ...shape, size);
      },
    ),
  };
}

import { causalConv1dDefinition } from '../../ops/causalConv1d.js';
import type { Addon } from '../addon.js';
import { native, type NativeOps } from './native.js';

export function causalConv1d(kernels: Addon['kernels']): NativeOps {
  const { causalConv1dForward, causalConv1dBackward } = kernels;
  const { forward, backward } = causalConv1dDefinition;
  return {
    CausalConv1d: native(forward, (inputs, outputs, [x, weight], { reverse }) => {
      causalConv1dForward(...inputs, ...outputs, ...x, weight[0], reverse);
    }),
    CausalConv1dGrad: native(
      backward!,
      ([x, weight, , state, dY, dLast], [dX, dWeight, dBias, dState], shapes, { reverse }) => {
        const [shape, [taps]] = shapes;
        const gradients = [dX, dWeight, dBias, dState];
        causalConv1dBackward(x, weight, state, dY, dLast, ...gradients, ...shape, taps, reverse);
      },
    ),
  };
}

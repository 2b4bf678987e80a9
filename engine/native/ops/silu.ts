import { siluDefinition, siluGateDefinition } from '../../ops/silu.js';
import type { Addon } from '../addon.js';
import { native, type NativeOps } from './native.js';

export function silu(kernels: Addon['kernels']): NativeOps {
  const { siluForward, siluBackward, siluGateForward, siluGateBackward } = kernels;
  return {
    Silu: native(siluDefinition.forward, ([x], [y]) => siluForward(x, y)),
    SiluGrad: native(siluDefinition.backward!, ([x, dY], [dX]) => siluBackward(x, dY, dX)),
    SiluGate: native(siluGateDefinition.forward, ([x, gate], [y]) => siluGateForward(x, gate, y)),
    SiluGateGrad: native(siluGateDefinition.backward!, (inputs, outputs) => {
      siluGateBackward(...inputs, ...outputs);
    }),
  };
}

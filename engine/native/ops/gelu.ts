import { geluDefinition } from '../../ops/gelu.js';
import type { Addon } from '../addon.js';
import { native, type NativeOps } from './native.js';

export function gelu({ geluForward, geluBackward }: Addon['kernels']): NativeOps {
  return {
    Gelu: native(geluDefinition.forward, ([x], [y]) => geluForward(x, y)),
    GeluGrad: native(geluDefinition.backward!, ([x, dY], [dX]) => geluBackward(x, dY, dX)),
  };
}

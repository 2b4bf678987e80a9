import { siluDefinition } from '../../ops/silu.js';
import type { Addon } from '../addon.js';
import type { NativeOps } from './index.js';

export function silu({ siluForward }: Addon['kernels']): NativeOps {
  return {
    Silu: {
      outputShapes: siluDefinition.forward.outputShapes,
      writesAll: true,
      run: ([x], [y]) => siluForward(x, y),
    },
  };
}

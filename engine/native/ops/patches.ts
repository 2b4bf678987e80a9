import { transposeMatrixDefinition } from '../../ops/linear.js';
import { patchesDefinition } from '../../ops/patches.js';
import type { Addon } from '../addon.js';
import { native, type NativeOps } from './native.js';

export function patches({ cutPatches, transposeMatrix }: Addon['kernels']): NativeOps {
  return {
    Patches: native(patchesDefinition.forward, ([x], [y], [shape], { size }) => {
      cutPatches(x, y, ...shape, size);
    }),
    TransposeMatrix: native(transposeMatrixDefinition.forward, ([x], [y], [shape]) => {
      transposeMatrix(x, y, ...shape);
    }),
  };
}

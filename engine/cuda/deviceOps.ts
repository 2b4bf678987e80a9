import { gatherRowsDefinition } from '../ops/gatherRows.js';
import type { Kernels } from '../native/addon.js';
import { native, type NativeOps } from '../native/ops/native.js';

/** Fused ops that have no kernel in the addon, where JavaScript moves rows as fast. */
export function deviceOps({ gatherRows, gatherRowsGradient }: Kernels): NativeOps {
  const { forward, backward } = gatherRowsDefinition;
  return {
    GatherRows: native(forward, ([x], [y], [shape], { index, lists }) => {
      gatherRows(x as Float32Array, index, y as Float32Array, ...shape, lists);
    }),
    GatherRowsGrad: native(backward!, ([, dy], [dx], [shape], { index, lists }) => {
      gatherRowsGradient(dy as Float32Array, index, dx as Float32Array, ...shape, lists);
    }),
  };
}

import type { Kernels } from '../native/addon.js';
import { native, type NativeOps } from '../native/ops/native.js';
import { scanKeepingStates } from '../native/ops/selectiveScan.js';
import { gatherRowsDefinition } from '../ops/gatherRows.js';
import { stageOf } from './launches/scan.js';

/** Fused ops that the device computes in its own way, or that have no kernel in the addon. */
export function deviceOps(kernels: Kernels): NativeOps {
  return {
    ...gatherRows(kernels),
    ...scanKeepingStates(kernels, ([batch, length, channels, states]) => [
      Math.ceil(length / stageOf(states)),
      batch,
      channels,
      states,
    ]),
  };
}

/** In the addon it has none: JavaScript moves rows as fast. */
function gatherRows({ gatherRows: take, gatherRowsGradient }: Kernels): NativeOps {
  const { forward, backward } = gatherRowsDefinition;
  return {
    GatherRows: native(forward, ([x], [y], [shape], { index, lists }) => {
      take(x as Float32Array, index, y as Float32Array, ...shape, lists);
    }),
    GatherRowsGrad: native(backward!, ([, dy], [dx], [shape], { index, lists }) => {
      gatherRowsGradient(dy as Float32Array, index, dx as Float32Array, ...shape, lists);
    }),
  };
}

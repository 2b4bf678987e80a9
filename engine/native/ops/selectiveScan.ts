import { gatedSelectiveScanDefinition, selectiveScanDefinition } from '../../ops/selectiveScan.js';
import type { Addon } from '../addon.js';
import { native, none, type NativeOps } from './native.js';

export function selectiveScan({ scanForward, scanBackward }: Addon['kernels']): NativeOps {
  const variant = (
    name: string,
    { forward, backward }: typeof selectiveScanDefinition,
    gated: boolean,
  ): NativeOps => ({
    [name]: native(forward, (inputs, outputs, [u, , A], { reverse }) => {
      scanForward(...inputs, ...(gated ? [] : [none]), ...outputs, ...u, A[1], reverse);
    }),
    [`${name}Grad`]: native(backward!, (inputs, outputs, [u, , A], { reverse }) => {
      const split = inputs.length - 2;
      scanBackward(
        ...inputs.slice(0, split),
        ...(gated ? [] : [none]),
        ...inputs.slice(split),
        ...outputs,
        ...(gated ? [] : [none]),
        ...u,
        A[1],
        reverse,
      );
    }),
  });
  return {
    ...variant('SelectiveScan', selectiveScanDefinition, false),
    ...variant('GatedSelectiveScan', gatedSelectiveScanDefinition, true),
  };
}

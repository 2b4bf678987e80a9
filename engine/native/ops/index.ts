import type { Attributes, HostKernel } from '../../fused.js';
import type { Addon } from '../addon.js';
import { silu } from './silu.js';

/** Native kernels of our fused ops, by kernel name (`Silu`, `SiluGrad`, …). */
export type NativeOps = Readonly<Record<string, HostKernel<Attributes>>>;

/** All of them. An op that is missing here runs its JavaScript loop. */
export function ops(kernels: Addon['kernels']): NativeOps {
  return { ...silu(kernels) };
}

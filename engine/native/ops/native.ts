import type { Attributes, HostKernel } from '../../fused.js';

/** Native kernels of our fused ops, by kernel name (`Silu`, `SiluGrad`, …). */
export type NativeOps = Readonly<Record<string, HostKernel<Attributes>>>;

/** Stands where an op has no such input. */
export const none = new Float32Array(0);

/** A kernel with the shapes of a loop's outputs, which a function of the addon writes in full. */
export function native<A extends Attributes>(
  { outputShapes }: HostKernel<A>,
  run: HostKernel<A>['run'],
): HostKernel<Attributes> {
  return { outputShapes, run, writesAll: true } as unknown as HostKernel<Attributes>;
}

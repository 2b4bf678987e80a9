import type { Addon } from '../addon.js';
import type { NativeKernel } from '../backend.js';

/** TensorFlow.js's own kernels that are native. */
export function kernels(addon: Addon): readonly NativeKernel[] {
  void addon;
  return [];
}

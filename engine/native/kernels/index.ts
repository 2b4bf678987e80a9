import type { Addon } from '../addon.js';
import type { NativeKernel } from '../backend.js';
import { arrangements } from './arrange.js';
import { convolutions } from './convolution.js';
import { elementwise } from './elementwise.js';
import { matrixProducts } from './matMul.js';
import { reductions } from './reduce.js';

/** TensorFlow.js's own kernels that are native. */
export function kernels(addon: Addon): readonly NativeKernel[] {
  return [
    ...elementwise(addon),
    ...reductions(addon),
    ...arrangements(addon),
    ...matrixProducts(addon),
    ...convolutions(addon),
  ];
}

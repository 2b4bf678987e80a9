import type { Kernels } from '../native/addon.js';
import type { Device } from './device.js';
import { arrange } from './launches/arrange.js';
import { attention } from './launches/attention.js';
import { convolve } from './launches/convolve.js';
import { elementwise } from './launches/elementwise.js';
import { events } from './launches/events.js';
import { gatherRows } from './launches/gatherRows.js';
import { lif } from './launches/lif.js';
import { matrixProducts, roundedToBf16 } from './launches/matMul.js';
import { normalise } from './launches/normalise.js';
import { reductions } from './launches/reduce.js';
import { scan } from './launches/scan.js';
import { windows } from './launches/window.js';
import type { MatrixProducts } from './matMul.js';

/**
 * The kernels that `engine/native/kernels` and `engine/native/ops` call, on the device: the same names and
 * arguments as the addon's (its `src/*.cc` say what they are), with device arrays in place of typed ones.
 */
export function deviceKernels(device: Device, products: MatrixProducts): Kernels {
  products.rounded = roundedToBf16(device);
  return {
    ...elementwise(device),
    ...reductions(device),
    ...arrange(device),
    ...normalise(device),
    ...lif(device),
    ...scan(device),
    ...attention(device),
    ...convolve(device),
    ...events(device),
    ...gatherRows(device),
    ...windows(device, products),
    ...matrixProducts(products),
  };
}

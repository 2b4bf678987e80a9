import type { Kernels } from '../../native/addon.js';
import type { Device } from '../device.js';
import type { DeviceArray } from '../memory.js';
import type { MatrixProducts } from '../matMul.js';

/** Matrix products, by cuBLASLt. */
export function matrixProducts(products: MatrixProducts): Kernels {
  function matMul(
    a: DeviceArray,
    b: DeviceArray,
    c: DeviceArray,
    ...[batches, aStride, bStride, m, n, k, transposeA, transposeB]: [
      ...[number, number, number, number, number, number],
      ...[boolean, boolean],
    ]
  ): void {
    if (k === 0) c.clear();
    else {
      const product = { batches, aStride, bStride, m, n, k, transposeA, transposeB };
      products.run(a.pointer, b.pointer, c.pointer, product);
    }
  }

  return {
    matMul,
    // On the matrix units the dense product is faster than additions chosen by spikes.
    spikeMatMul(
      x: DeviceArray,
      weight: DeviceArray,
      y: DeviceArray,
      m: number,
      k: number,
      n: number,
    ): void {
      matMul(x, weight, y, 1, 0, 0, m, n, k, false, false);
    },
  } as unknown as Kernels;
}

/** `MatrixProducts.rounded`: values in memory of half their size, for the time of a product. */
export const roundedToBf16 =
  (device: Device): MatrixProducts['rounded'] =>
  (values, count, use) => {
    const pairs = Math.ceil(count / 2);
    device.backend.scratch(pairs, (rounded) => {
      const kernel = device.kernel('elementwise', 'roundToBf16', 'ppll');
      device.walk(kernel, pairs, [values, rounded, count, pairs]);
      use(rounded.pointer);
    });
  };

import type { Kernels } from '../../native/addon.js';
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

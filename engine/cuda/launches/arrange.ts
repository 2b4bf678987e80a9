import type { Kernels } from '../../native/addon.js';
import type { Device } from '../device.js';
import type { DeviceArray } from '../memory.js';
import { axesOf, axesTypes } from './axes.js';

/** `source/arrange.cu`. */
export function arrange(device: Device): Kernels {
  const { backend } = device;
  function copy(
    x: DeviceArray,
    y: DeviceArray,
    dims: Int32Array,
    rank: number,
    xOffset: number,
    yOffset: number,
  ): void {
    const from = x.pointer + 4 * xOffset;
    const to = y.pointer + 4 * yOffset;
    let n = 1;
    for (let d = 0; d < rank; d++) n *= dims[3 * d];
    if (n === 0) return;
    if (rank === 1 && dims[1] === 1 && dims[2] === 1) {
      backend.driver.copy(to, from, 4 * n);
      return;
    }
    const plane = transposition(dims, rank);
    if (plane !== undefined) {
      const { planes, rows, columns } = plane;
      const kernel = device.kernel('arrange', 'transposePlanes', 'ppiil');
      const grid = [
        Math.ceil(columns / 32),
        Math.ceil(rows / 32),
        Math.min(planes, 65535),
      ] as const;
      device.launch(kernel, grid, [32, 8], [from, to, rows, columns, planes]);
      return;
    }
    const kernel = device.kernel('arrange', 'copyAxes', `pp${axesTypes}l`);
    device.walk(kernel, n, [from, to, ...axesOf(dims, rank), n]);
  }

  return {
    copy,
    transposeMatrix(x: DeviceArray, y: DeviceArray, rows: number, columns: number): void {
      copy(x, y, Int32Array.of(columns, 1, rows, rows, columns, 1), 2, 0, 0);
    },
    gather(
      x: DeviceArray,
      indices: DeviceArray,
      y: DeviceArray,
      batches: number,
      outer: number,
      extent: number,
      width: number,
    ): void {
      const kernel = device.kernel('arrange', 'gather', 'pppllll' + 'l');
      const chosen = batches === 0 ? 0 : indices.length / batches;
      device.walk(kernel, y.length, [x, indices, y, outer, extent, width, chosen, y.length]);
    },
    segmentSum(x: DeviceArray, segments: DeviceArray, y: DeviceArray, width: number): void {
      const kernel = device.kernel('arrange', 'segmentSum', 'pppll' + 'i');
      const count = width === 0 ? 0 : y.length / width;
      device.walk(kernel, width, [x, segments, y, segments.length, width, count]);
    },
    cutPatches(
      frames: DeviceArray,
      patches: DeviceArray,
      _count: number,
      ...[channels, height, width, size, back]: [number, number, number, number, boolean]
    ): void {
      const kernel = device.kernel('arrange', 'cutPatches', 'ppiiiiil');
      const [from, to] = back ? [patches, frames] : [frames, patches];
      const n = frames.length;
      device.walk(kernel, n, [from, to, channels, height, width, size, back ? 1 : 0, n]);
    },
  } as unknown as Kernels;
}

/** Whether axes are planes whose two inner axes change places; rows and columns as they lie in x. */
function transposition(
  dims: Int32Array,
  rank: number,
): { planes: number; rows: number; columns: number } | undefined {
  if (rank !== 2 && rank !== 3) return undefined;
  const at = 3 * (rank - 2);
  // In the order of y: its outer axis runs along x's columns, its inner one along x's rows.
  const [columns, fromColumn, toColumn] = dims.subarray(at, at + 3);
  const [rows, fromRow, toRow] = dims.subarray(at + 3, at + 6);
  const whole = fromColumn === 1 && fromRow === columns && toColumn === rows && toRow === 1;
  if (!whole || Math.ceil(rows / 32) > 65535) return undefined;
  if (rank === 2) return { planes: 1, rows, columns };
  const [planes, from, to] = dims;
  return from === rows * columns && to === from ? { planes, rows, columns } : undefined;
}

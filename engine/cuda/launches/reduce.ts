import type { Kernels } from '../../native/addon.js';
import type { Device } from '../device.js';
import type { DeviceArray } from '../memory.js';

/** Reduces the middle axis of [outer, reduced, inner] by a kernel family of `source/reduce.cu`. */
export function reduce(
  device: Device,
  name: string,
  x: DeviceArray,
  y: DeviceArray,
  [outer, reduced, inner]: readonly [number, number, number],
  scale: number,
): void {
  if (outer * inner === 0) return;
  const { backend } = device;
  const { multiprocessors } = backend.driver;
  const columnBlocks = Math.ceil(inner / 32);
  // Few results of many values: in pieces first, so that the whole device works.
  const wanted = Math.floor((4 * multiprocessors) / (outer * columnBlocks));
  const pieces = Math.max(1, Math.min(wanted, Math.floor(reduced / 256)));
  if (inner === 1 && (pieces === 1 || outer >= multiprocessors)) {
    const threads = reduced >= 1024 ? 256 : reduced >= 128 ? 128 : 32;
    const kernel = device.kernel('reduce', `${name}Rows`, 'pplfl');
    device.launch(kernel, [Math.min(outer, 65535)], [threads], [x, y, reduced, scale, outer]);
    return;
  }
  if (inner === 1 && reduced % pieces === 0) {
    // Pieces of a row are rows of a shorter one.
    backend.scratch(outer * pieces, (part) => {
      reduce(device, name, x, part, [outer * pieces, reduced / pieces, 1], 1);
      reduce(device, name, part, y, [outer, pieces, 1], scale);
    });
    return;
  }
  const columns = (
    from: DeviceArray,
    to: DeviceArray,
    [length, parts, factor]: readonly [number, number, number],
  ): void => {
    const kernel = device.kernel('reduce', `${name}Columns`, 'pplllf');
    const grid = [columnBlocks * outer, parts] as const;
    device.launch(kernel, grid, [32, 8], [from, to, length, inner, parts, factor]);
  };
  if (pieces === 1) {
    columns(x, y, [reduced, 1, scale]);
  } else {
    backend.scratch(outer * pieces * inner, (part) => {
      columns(x, part, [reduced, pieces, 1]);
      columns(part, y, [pieces, 1, scale]);
    });
  }
}

/** `source/reduce.cu`. */
export function reductions(device: Device): Kernels {
  const reduction =
    (name: string) =>
    (
      x: DeviceArray,
      y: DeviceArray,
      outer: number,
      reduced: number,
      inner: number,
      scale: number,
    ) =>
      reduce(device, name, x, y, [outer, reduced, inner], scale);

  return {
    Sum: reduction('Sum'),
    Prod: reduction('Prod'),
    Max: reduction('Max'),
    Min: reduction('Min'),
    softmax(x: DeviceArray, y: DeviceArray, rows: number, n: number): void {
      if (rows * n === 0) return;
      const kernel = device.kernel('reduce', 'softmax', 'ppll');
      const threads = n >= 256 ? 256 : 32;
      device.launch(kernel, [Math.min(rows, 65535)], [threads], [x, y, n, rows]);
    },
    countSpikes(x: DeviceArray, counts: DeviceArray): void {
      device.launch(
        device.kernel('reduce', 'countSpikes', 'ppl'),
        [1],
        [1024],
        [x, counts, x.length],
      );
    },
    crossEntropyForward(
      logits: DeviceArray,
      targets: DeviceArray,
      loss: DeviceArray,
      rows: number,
      classes: number,
    ): void {
      const kernel = device.kernel('reduce', 'crossEntropyForward', 'pppli');
      device.walk(kernel, 32 * rows, [logits, targets, loss, rows, classes]);
    },
    crossEntropyBackward(
      logits: DeviceArray,
      targets: DeviceArray,
      dLoss: DeviceArray,
      dLogits: DeviceArray,
      dTargets: DeviceArray,
      rows: number,
      classes: number,
    ): void {
      const kernel = device.kernel('reduce', 'crossEntropyBackward', 'pppppli');
      device.walk(kernel, 32 * rows, [logits, targets, dLoss, dLogits, dTargets, rows, classes]);
    },
  } as unknown as Kernels;
}

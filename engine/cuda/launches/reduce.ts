import type { Kernels } from '../../native/addon.js';
import { blockThreads, type Device } from '../device.js';
import type { DeviceArray } from '../memory.js';

/** Rows of more values than this have a block each, shorter ones a warp at most. */
const longRow = 1024;

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
  const busy = 8 * backend.driver.multiprocessors;
  /** Pieces of the axis: few results of many values come in two stages, so that the whole device works. */
  const inPieces = (
    count: number,
    run: (to: DeviceArray, count: number, scale: number) => void,
  ) => {
    if (count === 1) run(y, 1, scale);
    else {
      backend.scratch(outer * count * inner, (part) => {
        run(part, count, 1);
        reduce(device, name, part, y, [outer, count, inner], scale);
      });
    }
  };
  if (inner === 1 && reduced <= longRow) {
    const group = Math.min(32, 2 ** Math.ceil(Math.log2(Math.max(1, reduced / 4))));
    const kernel = device.kernel('reduce', `${name}Rows`, 'pplifl');
    const blocks = Math.min(65535, Math.ceil((outer * group) / blockThreads));
    device.launch(kernel, [blocks], [blockThreads], [x, y, reduced, group, scale, outer]);
    return;
  }
  if (inner === 1) {
    const wanted = Math.min(Math.floor(busy / outer), Math.floor(reduced / (2 * longRow)));
    inPieces(Math.max(1, wanted), (to, pieces, factor) => {
      const kernel = device.kernel('reduce', `${name}Pieces`, 'ppllfl');
      const blocks = Math.min(65535, outer * pieces);
      device.launch(kernel, [blocks], [blockThreads], [x, to, reduced, pieces, factor, outer]);
    });
    return;
  }
  const width = inner >= 32 ? 32 : 2 ** Math.ceil(Math.log2(inner));
  const rows = blockThreads / width;
  const columnBlocks = outer * Math.ceil(inner / width);
  const wanted = Math.min(Math.floor(busy / columnBlocks), Math.floor(reduced / (32 * rows)));
  inPieces(Math.max(1, wanted), (to, pieces, factor) => {
    const kernel = device.kernel('reduce', `${name}Columns`, 'pplllf');
    const values = [x, to, reduced, inner, pieces, factor];
    device.launch(kernel, [columnBlocks, pieces], [width, rows], values);
  });
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
    cumulativeSum(
      x: DeviceArray,
      y: DeviceArray,
      ...[outer, length, inner, exclusive, reverse]: [number, number, number, boolean, boolean]
    ): void {
      const settings = [Number(exclusive), Number(reverse), outer * inner];
      if (inner === 1 && length > 32 && outer > 0) {
        const kernel = device.kernel('reduce', 'cumulativeSumRows', 'ppliil');
        const values = [x, y, length, ...settings];
        device.launch(kernel, [Math.min(outer, 65535)], [blockThreads], values);
      } else {
        const kernel = device.kernel('reduce', 'cumulativeSum', 'ppllii' + 'l');
        device.walk(kernel, outer * inner, [x, y, length, inner, ...settings]);
      }
    },
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

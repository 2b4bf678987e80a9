import type { Kernels } from '../../native/addon.js';
import type { Device } from '../device.js';
import type { DeviceArray } from '../memory.js';

/** What the device has of a list of rows: the list, and for each row the places at which it is taken. */
interface Lists {
  readonly rows: number;
  readonly lists: number;
  readonly index: DeviceArray;
  readonly bounds: DeviceArray;
  readonly places: DeviceArray;
}

/**
 * `gatherRows` and `sumTaken` of `source/arrange.cu`, for engine/ops/gatherRows.ts: `gatherRows(x, index, y, groups, rows,
 * width, lists)` and `gatherRowsGradient(dy, index, dx, groups, rows, width, lists)`, where `index` is the op's, on the
 * host. It is sent once, and its memory given back when nobody has it any more.
 */
export function gatherRows(device: Device): Kernels {
  const { backend } = device;
  const known = new WeakMap<Int32Array, Lists>();
  const forgotten = new FinalizationRegistry<object[]>((held) => {
    for (const dataId of held) backend.disposeData(dataId);
  });
  /** As a tensor, which the backend can send while a graph is recorded as well. */
  function send(values: Int32Array): { array: DeviceArray; dataId: object } {
    const info = backend.makeTensorInfo([values.length], 'int32', values);
    return { array: backend.values(info), dataId: info.dataId };
  }
  function sent(index: Int32Array, rows: number, lists: number): Lists {
    let found = known.get(index);
    if (found?.rows !== rows || found.lists !== lists) {
      const { bounds, places } = placesOf(index, rows, lists);
      // A copy: the backend keeps what it is given, and nobody would ever be done with the list itself.
      const parts = [index.slice(), bounds, places].map(send);
      const [ofIndex, ofBounds, ofPlaces] = parts.map(({ array }) => array);
      found = { rows, lists, index: ofIndex, bounds: ofBounds, places: ofPlaces };
      known.set(index, found);
      forgotten.register(
        index,
        parts.map(({ dataId }) => dataId),
      );
    }
    return found;
  }

  return {
    gatherRows(
      x: DeviceArray,
      index: Int32Array,
      y: DeviceArray,
      ...[, rows, width, lists]: [number, number, number, number]
    ): void {
      const kernel = device.kernel('arrange', 'gatherRows', 'pppiiiil');
      const values = [rows, width, index.length / lists, lists, y.length];
      device.walk(kernel, y.length, [x, sent(index, rows, lists).index, y, ...values]);
    },
    gatherRowsGradient(
      dy: DeviceArray,
      index: Int32Array,
      dx: DeviceArray,
      ...[, rows, width, lists]: [number, number, number, number]
    ): void {
      const kernel = device.kernel('arrange', 'sumTaken', 'ppppiiiil');
      const { bounds, places } = sent(index, rows, lists);
      const values = [rows, width, index.length / lists, lists, dx.length];
      device.walk(kernel, dx.length, [dy, bounds, places, dx, ...values]);
    },
  } as unknown as Kernels;
}

/** For each list, where the places of each row begin, with the end after the last; and the places, row by row. */
function placesOf(
  index: Int32Array,
  rows: number,
  lists: number,
): { bounds: Int32Array; places: Int32Array } {
  const taken = index.length / lists;
  const bounds = new Int32Array(lists * (rows + 1));
  const places = new Int32Array(index.length);
  let next = 0;
  for (let list = 0; list < lists; list++) {
    const of = Array.from({ length: rows }, (): number[] => []);
    for (let i = 0; i < taken; i++) {
      const row = index[list * taken + i];
      if (row >= 0) of[row].push(i);
    }
    of.forEach((found, row) => {
      bounds[list * (rows + 1) + row] = next;
      places.set(found, next);
      next += found.length;
    });
    bounds[list * (rows + 1) + rows] = next;
  }
  return { bounds, places };
}

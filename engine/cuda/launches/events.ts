import type { KernelArray, Kernels } from '../../native/addon.js';
import { eventRepresentations } from '../../ops/eventLoops.js';
import type { Device } from '../device.js';
import type { DeviceArray } from '../memory.js';

/** `source/events.cu`. Events come from the host, as arrays. */
export function events(device: Device): Kernels {
  const { backend } = device;
  function binEvents(
    tUs: Float64Array,
    x: KernelArray,
    y: KernelArray,
    polarity: KernelArray,
    rows: KernelArray,
    columns: KernelArray,
    out: DeviceArray,
    ...[bins, height, width, fromUs, toUs, kind]: [
      ...[number, number, number, number, number, number],
      boolean,
    ]
  ): void {
    if (tUs.length === 0) return;
    if (backend.driver.capturing) {
      throw new Error('events are binned while a graph is recorded, which would replay these');
    }
    const parts = [tUs, x, y, polarity, rows, columns, Float64Array.of(fromUs, toUs)];
    const { bytes, offsets } = packed(parts);
    backend.scratch(bytes.length / 4, (given) => {
      backend.uploads.send(given.pointer, bytes);
      const settings = [bins, width, height * width, tUs.length];
      const from = [...offsets.map((offset) => given.pointer + offset), ...settings];
      const types = 'pppppppiiil';
      if (eventRepresentations[kind] !== 'voxel') {
        const kernel = device.kernel('events', 'binEvents', `${types}ip`);
        device.walk(kernel, tUs.length, [...from, kind, out]);
        return;
      }
      backend.scratch(2 * out.length, (sums) => {
        sums.clear();
        device.walk(device.kernel('events', 'addVoxels', `${types}p`), tUs.length, [...from, sums]);
        const kernel = device.kernel('events', 'voxelsOf', 'ppl');
        device.walk(kernel, out.length, [sums, out, out.length]);
      });
    });
  }

  return { binEvents } as unknown as Kernels;
}

/** Arrays one after the other, each from a multiple of 8 bytes on: one upload for all. */
function packed(parts: readonly ArrayBufferView[]): { bytes: Uint8Array; offsets: number[] } {
  let length = 0;
  const offsets = parts.map(({ byteLength }) => {
    const offset = length;
    length += Math.ceil(byteLength / 8) * 8;
    return offset;
  });
  const bytes = new Uint8Array(length);
  parts.forEach(({ buffer, byteOffset, byteLength }, i) =>
    bytes.set(new Uint8Array(buffer, byteOffset, byteLength), offsets[i]),
  );
  return { bytes, offsets };
}

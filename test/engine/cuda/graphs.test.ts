import { beforeEach, describe, expect, it } from 'vitest';

import { CudaBackend } from '../../../engine/cuda/backend.js';
import type { Driver } from '../../../engine/cuda/driver.js';

/** A device with memory and without kernels, whose copies can be recorded. */
function fakeDevice() {
  const blocks = new Map<number, Uint8Array>();
  const done: string[] = [];
  let next = 0;
  let recorded: (() => void)[] | undefined;
  const place = (pointer: number, bytes: number): Uint8Array =>
    blocks.get(pointer)!.subarray(0, bytes);
  const bytesOf = ({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array =>
    new Uint8Array(buffer, byteOffset, byteLength);
  const start = (name: string, run: () => void): void => {
    if (recorded === undefined) {
      done.push(name);
      run();
    } else recorded.push(run);
  };
  const onlyOutside = (name: string): void => {
    if (recorded !== undefined) throw new Error(`${name} while a graph is recorded`);
    done.push(name);
  };
  const driver = {
    capturing: false,
    allocate: (bytes: number) => {
      blocks.set((next += 1 << 20), new Uint8Array(bytes));
      return next;
    },
    free: (pointer: number) => void blocks.delete(pointer),
    synchronise: () => onlyOutside('synchronise'),
    memory: () => ({ free: 0, total: 0 }),
    clear: (pointer: number, bytes: number) => start('clear', () => place(pointer, bytes).fill(0)),
    copy: (to: number, from: number, bytes: number) =>
      start('copy', () => place(to, bytes).set(place(from, bytes))),
    upload(pointer: number, values: ArrayBufferView) {
      onlyOutside('upload');
      place(pointer, values.byteLength).set(bytesOf(values));
    },
    uploadNow(pointer: number, values: ArrayBufferView) {
      place(pointer, values.byteLength).set(bytesOf(values));
    },
    download(values: ArrayBufferView, pointer: number) {
      onlyOutside('download');
      bytesOf(values).set(place(pointer, values.byteLength));
    },
    capture(run: () => void) {
      const launches: (() => void)[] = [];
      recorded = launches;
      driver.capturing = true;
      try {
        run();
      } finally {
        recorded = undefined;
        driver.capturing = false;
      }
      return { launch: () => launches.forEach((launch) => launch()), destroy: () => undefined };
    },
  };
  return { driver: driver as unknown as Driver, done };
}

describe('graphs of the backend', () => {
  let backend: CudaBackend;
  let done: string[];
  const tensor = (...values: number[]) =>
    backend.makeTensorInfo([values.length], 'float32', Float32Array.from(values));
  const read = ({ dataId }: { dataId: object }): number[] => [
    ...(backend.readSync(dataId) as Float32Array),
  ];

  beforeEach(() => {
    const device = fakeDevice();
    ({ done } = device);
    backend = new CudaBackend(device.driver);
  });

  it('do nothing while they are recorded, and the same at each replay', () => {
    const [x, y] = [tensor(1, 2), tensor(0, 0)];
    backend.values(x);
    backend.values(y);
    const graph = backend.capture(() => backend.assign(y, x));
    expect(read(y)).toEqual([0, 0]);
    graph.replay();
    expect(read(y)).toEqual([1, 2]);
    backend.assign(x, tensor(5, 6));
    graph.replay();
    expect(read(y)).toEqual([5, 6]);
    graph.dispose();
  });

  it('keep constants of the host, zeros too, where nobody else writes', () => {
    const y = tensor(7, 7);
    backend.values(y);
    for (const values of [
      [3, 4],
      [0, 0],
    ]) {
      const graph = backend.capture(() => {
        // Gives a block up that each replay writes: it is no place for a constant.
        const before = backend.output([2]);
        before.values.set(backend.values(y));
        backend.disposeData(before.dataId);
        const constant = tensor(...values);
        backend.assign(y, constant);
        backend.disposeData(constant.dataId);
        // Would have the constant's memory, were it free.
        backend.output([2]).values.set(backend.values(tensor(9, 9)));
      });
      const other = backend.output([2]);
      backend.assign(other, tensor(8, 8));
      graph.replay();
      expect(read(y)).toEqual(values);
      graph.replay();
      expect(read(y)).toEqual(values);
      graph.dispose();
    }
  });

  it('are not made where something is read: the error names the kernel, and work goes on', () => {
    const x = tensor(1, 2);
    backend.values(x);
    const { usedBytes } = backend.memoryPool.use();
    expect(() =>
      backend.capture(() => {
        const y = backend.output([2]);
        y.values.set(backend.values(x));
        backend.running = 'Where';
        try {
          backend.readSync(y.dataId);
        } finally {
          backend.disposeData(y.dataId);
        }
      }),
    ).toThrow(/^Where reads a tensor on the host while a graph is recorded/);
    expect(backend.driver.capturing).toBe(false);
    expect(backend.memoryPool.use().usedBytes).toBe(usedBytes);
    expect(read(x)).toEqual([1, 2]);
    expect(backend.capture(() => undefined)).toBeDefined();
  });

  it('change tensors in place only where nobody shares their memory', () => {
    const x = tensor(1, 2);
    const own = backend.own(x);
    expect(own.dataId).toBe(x.dataId);
    backend.disposeData(own.dataId);
    const shared = backend.share(x, [2, 1]);
    const copy = backend.own(x);
    expect(copy.dataId).not.toBe(x.dataId);
    backend.assign(copy, tensor(3, 4));
    expect(read(shared)).toEqual([1, 2]);
    expect(done).not.toContain('synchronise');
  });
});

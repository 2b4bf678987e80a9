import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import type { Driver } from '../../../engine/cuda/driver.js';
import { DeviceMemory } from '../../../engine/cuda/memory.js';
import { Uploads } from '../../../engine/cuda/uploads.js';

const spacing = 1 << 20;

/** A device whose streams go on only when they are told to, in any order that events allow. */
function fakeDevice() {
  const blocks = new Map<number, Uint8Array>();
  const streams = new Map<unknown, { isReady: () => boolean; run: () => void }[]>([['main', []]]);
  const marked = new Map<bigint, number>();
  const reached = new Map<bigint, number>();
  const log: string[] = [];
  const place = (pointer: number, bytes: number): Uint8Array =>
    blocks.get(pointer - (pointer % spacing))!.subarray(pointer % spacing, (pointer % spacing) + bytes); // prettier-ignore
  const start = (stream: unknown, run: () => void, isReady = () => true): void =>
    void streams.get(stream)!.push({ isReady, run });
  /** Does one thing of a stream, if there is one that can be done. */
  const advance = (stream: unknown): boolean => {
    const [first] = streams.get(stream)!;
    if (first?.isReady() !== true) return false;
    streams.get(stream)!.shift();
    first.run();
    return true;
  };
  const advanceAny = (): boolean => [...streams.keys()].some(advance);
  let next = 0;
  const driver = {
    stream: 'main',
    allocate(bytes: number) {
      blocks.set((next += spacing), new Uint8Array(bytes));
      return next;
    },
    pin: (bytes: number) => ({ address: 0n, bytes: new Uint8Array(bytes) }),
    unpin: ({ bytes }: { bytes: Uint8Array }) => bytes.fill(254),
    createStream() {
      streams.set(1n, []);
      return 1n;
    },
    createEvent: () => BigInt((next += spacing)),
    mark(event: bigint, stream: unknown) {
      const turn = (marked.get(event) ?? 0) + 1;
      marked.set(event, turn);
      start(stream, () => reached.set(event, turn));
    },
    follow(stream: unknown, event: bigint) {
      const turn = marked.get(event) ?? 0;
      start(stream, () => undefined, () => (reached.get(event) ?? 0) >= turn); // prettier-ignore
    },
    await(event: bigint) {
      log.push('await');
      while ((reached.get(event) ?? 0) < (marked.get(event) ?? 0)) {
        if (!advanceAny()) throw new Error('waits for ever');
      }
    },
    synchronise: () => log.push('synchronise'),
    upload(pointer: number, values: Uint8Array) {
      if (values.byteLength > 65536) throw new Error('more than the driver takes at once');
      const taken = values.slice();
      start('main', () => place(pointer, taken.length).set(taken));
    },
    uploadPinned(pointer: number, { bytes }: { bytes: Uint8Array }, count: number, stream: bigint) {
      start(stream, () => {
        place(pointer, count).set(bytes.subarray(0, count));
        log.push('filled');
      });
    },
    copy: (to: number, from: number, bytes: number) =>
      start('main', () => place(to, bytes).set(place(from, bytes))),
  };
  return { driver: driver as unknown as Driver, streams, start, advance, advanceAny, place, log };
}

describe('uploads', () => {
  it('are what was sent, in the order of the stream, however the device goes on', () => {
    const send = fc.record({
      length: fc.integer({ min: 1, max: 250_000 }),
      // How far streams are when the next one is sent.
      turns: fc.array(fc.boolean(), { maxLength: 12 }),
    });
    fc.assert(
      fc.property(fc.array(send, { minLength: 1, maxLength: 7 }), (sends) => {
        const { driver, start, advance, advanceAny, place, log } = fakeDevice();
        const memory = new DeviceMemory(driver);
        const uploads = new Uploads(driver, memory, 100_000);
        const target = memory.allocate('bool', 250_000, () => 'a test');
        const found: Uint8Array[] = [];
        const source = new Uint8Array(250_000);
        sends.forEach(({ length, turns }, i) => {
          source.fill(i + 1, 0, length);
          uploads.send(target.pointer, source.subarray(0, length));
          source.fill(255);
          // What is computed with it.
          start('main', () => found.push(place(target.pointer, length).slice()));
          for (const isMain of turns) advance(isMain || length <= 65536 ? 'main' : 1n);
        });
        while (advanceAny());
        expect(found.map(({ length }) => length)).toEqual(sends.map(({ length }) => length));
        found.forEach((bytes, i) => expect(bytes.every((byte) => byte === i + 1)).toBe(true));
        uploads.dispose();
        memory.release(target);
        expect(memory.use().usedBytes).toBe(0);
        expect(log).not.toContain('synchronise');
      }),
      { numRuns: 60 },
    );
  });

  it('reach the device while the stream before them still computes', () => {
    const { driver, streams, start, advance, advanceAny, place, log } = fakeDevice();
    const memory = new DeviceMemory(driver);
    const uploads = new Uploads(driver, memory);
    const target = memory.allocate('float32', 50_000, () => 'a test');
    const values = new Float32Array(50_000);
    // From the second round on, the buffers are there.
    for (const value of [1, 2, 3, 4]) uploads.send(target.pointer, values.fill(value));
    while (advanceAny());
    log.length = 0;
    let isDone = false;
    start('main', () => (isDone = true));
    uploads.send(target.pointer, values.fill(5));
    uploads.send(target.pointer, values.fill(6));
    while (advance(1n));
    expect(isDone).toBe(false);
    expect(log).toEqual(['await', 'await', 'filled', 'filled']);
    expect(streams.get('main')!.length).toBeGreaterThan(0);
    while (advanceAny());
    const { buffer, byteOffset } = place(target.pointer, 200_000);
    expect(new Set(new Float32Array(buffer, byteOffset, 50_000))).toEqual(new Set([6]));
  });
});

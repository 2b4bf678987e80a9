import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import type { Driver } from '../../../engine/cuda/driver.js';
import { type DeviceArray, DeviceMemory } from '../../../engine/cuda/memory.js';

/** A device with so many bytes. */
function fakeDevice(totalBytes: number) {
  const blocks = new Map<number, number>();
  let next = 4096;
  const used = (): number => [...blocks.values()].reduce((a, b) => a + b, 0);
  return {
    blocks,
    driver: {
      allocate(bytes: number) {
        if (used() + bytes > totalBytes) return undefined;
        blocks.set((next += 1 << 30), bytes);
        return next;
      },
      free: (pointer: number) => void blocks.delete(pointer),
      synchronise: () => undefined,
      memory: () => ({ free: totalBytes - used(), total: totalBytes }),
    } as unknown as Driver,
  };
}

describe('device memory', () => {
  it('never hands a block to two arrays at once, and counts what is in use', () => {
    const step = fc.record({ length: fc.integer({ min: 0, max: 100_000 }), release: fc.nat() });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const { driver, blocks } = fakeDevice(1 << 30);
        const memory = new DeviceMemory(driver);
        const live: DeviceArray[] = [];
        for (const { length, release } of steps) {
          const array = memory.allocate('float32', length, () => 'a test');
          expect(array.length).toBe(length);
          if (length > 0) {
            expect(live.map(({ pointer }) => pointer)).not.toContain(array.pointer);
            expect(blocks.get(array.pointer)).toBeGreaterThanOrEqual(4 * length);
            live.push(array);
          }
          if (release % 2 === 0 && live.length > 0) {
            memory.release(live.splice(release % live.length, 1)[0]);
          }
          const inUse = live.reduce((sum, { pointer }) => sum + blocks.get(pointer)!, 0);
          expect(memory.use().usedBytes).toBe(inUse);
        }
        for (const array of live) memory.release(array);
        expect(memory.use().usedBytes).toBe(0);
      }),
    );
  });

  it('uses a released block again, and takes nothing new for the same sizes', () => {
    const { driver } = fakeDevice(1 << 30);
    const memory = new DeviceMemory(driver);
    const round = (): void => {
      const arrays = [10, 3000, 500_000].map((n) => memory.allocate('float32', n, () => 'a test'));
      arrays.forEach((array) => memory.release(array));
    };
    round();
    const { reservedBytes } = memory.use();
    for (let i = 0; i < 20; i++) round();
    expect(memory.use().reservedBytes).toBe(reservedBytes);
  });

  it('gives waiting blocks back before it says that there is no room, and goes on afterwards', () => {
    const { driver } = fakeDevice(1 << 20);
    const memory = new DeviceMemory(driver);
    const first = memory.allocate('float32', 150_000, () => 'first');
    memory.release(first);
    // Another size, for which the waiting block has to go.
    const second = memory.allocate('float32', 200_000, () => 'second');
    expect(() => memory.allocate('float32', 200_000, () => 'Add with [200000]')).toThrow(
      /out of GPU memory: Add with \[200000\] needs 8\d+ bytes/,
    );
    memory.release(second);
    expect(memory.allocate('float32', 200_000, () => 'third').length).toBe(200_000);
  });

  it('keeps the blocks of a recorded graph to itself until they are given back', () => {
    const { driver } = fakeDevice(1 << 30);
    const memory = new DeviceMemory(driver);
    const { result, giveBack } = memory.setAside(() => {
      const array = memory.allocate('float32', 1000, () => 'a graph');
      memory.release(array);
      return array.pointer;
    });
    const other = memory.allocate('float32', 1000, () => 'a test');
    expect(other.pointer).not.toBe(result);
    giveBack();
    expect(memory.allocate('float32', 1000, () => 'a test').pointer).toBe(result);
  });

  it('gives a graph the blocks that wait, and never those again that it has touched', () => {
    const { driver } = fakeDevice(1 << 30);
    const memory = new DeviceMemory(driver);
    const take = (): DeviceArray => memory.allocate('float32', 1000, () => 'a test');
    const [first, input] = [take(), take()];
    memory.release(first);
    const { reservedBytes } = memory.use();
    const { result, giveBack } = memory.setAside(() => {
      const temporary = take();
      expect(temporary.pointer).toBe(first.pointer);
      memory.release(temporary);
      const constant = memory.allocateFixed('float32', 1000, () => 'a test');
      // Given up, but read by each replay.
      memory.release(constant);
      memory.release(input);
      return { constant, kept: take() };
    });
    expect(result.kept.pointer).not.toBe(result.constant.pointer);
    const touched = [first, input, result.constant, result.kept].map(({ pointer }) => pointer);
    memory.release(result.kept);
    const others = [take(), take(), take()];
    for (const { pointer } of others) expect(touched).not.toContain(pointer);
    expect(memory.use().reservedBytes).toBeGreaterThan(reservedBytes);
    for (const other of others) memory.release(other);
    giveBack();
    const again = Array.from({ length: 6 }, take);
    expect(again.map(({ pointer }) => pointer)).toEqual(expect.arrayContaining(touched));
  });

  it('keeps what a graph has touched when there is no room while it is recorded', () => {
    const { driver, blocks } = fakeDevice(1 << 20);
    const memory = new DeviceMemory(driver);
    const { giveBack } = memory.setAside(() => {
      const small = memory.allocate('float32', 150_000, () => 'a graph');
      memory.release(small);
      expect(() => memory.allocate('float32', 200_000, () => 'a graph')).toThrow(/out of GPU/);
      expect(blocks.has(small.pointer)).toBe(true);
    });
    giveBack();
    expect(memory.allocate('float32', 200_000, () => 'a test').length).toBe(200_000);
  });
});

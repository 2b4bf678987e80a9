import { describe, expect, it } from 'vitest';
import { createRandom } from '../../../engine/support/random.js';
import { nmnist } from '../../../ingest/formats/nmnist.js';
import { describeFormat } from '../formatConformance.js';
import { decodeBytes, encodeRows } from '../streams.js';

const sensor = { width: 34, height: 34 };

describeFormat(nmnist, {
  sensor,
  firstUs: [0, 2 ** 25],
  stepUs: [-100_000, 2 ** 24],
  lowestUs: 2 ** 25,
  headerLength: 0,
});

describe('nmnist', () => {
  it('reads 5-byte events, and adds 2^13 µs for each row 240', async () => {
    const bytes = Uint8Array.of(7, 15, 0x80, 2, 0x8e, 0, 240, 0, 0, 0, 33, 1, 0x7f, 255, 255);
    const { rows } = await decodeBytes(nmnist, bytes);
    expect(rows).toEqual([
      [654, 7, 15, 1],
      [2 ** 13 + 2 ** 23 - 1, 33, 1, 0],
    ]);
  });

  it('is not seen in noise or in a file of another record length', async () => {
    const random = createRandom(1, 'noise');
    const noise = Uint8Array.from({ length: 500 }, () => random.integer(200));
    expect(nmnist.detect({ head: noise, extension: 'bin' })).toBe(0);
    const head = await encodeRows(nmnist, sensor, [[1, 2, 3, 1]]);
    expect(nmnist.detect({ head, extension: 'bin' })).toBeGreaterThan(nmnist.detect({ head }));
    expect(nmnist.detect({ head, fileSize: 1001 })).toBe(0);
  });

  it('refuses what it cannot hold', async () => {
    const large = { width: 304, height: 260 };
    await expect(encodeRows(nmnist, large, [[1, 256, 0, 1]])).rejects.toThrow(/x to 255/);
    await expect(encodeRows(nmnist, large, [[1, 0, 240, 1]])).rejects.toThrow(/y to 239/);
    await expect(encodeRows(nmnist, large, [[-1, 0, 0, 1]])).rejects.toThrow(/below zero/);
    await expect(encodeRows(nmnist, large, [[1e15, 0, 0, 1]])).rejects.toThrow(/shift the times/);
  });
});

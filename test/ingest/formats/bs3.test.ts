import { describe, expect, it } from 'vitest';
import { bs3 } from '../../../ingest/formats/bs3.js';
import { describeFormat } from '../formatConformance.js';
import { decodeBytes, encodeRows } from '../streams.js';

const sensor = { width: 1280, height: 720 };

describe('recordings', () => {
  describeFormat(bs3, {
    sensor,
    firstUs: [0, 2 ** 20],
    stepUs: [-(2 ** 20), 2 ** 17],
    lowestUs: 0,
    headerLength: 0,
  });
});

describe('bs3', () => {
  it('reads 12 bits of x and y, 8 of channel and 24 of time', async () => {
    const bytes = new Uint8Array([
      ...[0x4f, 0xf2, 0xcf, 1, 0xff, 0xff, 0xfe],
      ...[0x00, 0x10, 0x02, 0, 0x01, 0x02, 0x03],
      ...[0x00, 0x10, 0x02, 2, 0x01, 0x02, 0x03],
    ]);
    const { rows, report } = await decodeBytes(bs3, bytes);
    expect(rows).toEqual([
      [0xfffffe, 0x4ff, 0x2cf, 1],
      [0x010203, 1, 2, 0],
    ]);
    expect(report.skipped).toEqual({ channel: 1 });
  });

  it('refuses times and places that do not fit', async () => {
    for (const row of [
      [-1, 0, 0, 0],
      [2 ** 24, 0, 0, 0],
    ] as const) {
      await expect(encodeRows(bs3, sensor, [row])).rejects.toThrow(/event 0.*2\^24/);
    }
    const large = { width: 4097, height: 1 };
    await expect(encodeRows(bs3, large, [[0, 4096, 0, 0]])).rejects.toThrow(/4095/);
  });

  it('is not seen in bytes of other lengths or channels', () => {
    const detect = (head: Uint8Array): number => bs3.detect({ head, fileSize: head.length });
    expect(detect(new Uint8Array(13))).toBe(0);
    expect(detect(new Uint8Array(14))).toBeGreaterThan(0);
    expect(detect(new Uint8Array(14).fill(9))).toBe(0);
  });
});

import { describe, expect, it } from 'vitest';
import { dat } from '../../../ingest/formats/dat.js';
import { describeFormat, withVariant } from '../formatConformance.js';
import { decodeBytes, encodeRows } from '../streams.js';

const vga = { width: 640, height: 480 };

describe('recordings', async () => {
  describeFormat(dat, {
    sensor: vga,
    firstUs: [0, 2 ** 32 - 1],
    stepUs: [-(2 ** 31) + 1, 2 ** 31 - 1],
    lowestUs: 0,
    headerLength: (await encodeRows(dat, vga, [])).length,
  });

  const version1 = withVariant(dat, '1');
  const atis = { width: 304, height: 240 };
  describeFormat(
    version1,
    {
      sensor: atis,
      firstUs: [0, 2 ** 32 - 1],
      stepUs: [-(2 ** 31) + 1, 2 ** 31 - 1],
      lowestUs: 0,
      headerLength: (await encodeRows(version1, atis, [])).length,
    },
    'as version 1',
  );
});

function file(header: string, start: readonly number[], words: readonly number[]): Uint8Array {
  const data = Buffer.alloc(4 * words.length);
  words.forEach((word, i) => data.writeUInt32LE(word >>> 0, 4 * i));
  return Buffer.concat([Buffer.from(header, 'latin1'), Buffer.from(start), data]);
}

describe('dat', () => {
  it('reads version 2', async () => {
    const header = '% Date 2020-01-01\n% Version 2\n% Height 240\n% Width 304\n';
    const words = [7, 303 | (239 << 14) | (1 << 28), 6, 1 | (2 << 14), 8, 304];
    const bytes = file(header, [0, 8], words);
    const { rows, report, batches } = await decodeBytes(dat, bytes);
    expect(rows).toEqual([
      [7, 303, 239, 1],
      [6, 1, 2, 0],
    ]);
    expect(batches[0].sensor).toEqual({ width: 304, height: 240 });
    expect(report.skipped).toEqual({ outsideSensor: 1 });
    expect(dat.sensorOf!(bytes)).toEqual({ width: 304, height: 240 });
    expect(dat.detect({ head: bytes })).toBeGreaterThan(0.9);
  });

  it('reads version 1, with and without header', async () => {
    const words = [7, 303 | (239 << 9) | (1 << 17), 6, 1 | (2 << 9)];
    const expected = [
      [7, 303, 239, 1],
      [6, 1, 2, 0],
    ];
    const bare = file('', [], words);
    expect((await decodeBytes(dat, bare)).rows).toEqual(expected);
    expect(dat.sensorOf!(bare)).toBeUndefined();
    expect(dat.detect({ head: file('', [], words.slice(0, 2)), fileSize: 8 })).toBeGreaterThan(0.4);
    const withHeader = file('% Version 1\n', [0, 8], words);
    expect((await decodeBytes(dat, withHeader)).rows).toEqual(expected);
  });

  it('writes version 1, for its sensors only', async () => {
    const version1 = withVariant(dat, '1');
    const bytes = await encodeRows(version1, { width: 512, height: 256 }, [[7, 511, 255, 1]]);
    expect(Buffer.from(bytes).toString('latin1')).toMatch(/% Version 1\n/);
    expect(bytes.slice(-10)).toEqual(file('', [12, 8], [7, 511 | (255 << 9) | (1 << 17)]));
    await expect(encodeRows(version1, vga, [])).rejects.toThrow(/version 1 .*512x256, not 640x480/);
    await expect((async () => encodeRows(withVariant(dat, '3'), vga, []))()).rejects.toThrow(
      /variant "3": dat has only 1/,
    );
  });

  it('continues times over the wrap, back and forth', async () => {
    const words = [2 ** 32 - 1, 0, 1, 0, 2 ** 32 - 2, 0, 5, 0];
    const { rows } = await decodeBytes(dat, file('% Version 2\n', [12, 8], words));
    expect(rows.map((row) => row[0])).toEqual([2 ** 32 - 1, 2 ** 32 + 1, 2 ** 32 - 2, 2 ** 32 + 5]);
  });

  it('refuses triggers, other lengths and what has neither header nor records', async () => {
    const header = '% Version 2\n';
    await expect(decodeBytes(dat, file(header, [14, 8], []))).rejects.toThrow(/triggers/);
    await expect(decodeBytes(dat, file(header, [0, 9], []))).rejects.toThrow(/length 9/);
    await expect(decodeBytes(dat, file(header, [0], []))).rejects.toThrow(/ends in front/);
    await expect(decodeBytes(dat, file('', [], [1, -1]))).rejects.toThrow(/expected header/);
  });

  it('refuses times that do not fit', async () => {
    await expect(encodeRows(dat, vga, [[-1, 0, 0, 0]])).rejects.toThrow(/event 0.*32-bit/);
    await expect(encodeRows(dat, vga, [[2 ** 32, 0, 0, 0]])).rejects.toThrow(/event 0.*32-bit/);
    const large = { width: 16_385, height: 1 };
    await expect(encodeRows(dat, large, [])).rejects.toThrow(/16385x1/);
  });
});

import { describe, expect, it } from 'vitest';
import { evt3 } from '../../../ingest/formats/evt3.js';
import { describeFormat } from '../formatConformance.js';
import { decodeBytes, encodeRows, type EventRow } from '../streams.js';

const hd = { width: 1280, height: 720 };

describe('recordings', async () => {
  describeFormat(evt3, {
    sensor: hd,
    firstUs: [0, 2 ** 27],
    stepUs: [-(2 ** 25), 2 ** 27],
    lowestUs: 0,
    headerLength: (await encodeRows(evt3, hd, [])).length,
  });
});

function file(header: string, words: readonly number[]): Uint8Array {
  const data = Buffer.alloc(2 * words.length);
  words.forEach((word, i) => data.writeUInt16LE(word, 2 * i));
  return Buffer.concat([Buffer.from(header, 'latin1'), data]);
}

const header = '% evt 3.0\n% geometry 1280x720\n';
const y = (row: number): number => row;
const x = (column: number, on: number): number => 0x2000 | (on << 11) | column;
const base = (column: number, on: number): number => 0x3000 | (on << 11) | column;
const vector12 = (mask: number): number => 0x4000 | mask;
const vector8 = (mask: number): number => 0x5000 | mask;
const low = (us: number): number => 0x6000 | us;
const high = (value: number): number => 0x8000 | value;

describe('evt3', () => {
  it('reads single events and vectors, and counts what is none', async () => {
    const words = [
      y(5),
      x(1, 1),
      high(1),
      x(2, 1),
      low(7),
      x(1279, 0),
      base(100, 1),
      vector12(0b1000_0000_0001),
      vector8(0b1000_0001),
      vector12(0b10),
      0x7000,
      0xa000,
      0xe000,
      0xf000,
      0x9000,
      x(1280, 0),
      y(720),
      x(3, 0),
    ];
    const { rows, report } = await decodeBytes(evt3, file(header, words));
    expect(rows).toEqual([
      [4096, 2, 5, 1],
      [4103, 1279, 5, 0],
      [4103, 100, 5, 1],
      [4103, 111, 5, 1],
      [4103, 112, 5, 1],
      [4103, 119, 5, 1],
      [4103, 121, 5, 1],
    ]);
    expect(report.skipped).toEqual({
      beforeTimeHigh: 1,
      continued: 2,
      trigger: 1,
      other: 1,
      outsideSensor: 2,
    });
    expect(report.damages).toEqual([
      { offset: header.length + 28, message: expect.stringMatching(/unknown type 0x9/) },
    ]);
  });

  it('keeps the low time at a repeated TIME_HIGH, and low times that step back', async () => {
    const words = [high(3), low(20), x(0, 0), high(3), x(1, 0), low(17), x(2, 0), high(4), x(3, 0)];
    const { rows } = await decodeBytes(evt3, file(header, [y(0), ...words]));
    const times = rows.map(([tUs]) => tUs - 3 * 4096);
    expect(times).toEqual([20, 20, 17, 4096]);
  });

  it('continues over wraps of TIME_HIGH, but takes a flipped top bit as it is', async () => {
    const times = async (values: number[]): Promise<number[]> => {
      const words = values.flatMap((value) => [high(value), x(0, 0)]);
      const { rows } = await decodeBytes(evt3, file(header, [y(0), ...words]));
      return rows.map(([tUs]) => tUs / 4096);
    };
    expect(await times([4095, 0, 1, 4095, 2])).toEqual([4095, 4096, 4097, 4095, 4098]);
    expect(await times([3000, 952, 3001])).toEqual([3000, 952, 3001]);
    expect(await times([10, 2058, 11, 2059, 10])).toEqual([10, 2058, 11, 2059, 10]);
    expect(await times([4000, 30, 4000, 31])).toEqual([4000, 4126, 8096, 8223]);
  });

  it('writes vectors where they are shorter', async () => {
    const row = (xs: number[]): EventRow[] => xs.map((column) => [4096, column, 3, 1]);
    const length = async (xs: number[]): Promise<number> => {
      const rows = row(xs);
      const bytes = await encodeRows(evt3, hd, rows);
      expect((await decodeBytes(evt3, bytes)).rows).toEqual(rows);
      return (bytes.length - (await encodeRows(evt3, hd, [])).length) / 2;
    };
    const time = 3; // TIME_HIGH, TIME_LOW, ADDR_Y
    expect(await length([7])).toBe(time + 1);
    expect(await length([7, 9])).toBe(time + 2);
    expect(await length([7, 9, 18])).toBe(time + 2);
    expect(await length([7, 9, 18, 19, 30])).toBe(time + 3);
    expect(await length([7, 6, 5])).toBe(time + 3);
  });

  it('refuses what does not fit, and names the version of other encodings', async () => {
    await expect(encodeRows(evt3, hd, [[-1, 0, 0, 0]])).rejects.toThrow(/event 0.*below zero/);
    const epoch = 1.6e15;
    await expect(encodeRows(evt3, hd, [[epoch, 0, 0, 0]])).rejects.toThrow(/event 0.*shift/);
    await expect(encodeRows(evt3, { width: 1, height: 2049 }, [])).rejects.toThrow(/1x2049/);
    await expect(decodeBytes(evt3, file('% evt 2.0\n', []))).rejects.toThrow(/found EVT 2\.0/);
  });
});

import { describe, expect, it } from 'vitest';
import { aedat1 } from '../../../ingest/formats/aedat1.js';
import { describeFormat } from '../formatConformance.js';
import { decodeBytes, encodeRows } from '../streams.js';

const sensor = { width: 128, height: 128 };

describe('recordings', async () => {
  describeFormat(aedat1, {
    sensor,
    firstUs: [-(2 ** 31), 2 ** 31 - 1],
    stepUs: [-(2 ** 31) + 1, 2 ** 31 - 1],
    lowestUs: -(2 ** 31),
    headerLength: (await encodeRows(aedat1, sensor, [])).length,
  });
});

function file(header: string, records: readonly (readonly [number, number])[]): Uint8Array {
  const data = Buffer.alloc(6 * records.length);
  records.forEach(([address, time], i) => {
    data.writeUInt16BE(address, 6 * i);
    data.writeInt32BE(time, 6 * i + 2);
  });
  return Buffer.concat([Buffer.from(header, 'latin1'), data]);
}

describe('aedat1', () => {
  const records = [
    [(100 << 8) | (20 << 1) | 1, 5],
    [(127 << 8) | (127 << 1), 6],
    [0x8000, 7],
    [0, 2 ** 31 - 1],
    [0, -(2 ** 31)],
  ] as const;

  it.each([
    '#!AER-DAT1.0\r\n',
    '# This is a raw AE data file - do not edit\r\n# created 2006\r\n',
    '#!AER-DAT1.0\n',
  ])('reads records behind %j', async (header) => {
    const bytes = file(header, records);
    const { rows, report } = await decodeBytes(aedat1, bytes);
    expect(rows).toEqual([
      [5, 20, 100, 0],
      [6, 127, 127, 1],
      [2 ** 31 - 1, 0, 0, 1],
      [2 ** 31, 0, 0, 1],
    ]);
    expect(report.skipped).toEqual({ external: 1 });
    expect(aedat1.detect({ head: bytes })).toBeGreaterThan(0.9);
  });

  it('refuses other versions, larger sensors and times out of range', async () => {
    await expect(decodeBytes(aedat1, file('#!AER-DAT2.0\r\n', []))).rejects.toThrow(/expected/);
    await expect(encodeRows(aedat1, { width: 129, height: 1 }, [])).rejects.toThrow(/129x1/);
    await expect(encodeRows(aedat1, sensor, [[2 ** 31, 0, 0, 0]])).rejects.toThrow(/32-bit/);
  });

  it('takes a record that begins like a header line for data', async () => {
    // 0x23 is '#', 0x0a a line feed; behind lines that end in CR LF, that is no line.
    const bytes = file('#!AER-DAT1.0\r\n', [[0x2320, 0x410a0000]]);
    const { rows } = await decodeBytes(aedat1, bytes);
    expect(rows).toEqual([[0x410a0000, 16, 35, 1]]);
  });
});

import { describe, expect, it } from 'vitest';
import { aedat2 } from '../../../ingest/formats/aedat2.js';
import { describeFormat } from '../formatConformance.js';
import { decodeBytes, encodeRows, type EventRow } from '../streams.js';

const dvs128 = { width: 128, height: 128 };
const davis240 = { width: 240, height: 180 };

describe('DVS128', async () => {
  describeFormat(aedat2, {
    sensor: dvs128,
    firstUs: [-(2 ** 31), 2 ** 31 - 1],
    stepUs: [-100_000, 2 ** 31 - 1],
    lowestUs: -(2 ** 31),
    headerLength: (await encodeRows(aedat2, dvs128, [])).length,
  });
});

describe('DAVIS240', async () => {
  describeFormat(aedat2, {
    sensor: davis240,
    firstUs: [0, 2 ** 31 - 1],
    stepUs: [-100_000, 2 ** 31 - 1],
    lowestUs: 0,
    headerLength: (await encodeRows(aedat2, davis240, [])).length,
  });
});

/** A file of (address, time) words behind header lines. */
function file(header: string, words: readonly (readonly [number, number])[]): Uint8Array {
  const data = Buffer.alloc(8 * words.length);
  words.forEach(([address, time], i) => {
    data.writeUInt32BE(address, 8 * i);
    data.writeInt32BE(time, 8 * i + 4);
  });
  return Buffer.concat([Buffer.from(header, 'latin1'), data]);
}

const davisHeader = '#!AER-DAT2.0\r\n# AEChip: eu.seebetter.ini.chips.davis.DAVIS240C\r\n';

describe('aedat2', () => {
  it('reads DVS128 addresses as stored, with bit 0 set meaning OFF', async () => {
    const address = (100 << 8) | (7 << 1);
    const bytes = file('#!AER-DAT2.0\r\n', [
      [address, 1],
      [address | 1, 2],
    ]);
    const { rows, batches } = await decodeBytes(aedat2, bytes);
    expect(rows).toEqual([
      [1, 7, 100, 1],
      [2, 7, 100, 0],
    ]);
    expect(batches[0].sensor).toEqual(dvs128);
  });

  it('reads DAVIS addresses, with bit 11 set meaning ON, and counts frame, IMU and input words', async () => {
    const address = (150 << 22) | (239 << 12);
    const bytes = file(davisHeader, [
      [address | 0x800, 5],
      [address, 6],
      [0x80000c00, 7],
      [0x80000123, 8],
      [address | 0x400, 9],
      [(200 << 22) | (10 << 12), 10],
    ]);
    const { rows, batches, report } = await decodeBytes(aedat2, bytes);
    expect(rows).toEqual([
      [5, 239, 150, 1],
      [6, 239, 150, 0],
    ]);
    expect(batches[0].sensor).toEqual(davis240);
    expect(report.skipped).toEqual({ imu: 1, aps: 1, external: 1, outsideSensor: 1 });
  });

  it('counts external-input and special words of a DVS128', async () => {
    const bytes = file('#!AER-DAT2.0\r\n', [
      [0x8000, 1],
      [0x80000000, 2],
      [0x00010000, 3],
      [2, 4],
    ]);
    const { rows, report } = await decodeBytes(aedat2, bytes);
    expect(rows).toEqual([[4, 1, 0, 1]]);
    expect(report.skipped).toEqual({ external: 1, special: 2 });
  });

  it('reads headers with either line end', async () => {
    for (const lineEnd of ['\n', '\r\n']) {
      const header = davisHeader.replaceAll('\r\n', lineEnd);
      const { rows } = await decodeBytes(aedat2, file(header, [[(1 << 22) | (2 << 12), 3]]));
      expect(rows).toEqual([[3, 2, 1, 0]]);
    }
  });

  it.each([
    [160, 0],
    [170, 0x0a0a0a0a],
    [130, 0x230a2320],
  ])('is not fooled by data that begins like a header line (x %i)', async (x, tUs) => {
    const address = (140 << 22) | (x << 12) | 0x800;
    expect(address >>> 24).toBe('#'.charCodeAt(0));
    const { rows } = await decodeBytes(aedat2, file(davisHeader, [[address, tUs]]));
    expect(rows).toEqual([[tUs, x, 140, 1]]);
  });

  it('continues times over the wrap of 32 bits, and keeps small backward steps', async () => {
    const bytes = file('#!AER-DAT2.0\r\n', [
      [2, -5],
      [2, 2 ** 31 - 2],
      [2, -(2 ** 31)],
      [2, 2 ** 31 - 1],
      [2, -(2 ** 31) + 10],
      [2, 0],
    ]);
    const { rows } = await decodeBytes(aedat2, bytes);
    const half = 2 ** 31;
    const times = [-5, half - 2, half, half - 1, half + 10, 2 * half];
    expect(rows.map((row) => row[0])).toEqual(times);
  });

  it('takes the smallest camera that holds the sensor, and refuses larger ones', async () => {
    const row: EventRow[] = [[1, 2, 3, 1]];
    const sizeFor = async (width: number, height: number): Promise<unknown> =>
      aedat2.sensorOf!(await encodeRows(aedat2, { width, height }, row));
    expect(await sizeFor(34, 34)).toEqual(dvs128);
    expect(await sizeFor(129, 100)).toEqual(davis240);
    expect(await sizeFor(346, 260)).toEqual({ width: 346, height: 260 });
    await expect(sizeFor(640, 480)).rejects.toThrow(/up to 346x260, not 640x480/);
  });

  it('names a camera it does not know, and an event whose time does not fit', async () => {
    const bytes = file('#!AER-DAT2.0\r\n# AEChip: some.Cochlea\r\n', []);
    await expect(decodeBytes(aedat2, bytes)).rejects.toThrow(/some\.Cochlea.*known are DVS128/);
    const late = encodeRows(aedat2, dvs128, [[2 ** 32, 1, 1, 1]]);
    await expect(late).rejects.toThrow(/event 0 .*32-bit times/);
  });
});

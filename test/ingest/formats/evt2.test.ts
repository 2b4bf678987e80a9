import { describe, expect, it } from 'vitest';
import { evt2 } from '../../../ingest/formats/evt2.js';
import { describeFormat } from '../formatConformance.js';
import { decodeBytes, encodeRows } from '../streams.js';

const hd = { width: 1280, height: 720 };

describe('recordings', async () => {
  describeFormat(evt2, {
    sensor: hd,
    firstUs: [0, 2 ** 40],
    stepUs: [-(2 ** 35), 2 ** 36],
    lowestUs: 0,
    headerLength: (await encodeRows(evt2, hd, [])).length,
  });
});

function file(header: string, words: readonly number[]): Uint8Array {
  const data = Buffer.alloc(4 * words.length);
  words.forEach((word, i) => data.writeUInt32LE(word >>> 0, 4 * i));
  return Buffer.concat([Buffer.from(header, 'latin1'), data]);
}

const timeHigh = (value: number): number => (0x8 << 28) | value;
const event = (on: number, t: number, x: number, y: number): number =>
  (on << 28) | (t << 22) | (x << 11) | y;

describe('evt2', () => {
  it('reads events, and counts what is none', async () => {
    const words = [
      event(1, 3, 1, 1),
      timeHigh(2),
      event(1, 5, 1279, 719),
      event(0, 6, 0, 0),
      0xa0000000,
      0xd0000000,
      0xe0000000,
      0xf0000000,
      0x50000000,
      event(0, 7, 1280, 0),
    ];
    const header = '% evt 2.0\n% geometry 1280x720\n';
    const { rows, report } = await decodeBytes(evt2, file(header, words));
    expect(rows).toEqual([
      [133, 1279, 719, 1],
      [134, 0, 0, 0],
    ]);
    expect(report.skipped).toEqual({
      beforeTimeHigh: 1,
      trigger: 1,
      imu: 1,
      other: 1,
      continued: 1,
      outsideSensor: 1,
    });
    expect(report.damages).toEqual([
      { offset: header.length + 32, message: expect.stringMatching(/unknown type 0x5/) },
    ]);
  });

  it.each([
    ['% evt 2.0\n% format EVT2;height=480;width=640\n% end\n', 640, 480],
    ['% format EVT2;width=320;height=320\n% end\n', 320, 320],
    ['% Date 2020-01-01\r\n% geometry 304x240\r\n% evt 2.0\r\n', 304, 240],
    ['% system_ID 21\n% evt 2.0\n', 640, 480],
  ])('reads the size of %j', async (header, width, height) => {
    const bytes = file(header, [timeHigh(1), event(1, 0, 2, 3)]);
    const { batches, rows } = await decodeBytes(evt2, bytes, { sensor: { width: 9, height: 9 } });
    expect(batches[0].sensor).toEqual({ width, height });
    expect(evt2.sensorOf!(bytes)).toEqual({ width, height });
    expect(evt2.detect({ head: bytes })).toBe(1);
    expect(rows).toEqual([[64, 2, 3, 1]]);
  });

  it('takes the size of the caller, else the largest, where the header has none', async () => {
    const bytes = file('% evt 2.0\n', [timeHigh(1), event(1, 0, 2, 3)]);
    expect(evt2.sensorOf!(bytes)).toBeUndefined();
    expect((await decodeBytes(evt2, bytes)).batches[0].sensor).toEqual(evt2.limits);
    const sensor = { width: 9, height: 9 };
    expect((await decodeBytes(evt2, bytes, { sensor })).batches[0].sensor).toEqual(sensor);
  });

  it('names the version of other encodings', async () => {
    for (const [header, version] of [
      ['% evt 3.0\n', '3.0'],
      ['% format EVT21;height=720;width=1280\n% end\n', '2.1'],
    ]) {
      await expect(decodeBytes(evt2, file(header, []))).rejects.toThrow(`found EVT ${version}`);
      expect(evt2.detect({ head: file(header, []) })).toBe(0);
    }
  });

  it('takes a large drop of TIME_HIGH for a wrap, and a small one as it is', async () => {
    const words = [2 ** 28 - 1, 0, 2 ** 28 - 1, 1000, 990].flatMap((high) => [
      timeHigh(high),
      event(1, 0, 0, 0),
    ]);
    const { rows } = await decodeBytes(evt2, file('% evt 2.0\n', words));
    const wrap = 2 ** 34;
    const times = [wrap - 64, wrap, wrap - 64, wrap + 64_000, wrap + 63_360];
    expect(rows.map((row) => row[0])).toEqual(times);
  });

  it('refuses times below zero and sensors above 2048x2048', async () => {
    await expect(encodeRows(evt2, hd, [[-1, 0, 0, 0]])).rejects.toThrow(/event 0.*below zero/);
    const large = { width: 2049, height: 1 };
    await expect(encodeRows(evt2, large, [])).rejects.toThrow(/2049x1/);
  });
});

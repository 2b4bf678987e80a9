import { describe, expect, it } from 'vitest';
import { evt21 } from '../../../ingest/formats/evt21.js';
import { describeFormat } from '../formatConformance.js';
import { decodeBytes, encodeRows, type EventRow } from '../streams.js';

const hd = { width: 1280, height: 720 };

describe('recordings', async () => {
  describeFormat(evt21, {
    sensor: hd,
    firstUs: [0, 2 ** 40],
    stepUs: [-(2 ** 35), 2 ** 36],
    lowestUs: 0,
    headerLength: (await encodeRows(evt21, hd, [])).length,
  });
});

type Word = readonly [head: number, mask: number];

function file(header: string, words: readonly Word[], maskFirst: boolean): Uint8Array {
  const data = Buffer.alloc(8 * words.length);
  words.forEach(([head, mask], i) => {
    data.writeUInt32LE(head >>> 0, 8 * i + (maskFirst ? 4 : 0));
    data.writeUInt32LE(mask >>> 0, 8 * i + (maskFirst ? 0 : 4));
  });
  return Buffer.concat([Buffer.from(header, 'latin1'), data]);
}

const high = (value: number): Word => [(0x8 << 28) | value, 0];
const vector = (on: number, t: number, x: number, y: number, mask: number): Word => [
  (on << 28) | (t << 22) | (x << 11) | y,
  mask,
];

describe('evt21', () => {
  const words: readonly Word[] = [
    vector(1, 3, 1, 1, 0b101),
    high(2),
    vector(1, 5, 64, 719, 0x8000_0001),
    vector(0, 6, 1270, 0, 0xffff_ffff),
    [0xa0000000, 1],
    [0xd0000000, 1],
    [0xe0000000, 1],
    [0xf0000000, 1],
  ];
  const rows: readonly EventRow[] = [
    [133, 64, 719, 1],
    [133, 95, 719, 1],
    ...Array.from({ length: 10 }, (_, i): EventRow => [134, 1270 + i, 0, 0]),
  ];
  const skipped = {
    beforeTimeHigh: 2,
    outsideSensor: 22,
    trigger: 1,
    imu: 1,
    other: 1,
    continued: 1,
  };

  it.each([
    ['% format EVT21;endianness=little;height=720;width=1280\n% end\n', true],
    ['% evt 2.1\n% endianness little\n% geometry 1280x720\n', true],
    ['% format EVT21;endianness=legacy;height=720;width=1280\n% end\n', false],
    ['% evt 2.1\n% geometry 1280x720\n', false],
    ['% evt 2.1\n% geometry 1280x720\n% endianness legacy\n', false],
  ])('reads the words of %j', async (header, maskFirst) => {
    const decoded = await decodeBytes(evt21, file(header, words, maskFirst));
    expect(decoded.rows).toEqual(rows);
    expect(decoded.report.skipped).toEqual(skipped);
    expect(decoded.report.damages).toEqual([]);
  });

  it('finds the order of the halves where the header does not say it', async () => {
    const header = '% evt 2.1\n% geometry 1280x720\n';
    const tell: Word = vector(0, 7, 0, 0, 0x2000_0000); // a mask that is no head
    const bytes = file(header, [...words, tell], true);
    expect((await decodeBytes(evt21, bytes)).rows.slice(0, -1)).toEqual(rows);
  });

  it('reports words of unknown type', async () => {
    const header = '% evt 2.1\n% geometry 1280x720\n';
    const { report } = await decodeBytes(evt21, file(header, [high(1), [0x50000000, 0]], false));
    expect(report.damages).toEqual([
      { offset: header.length + 8, message: expect.stringMatching(/unknown type 0x5/) },
    ]);
  });

  it('joins events of one time, row and polarity', async () => {
    const list: EventRow[] = [0, 5, 31, 32, 31].map((x) => [64, x, 1, 1]);
    const bytes = await encodeRows(evt21, hd, list);
    const empty = await encodeRows(evt21, hd, []);
    expect((bytes.length - empty.length) / 8).toBe(1 + 3);
    expect((await decodeBytes(evt21, bytes)).rows).toEqual(list);
  });

  it('refuses times below zero and sensors above 2048x2048', async () => {
    await expect(encodeRows(evt21, hd, [[-1, 0, 0, 0]])).rejects.toThrow(/event 0.*below zero/);
    await expect(encodeRows(evt21, { width: 2049, height: 1 }, [])).rejects.toThrow(/2049x1/);
    await expect(decodeBytes(evt21, file('% evt 3.0\n', [], true))).rejects.toThrow(/EVT 3\.0/);
  });
});

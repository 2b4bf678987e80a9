import { describe, expect, it } from 'vitest';
import { aedat3 } from '../../../ingest/formats/aedat3.js';
import { describeFormat } from '../formatConformance.js';
import { decodeBytes, encodeRows, type EventRow } from '../streams.js';

const vga = { width: 640, height: 480 };

describe('recordings', async () => {
  describeFormat(aedat3, {
    sensor: vga,
    firstUs: [0, 2 ** 40],
    stepUs: [-(2 ** 33), 2 ** 34],
    lowestUs: 0,
    headerLength: (await encodeRows(aedat3, vga, [])).length,
  });
});

const header =
  '#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DVS128\r\n#Start-Time: 2015-01-01 00:00:00 (TZ+0000)\r\n#!END-HEADER\r\n';

interface Packet {
  readonly type: number;
  readonly length?: number;
  readonly overflow?: number;
  readonly events: readonly (readonly number[])[];
  readonly capacity?: number;
}

function packet({ type, length = 8, overflow = 0, events, capacity }: Packet): Buffer {
  const bytes = Buffer.alloc(28 + length * (capacity ?? events.length));
  bytes.writeInt16LE(type, 0);
  bytes.writeInt16LE(1, 2);
  const fields = [length, 4, overflow, capacity ?? events.length, events.length, events.length];
  fields.forEach((field, i) => bytes.writeInt32LE(field, 4 + 4 * i));
  events.forEach((words, i) => {
    words.forEach((word, j) => bytes.writeInt32LE(word | 0, 28 + length * i + 4 * j));
  });
  return bytes;
}

const event = (tUs: number, x: number, y: number, on: number, valid = 1): number[] => [
  (x << 17) | (y << 2) | (on << 1) | valid,
  tUs,
];

const file = (...packets: readonly Buffer[]): Uint8Array =>
  Buffer.concat([Buffer.from(header, 'latin1'), ...packets]);

describe('aedat3', () => {
  const packets = [
    packet({
      type: 0,
      events: [
        [(1 << 1) | 1, 9],
        [1, 9],
      ],
    }),
    packet({
      type: 1,
      events: [event(5, 127, 3, 1), event(6, 1, 127, 0), event(7, 2, 2, 1, 0), event(8, 128, 0, 1)],
      capacity: 6,
    }),
    packet({ type: 2, length: 100, events: [[1]] }),
    packet({ type: 3, length: 36, events: [[1], [1]] }),
    packet({ type: 1, overflow: 2, events: [event(5, 0, 0, 1), event(-5, 0, 0, 1)] }),
  ];
  const rows: readonly EventRow[] = [
    [5, 127, 3, 1],
    [6, 1, 127, 0],
    [2 ** 32 + 5, 0, 0, 1],
  ];

  it('reads polarity packets, and passes over and counts others', async () => {
    const bytes = file(...packets);
    const decoded = await decodeBytes(aedat3, bytes);
    expect(decoded.rows).toEqual(rows);
    expect(decoded.batches[0].sensor).toEqual({ width: 128, height: 128 });
    expect(decoded.report.skipped).toEqual({
      timestampReset: 1,
      special: 1,
      invalid: 1,
      outsideSensor: 1,
      frame: 1,
      imu: 2,
    });
    expect(decoded.report.damages).toEqual([
      { offset: bytes.length - 8, message: expect.stringMatching(/time -5/) },
    ]);
  });

  it('finds the next packet behind damage', async () => {
    const broken = packet({ type: 1, events: [event(1, 1, 1, 1)] });
    broken.writeInt32LE(-3, 4);
    const { rows: read, report } = await decodeBytes(aedat3, file(broken, packets[1]));
    expect(read).toEqual(rows.slice(0, 2));
    expect(report.damages).toEqual([
      { offset: header.length, message: expect.stringMatching(/packet header/) },
    ]);
  });

  it('says what is missing of the last packet', async () => {
    const whole = file(packets[1]);
    const cut = whole.slice(0, header.length + 28 + 8);
    const { rows: read, report } = await decodeBytes(aedat3, cut);
    expect(read).toEqual(rows.slice(0, 1));
    expect(report.damages).toEqual([
      { offset: cut.length, message: expect.stringMatching(/3 events of it are missing/) },
    ]);
  });

  it('reads version 3.0, whose header has no end mark', async () => {
    const old = Buffer.concat([Buffer.from('#!AER-DAT3.0\r\n#Format: RAW\r\n'), packets[4]]);
    expect((await decodeBytes(aedat3, old, { sensor: vga })).rows).toEqual(rows.slice(2));
  });

  it('refuses other versions and encodings', async () => {
    const text = (head: string): Uint8Array => Buffer.from(head, 'latin1');
    await expect(decodeBytes(aedat3, text('#!AER-DAT2.0\r\n'))).rejects.toThrow(/expected/);
    const compressed = '#!AER-DAT3.1\r\n#Format: Compressed\r\n#!END-HEADER\r\n';
    await expect(decodeBytes(aedat3, text(compressed))).rejects.toThrow(/expected "Format: RAW"/);
    await expect(encodeRows(aedat3, vga, [[-1, 0, 0, 0]])).rejects.toThrow(/event 0.*below zero/);
    await expect(encodeRows(aedat3, { width: 1, height: 32_769 }, [])).rejects.toThrow(/1x32769/);
  });
});

import { CdrWriter, EncapsulationKind } from '@foxglove/cdr';
import { describe, expect, it } from 'vitest';
import { concatBatches } from '../../../ingest/eventBatch.js';
import { createReport, type DecodeReport } from '../../../ingest/format.js';
import { evt3 } from '../../../ingest/formats/evt3.js';
import type { RosMessage } from '../../../ingest/formats/ros/message.js';
import { eventArrays } from '../../../ingest/formats/ros/eventArray.js';
import { decodeRosEvents } from '../../../ingest/formats/ros/rosEvents.js';
import { type Decode, makeTimeIndex } from '../../../ingest/timeIndex.js';
import { batchOf, collect, encodeRows, type EventRow, rowsOf, streamOf } from '../streams.js';
import { cdrPacket, type PacketFields } from './rosMessages.js';

const sensor = { width: 640, height: 480 };
const timeBaseNs = 1_700_000_000_123_456_789n;
const baseUs = 1_700_000_000_123_456;

const messageOf = (fields: Partial<PacketFields>, topic = '/events'): RosMessage => ({
  topic,
  type: 'event_camera_msgs/EventPacket',
  serialization: 'cdr',
  data: cdrPacket({
    ...sensor,
    timeBaseNs,
    encoding: 'mono',
    events: new Uint8Array(0),
    ...fields,
  }),
  offset: 7,
  mark: { offset: 0, state: [] },
});

async function read(
  messages: RosMessage[],
  path?: string,
): Promise<{ rows: EventRow[]; report: DecodeReport }> {
  const report = createReport();
  const options = { file: 'bag', report, layout: { path } };
  const batches = await collect(decodeRosEvents(() => streamOf(messages), options));
  return { rows: rowsOf(concatBatches([batchOf(sensor, []), ...batches])), report };
}

it('goes on in the middle: the state of evt3 carries over packets, and other topics lie between', async () => {
  const rows = Array.from({ length: 300 }, (_, i): EventRow => [
    40 * i - 7 * (i % 5),
    (i * 7) % 640,
    (i >> 3) % 480,
    i & 1,
  ]);
  const recorded = await encodeRows(evt3, sensor, rows);
  const start = Buffer.from(recorded).indexOf('% end\n') + 6;
  const messages: RosMessage[] = [];
  for (let at = start; at < recorded.length; at += 34) {
    messages.push(messageOf({ encoding: 'evt3', events: recorded.slice(at, at + 34) }));
    messages.push(messageOf({}, '/other'));
  }
  const marked = messages.map((message, i) => ({ ...message, mark: { offset: i, state: [8, i] } }));
  const first: number[] = [];
  const decode: Decode = (options) =>
    decodeRosEvents(
      (from) => {
        first.push(from?.offset ?? 0);
        expect(from?.state ?? [8, 0]).toEqual([8, from?.offset ?? 0]);
        return streamOf(marked.slice(from?.offset));
      },
      { ...options, file: 'bag' },
    );
  const all = rowsOf(concatBatches(await collect(decode({ report: createReport() }))));
  expect(all.length).toBe(300);
  const index = (await makeTimeIndex(decode, sensor, { blockLength: 16 }))!;
  for (const fromUs of [0, 900, 4_321, 11_000]) {
    const inside = ([tUs]: EventRow): boolean => tUs >= fromUs && tUs < fromUs + 800;
    const slice = index.read(decode, fromUs, fromUs + 800, { sensor, report: createReport() });
    expect((await collect(slice)).flatMap(rowsOf).filter(inside)).toEqual(all.filter(inside));
  }
  expect(Math.max(...first)).toBeGreaterThan(messages.length / 2);
});

const words = (values: number[]): Uint8Array =>
  new Uint8Array(Uint16Array.from(values).buffer.slice(0));

describe('event packets', () => {
  it('reads mono: ns since the base, cut to µs', async () => {
    const bytes = Buffer.alloc(16);
    bytes.writeBigUInt64LE((1n << 63n) | (300n << 48n) | (500n << 32n) | 211n);
    bytes.writeBigUInt64LE((301n << 48n) | (501n << 32n) | 4_000_000_000n, 8);
    const { rows } = await read([messageOf({ encoding: 'mono', events: bytes })]);
    expect(rows).toEqual([
      [baseUs + 1, 500, 300, 1],
      [baseUs + 4_000_000, 501, 301, 0],
    ]);
    const swapped = messageOf({ bigEndian: true, events: bytes.swap64() });
    expect((await read([swapped])).rows).toEqual(rows);
  });

  it('reads libcaer, also over the wrap of its 31 bits', async () => {
    const bytes = Buffer.alloc(16);
    bytes.writeUInt32LE(((100 << 17) | (200 << 2) | 3) >>> 0);
    bytes.writeInt32LE(2 ** 31 - 1, 4);
    bytes.writeUInt32LE((101 << 17) | (201 << 2) | 1, 8);
    bytes.writeInt32LE(5, 12);
    const { rows } = await read([messageOf({ encoding: 'libcaer', events: bytes })]);
    expect(rows).toEqual([
      [baseUs + 2 ** 31 - 1, 100, 200, 1],
      [baseUs + 2 ** 31 + 5, 101, 201, 0],
    ]);
  });

  it('reads libcaer_cmp, whose time starts anew in each packet', async () => {
    const events = words([0x0002, 0x1003, 0x2010, 0x3814, 0x3015, 0x4820, 0x5081, 0x5001]);
    const packet = messageOf({ encoding: 'libcaer_cmp', events });
    const late = messageOf({ encoding: 'libcaer_cmp', events: words([0x2001, 0x3802, 0x7000]) });
    const last = messageOf({ encoding: 'libcaer_cmp', events: words([0x3005]) });
    const { rows, report } = await read([packet, late, last]);
    const tUs = baseUs + 2 * 4096 + 3;
    expect(rows).toEqual([
      [tUs, 16, 20, 1],
      [tUs, 16, 21, 0],
      [tUs, 16, 32, 1],
      [tUs, 16, 39, 1],
      [tUs, 16, 40, 1],
      [baseUs, 1, 2, 1],
      [baseUs, 1, 5, 0], // the column carries over
    ]);
    expect(report.skipped).toEqual({ unknownWord: 1 });
  });

  it('counts triggers', async () => {
    const trigger = messageOf({ encoding: 'trigger', events: new Uint8Array(24) });
    const { rows, report } = await read([trigger]);
    expect([rows, report]).toEqual([[], { damages: [], damageCount: 0, skipped: { trigger: 3 } }]);
  });

  it('reads evt3 as one stream, wherever it is cut into packets', async () => {
    const rows = Array.from({ length: 5_000 }, (_, i): EventRow => [
      1e6 + 50 * Math.floor(i / 40),
      (i % 40) * 3,
      Math.floor(i / 20) % 480,
      (i >> 3) & 1,
    ]);
    const raw = Buffer.from(await encodeRows(evt3, sensor, rows));
    const start = raw.indexOf('% end\n') + 6;
    for (const length of [2, 30, 1_000, 70_000]) {
      const messages = [];
      for (let at = start; at < raw.length; at += length) {
        messages.push(messageOf({ encoding: 'evt3', events: raw.subarray(at, at + length) }));
      }
      expect((await read(messages)).rows).toEqual(rows);
    }
  });

  it('passes over damaged messages and unknown encodings', async () => {
    const good = messageOf({ encoding: 'mono', events: new Uint8Array(8) });
    const cut = { ...good, data: good.data.subarray(0, 40), offset: 99 };
    const odd = messageOf({ encoding: 'jpeg' });
    const { rows, report } = await read([cut, odd, good]);
    expect(rows).toHaveLength(1);
    expect(report.damages.map(({ offset }) => offset)).toEqual([99, 7]);
    expect(report.damages[1].message).toMatch(/"jpeg", expected one of evt3, libcaer/);
  });

  it('reads the first topic or the one asked for, and counts the messages of others', async () => {
    const left = messageOf({ encoding: 'mono', events: new Uint8Array(8) }, '/left');
    const right = messageOf({ encoding: 'mono', events: new Uint8Array(24) }, '/right');
    const first = await read([left, right, right]);
    expect(first.rows).toHaveLength(1);
    expect(first.report.skipped).toEqual({ 'message of /right': 2 });
    expect((await read([left, right, right], '/right')).rows).toHaveLength(6);
    await expect(read([left], '/middle')).rejects.toThrow(/of \/middle; topics here: \/left/);
  });
});

it('reports packets whose times are beyond what can be exact', async () => {
  for (const encoding of ['mono', 'libcaer', 'libcaer_cmp']) {
    const late = messageOf({ encoding, timeBaseNs: 2n ** 63n, events: new Uint8Array(8) });
    const { rows, report } = await read([late]);
    expect(rows).toEqual([]);
    expect(report.damages).toMatchObject([
      { message: expect.stringMatching(/a time base of 9223/) },
    ]);
  }
});

it.each([0, 1, 2, 3, 50])(
  'writes an EventArray of %i events as the CDR library does',
  async (n) => {
    const rows = Array.from({ length: n }, (_, i): EventRow => [
      1_999_990 + 7 * i,
      3 * i,
      5 * i,
      i & 1,
    ]);
    const { height, width } = sensor;
    const writer = new CdrWriter({ kind: EncapsulationKind.CDR_LE });
    writer
      .int32(n > 0 ? 1 : 0)
      .uint32(n > 0 ? 999_990_000 : 0)
      .string('');
    writer.uint32(height).uint32(width).sequenceLength(n);
    for (const [tUs, x, y, polarity] of rows) {
      const second = Math.floor(tUs / 1e6);
      writer.uint16(x).uint16(y).int32(second);
      writer.uint32(1000 * (tUs - 1e6 * second)).uint8(polarity);
    }
    const batches = n > 0 ? [batchOf(sensor, rows)] : [];
    const written = eventArrays(2).messages(streamOf(batches), { file: 'written', sensor });
    expect((await collect(written)).map(({ data }) => Buffer.from(data))).toEqual([
      Buffer.from(writer.data),
    ]);
  },
);

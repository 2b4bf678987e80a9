import { compress, decompress, init } from '@bokuweb/zstd-wasm';
import fc from 'fast-check';
import { Builder, ByteBuffer } from 'flatbuffers';
import lz4 from 'lz4js';
import { beforeAll, describe, expect, it } from 'vitest';
import { aedat4 } from '../../../ingest/formats/aedat4.js';
import { decompressLz4Frame } from '../../../ingest/lz4.js';
import { describeFormat } from '../formatConformance.js';
import {
  batchOf,
  chunksOf,
  collect,
  decodeBytes,
  encodeRows,
  type EventRow,
  streamOf,
} from '../streams.js';

const davis = { width: 346, height: 260 };

describe('recordings', async () => {
  describeFormat(aedat4, {
    sensor: davis,
    firstUs: [-(2 ** 52), 2 ** 52],
    stepUs: [-(2 ** 40), 2 ** 40],
    lowestUs: -(2 ** 53) + 1,
    headerLength: (await encodeRows(aedat4, davis, [])).length,
  });
});

interface StreamInfo {
  readonly id: number;
  readonly type: string;
  readonly size?: readonly [number, number];
}

interface FileOptions {
  readonly compression: number;
  readonly streams: readonly StreamInfo[];
  readonly table?: number;
}

const signature = '#!AER-DAT4.0\r\n';

/** Header as DV writes it, made by the FlatBuffers library. */
function header({ compression, streams, table = -1 }: FileOptions): Uint8Array {
  const nodes = streams.map(({ id, type, size }) => {
    const sizes = size?.map((value, i) => `<attr key="size${'XY'[i]}" type="int">${value}</attr>`);
    return `<node name="${id}" path="/x/outInfo/${id}/">
      <attr key="typeIdentifier" type="string">${type}</attr>
      <node name="info" path="/x/outInfo/${id}/info/">${sizes?.join('') ?? ''}</node></node>`;
  });
  const builder = new Builder(16);
  const info = builder.createString(
    `<dv version="2.0"><node name="outInfo" path="/x/outInfo/">${nodes.join('\n')}</node></dv>`,
  );
  builder.startObject(3);
  builder.addFieldInt32(0, compression, 0);
  builder.addFieldInt64(1, BigInt(table), -1n);
  builder.addFieldOffset(2, info, 0);
  builder.finishSizePrefixed(builder.endObject(), 'IOHE');
  return Buffer.concat([Buffer.from(signature), builder.asUint8Array()]);
}

/** A packet's FlatBuffer, made by the library. */
function eventsBuffer(rows: readonly EventRow[]): Uint8Array {
  const builder = new Builder(16);
  builder.startVector(16, rows.length, 8);
  for (const [tUs, x, y, polarity] of [...rows].reverse()) {
    builder.prep(8, 16);
    builder.pad(3);
    builder.writeInt8(polarity);
    builder.writeInt16(y);
    builder.writeInt16(x);
    builder.writeInt64(BigInt(tUs));
  }
  const vector = builder.endVector();
  builder.startObject(1);
  builder.addFieldOffset(0, vector, 0);
  builder.finishSizePrefixed(builder.endObject(), 'EVTS');
  return builder.asUint8Array();
}

function packet(id: number, payload: Uint8Array): Uint8Array {
  const head = Buffer.alloc(8);
  head.writeInt32LE(id);
  head.writeInt32LE(payload.length, 4);
  return Buffer.concat([head, payload]);
}

const other = (type: string): Uint8Array => {
  const builder = new Builder(16);
  builder.startObject(1);
  builder.addFieldInt64(0, 5n, 0n);
  builder.finishSizePrefixed(builder.endObject(), type);
  return builder.asUint8Array();
};

const epochUs = 1_605_537_493_718_345;
const rows: readonly EventRow[] = Array.from({ length: 5_000 }, (_, i): EventRow => [
  epochUs + 3 * i,
  i % 346,
  (i >> 4) % 260,
  (i >> 1) & 1,
]);

beforeAll(() => init());

const plain = (bytes: Uint8Array): Uint8Array => bytes;
const unpackLz4 = (bytes: Uint8Array): Uint8Array => decompressLz4Frame(bytes, 1 << 20);
const unpackZstd = (bytes: Uint8Array): Uint8Array => decompress(Buffer.from(bytes));

/** Where the header says that the table is, and where it says so. */
function tableOf(bytes: Buffer): { readonly table: number; readonly at: number } {
  const start = signature.length + 4;
  const buffer = new ByteBuffer(bytes);
  const root = start + bytes.readInt32LE(start);
  const at = root + buffer.__offset(root, 6);
  return { table: Number(bytes.readBigInt64LE(at)), at };
}

interface TableEntry {
  readonly offset: number;
  readonly stream: number;
  readonly size: number;
  readonly events: number;
  readonly firstUs: number;
  readonly lastUs: number;
}

/** The entries of a FileDataTable, with its length in front. */
function readTable(bytes: Uint8Array): TableEntry[] {
  const buffer = new ByteBuffer(bytes);
  expect(Buffer.from(bytes.subarray(8, 12)).toString()).toBe('FTAB');
  const root = 4 + buffer.readInt32(4);
  const vector = buffer.__vector(root + buffer.__offset(root, 4));
  return Array.from({ length: buffer.__vector_len(root + buffer.__offset(root, 4)) }, (_, i) => {
    const entry = buffer.__indirect(vector + 4 * i);
    const field = (slot: number): number => entry + buffer.__offset(entry, 4 + 2 * slot);
    const long = (slot: number): number => Number(buffer.readInt64(field(slot)));
    return {
      offset: long(0),
      stream: buffer.readInt32(field(1)),
      size: buffer.readInt32(field(1) + 4),
      events: long(2),
      firstUs: long(3),
      lastUs: long(4),
    };
  });
}

describe('aedat4', () => {
  const streams: readonly StreamInfo[] = [
    { id: 0, type: 'EVTS', size: [346, 260] },
    { id: 2, type: 'IMUS' },
    { id: 3, type: 'TRIG' },
    { id: 5, type: 'FRME', size: [346, 260] },
    { id: 7, type: 'EVTS', size: [640, 480] },
  ];

  const buffers: readonly (readonly [number, Uint8Array])[] = [
    [2, other('IMUS')],
    [0, eventsBuffer(rows.slice(0, 3000))],
    [3, other('TRIG')],
    [5, other('FRME')],
    [7, eventsBuffer([[9, 639, 479, 1]])],
    [0, eventsBuffer([])],
    [0, eventsBuffer(rows.slice(3000))],
  ];

  it.each([
    ['plain', 0, (bytes: Uint8Array) => bytes],
    ['LZ4', 1, (bytes: Uint8Array) => lz4.compress(bytes)],
    ['LZ4 high', 2, (bytes: Uint8Array) => lz4.compress(bytes)],
    ['Zstandard', 3, (bytes: Uint8Array) => compress(bytes, 3)],
    ['Zstandard high', 4, (bytes: Uint8Array) => compress(bytes, 9)],
  ])('reads one of several streams, %s', async (_name, compression, pack) => {
    const packets = buffers.map(([id, buffer]) => packet(id, pack(buffer)));
    const length = packets.reduce((sum, { length }) => sum + length, 0);
    const without = header({ compression, streams, table: 1 }).length;
    const head = header({ compression, streams, table: without + length });
    const bytes = Buffer.concat([head, ...packets, pack(other('FTAB'))]);
    for (const chunks of [bytes, chunksOf(bytes, [1000, 1])]) {
      const decoded = await decodeBytes(aedat4, chunks, { batchLength: 999 });
      expect(decoded.report.damages).toEqual([]);
      expect(decoded.rows).toEqual(rows);
      expect(decoded.batches[0].sensor).toEqual(davis);
      expect(decoded.report).toEqual({
        damages: [],
        damageCount: 0,
        skipped: { imuPackets: 1, triggerPackets: 1, framePackets: 1, otherEventPackets: 1 },
      });
    }
    const chosen = await decodeBytes(aedat4, bytes, { layout: { path: '7' } });
    expect(chosen.rows).toEqual([[9, 639, 479, 1]]);
    expect(aedat4.sensorOf!(bytes)).toEqual(davis);
    const missing = decodeBytes(aedat4, bytes, { layout: { path: '2' } });
    await expect(missing).rejects.toThrow(/expected events in stream "2"/);
  });

  it.each(['none', 'lz4', 'zstd'] as const)(
    'writes %s packets and a table of them',
    async (compression) => {
      let head: Uint8Array = new Uint8Array(0);
      const options = {
        file: 'written',
        sensor: davis,
        compression,
        rewriteHead: (rewritten: Uint8Array) => (head = rewritten),
      };
      const chunks = await collect(aedat4.encode(streamOf([batchOf(davis, rows)]), options));
      const bytes = Buffer.concat(chunks);
      const streamed = Buffer.from(bytes);
      expect(head.length).toBe(chunks[0].length);
      bytes.set(head);
      expect((await decodeBytes(aedat4, bytes, { batchLength: 999 })).report.damages).toEqual([]);
      expect((await decodeBytes(aedat4, bytes)).rows).toEqual(rows);
      const { table, at } = tableOf(bytes);
      const unpack = { none: plain, lz4: unpackLz4, zstd: unpackZstd }[compression];
      const entries = readTable(unpack(bytes.subarray(table)));
      expect(entries.map(({ events }) => events)).toEqual([4096, 904]);
      let offset = head.length;
      let first = 0;
      for (const entry of entries) {
        expect(entry.offset).toBe(offset + 8);
        expect([entry.stream, entry.size]).toEqual([
          bytes.readInt32LE(offset),
          bytes.readInt32LE(offset + 4),
        ]);
        expect(entry.firstUs).toBe(rows[first][0]);
        first += entry.events;
        expect(entry.lastUs).toBe(rows[first - 1][0]);
        offset = entry.offset + entry.size;
      }
      expect(offset).toBe(table);
      // A stream, whose first bytes are gone by then, has no table.
      expect(streamed.readBigInt64LE(at)).toBe(-1n);
      const live = { ...options, rewriteHead: undefined };
      const plainStream = await collect(aedat4.encode(streamOf([batchOf(davis, rows)]), live));
      expect(Buffer.concat(plainStream)).toEqual(streamed.subarray(0, table));
    },
  );

  it('passes over a damaged packet and finds the next one behind garbage', async () => {
    const packed = buffers.map(([, buffer]) => lz4.compress(buffer));
    const damaged = Uint8Array.from(packed[1]);
    damaged.fill(0xff, 7, 10); // the length of its first block
    const head = header({ compression: 1, streams });
    const garbage = new Uint8Array(37).fill(0xab);
    const parts = [head, packet(0, damaged), garbage, packet(0, packed[6])];
    const { rows: read, report } = await decodeBytes(aedat4, Buffer.concat(parts));
    expect(read).toEqual(rows.slice(3000));
    expect(report.damages).toEqual([
      { offset: head.length, message: expect.stringMatching(/damaged packet.*LZ4/) },
      { offset: head.length + 8 + damaged.length, message: expect.stringMatching(/no packet/) },
    ]);
  });

  it('says that the end is missing where the header states a table', async () => {
    const head = header({ compression: 0, streams, table: 1_000_000 });
    const bytes = Buffer.concat([head, packet(0, eventsBuffer(rows.slice(0, 5)))]);
    const { rows: read, report } = await decodeBytes(aedat4, bytes);
    expect(read).toEqual(rows.slice(0, 5));
    expect(report.damages).toEqual([
      { offset: bytes.length, message: expect.stringMatching(/table of packets at byte 1000000/) },
    ]);
  });

  it('bounds what a packet may claim', async () => {
    // A frame that states 100 MB: the magic number, a flag for a length of four bytes, and that length.
    const bomb = Uint8Array.from([0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0xe1, 0xf5, 0x05, 3, 0, 0, 7]);
    const head = header({ compression: 3, streams });
    const { rows: read, report } = await decodeBytes(
      aedat4,
      Buffer.concat([head, packet(0, bomb), packet(0, compress(buffers[6][1], 3))]),
    );
    expect(read).toEqual(rows.slice(3000));
    expect(report.damages[0].message).toMatch(/more than 67108864 bytes/);
  });

  it.each([
    [1, 500, (bytes: Uint8Array) => lz4.compress(bytes)],
    // Its decoder takes memory for the window that a frame claims, which takes time.
    [3, 100, (bytes: Uint8Array) => compress(bytes, 3)],
  ])('survives damage in packets of compression %i', async (compression, numRuns, pack) => {
    const head = header({ compression, streams });
    const part = packet(0, pack(eventsBuffer(rows.slice(0, 300))));
    const whole = Buffer.concat([head, part, part]);
    const change = fc.tuple(fc.nat(), fc.nat(255));
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 5 }), async (changes) => {
        const bytes = Buffer.from(whole);
        for (const [place, byte] of changes) {
          bytes[head.length + (place % (whole.length - head.length))] = byte;
        }
        const { rows: read, report } = await decodeBytes(aedat4, bytes, { batchLength: 500 });
        for (const [tUs, x, y, polarity] of read) {
          expect(Number.isSafeInteger(tUs)).toBe(true);
          expect(x < davis.width && y < davis.height && polarity <= 1).toBe(true);
        }
        expect(report.damages.length).toBeLessThanOrEqual(100);
      }),
      { numRuns },
    );
  });

  it('refuses other types and headers', async () => {
    const none = header({ compression: 0, streams: streams.slice(1, 4) });
    await expect(decodeBytes(aedat4, none)).rejects.toThrow(/2 \(IMUS\).*expected one of events/);
    const odd = header({ compression: 9, streams });
    await expect(decodeBytes(aedat4, odd)).rejects.toThrow(/compression 9/);
    const cut = header({ compression: 0, streams }).slice(0, 100);
    await expect(decodeBytes(aedat4, cut)).rejects.toThrow(/ends inside its header/);
    const large = Buffer.from(header({ compression: 0, streams }));
    large.writeUInt32LE(0xffffffff, signature.length);
    await expect(decodeBytes(aedat4, large)).rejects.toThrow(/expected at most 1048576/);
    const sensor = { width: 32_769, height: 1 };
    await expect(encodeRows(aedat4, sensor, [])).rejects.toThrow(/32769x1/);
  });
});

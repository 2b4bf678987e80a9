import { SaccadeError } from '../../engine/support/errors.js';
import { ByteReader, ByteWriter } from '../bytes.js';
import type { EventBatch } from '../eventBatch.js';
import { type Compression, decompressBlock, maxBlockLength } from '../decompress.js';
import {
  type DecodeMark,
  type DecodeOptions,
  type DecodeReport,
  type EncodeOptions,
  type EventFormat,
  reportDamage,
} from '../format.js';
import { Spool } from '../spool.js';
import { packetVariants } from './ros/eventPacketWriter.js';
import { messageKind } from './ros/messageKind.js';
import type { MessageKind, WrittenMessage } from './ros/written.js';
import { plainType, type RosMessage } from './ros/message.js';
import { decodeRosEvents, rosLimits } from './ros/rosEvents.js';

const magic = '#ROSBAG V2.0\n';
/** Codes of the records (field `op`). */
const op = { message: 2, header: 3, index: 4, chunk: 5, chunkInfo: 6, connection: 7 } as const;
const compressions: Readonly<Record<string, Compression>> = {
  none: 'none',
  lz4: 'lz4',
  bz2: 'bz2',
};
/** Messages per chunk that is written: about 850 KB. */
const messagesPerChunk = 8;
/** The header record is padded to this length, so that it can be rewritten in place. */
const headerRecordLength = 4096;
const topic = '/dvs/events';

/**
 * ROS 1 bag (`.bag`, version 2.0; chunks plain, LZ4 or bzip2) with `dvs_msgs/EventArray`,
 * `prophesee_event_msgs/EventArray` or `event_camera_msgs/EventPacket` messages: see `ros/rosEvents.ts` for
 * the topic that is read. The bag is read in the order of the file without its index, one chunk at a
 * time, so a bag that was cut off or never indexed can be read, too.
 *
 * Convention: origin at the upper left, polarity 1 = ON. Times are those of the events (not of the
 * messages), cut to whole µs. Written are `dvs_msgs/EventArray` messages on `/dvs/events` in plain chunks, with an
 * index; the header states its place, so the encoder spools the chunks, in a temporary file above 4 MB.
 *
 * Source: ROS wiki "Bags/Format/2.0".
 */
export const rosbag: EventFormat = {
  name: 'bag',
  title: 'ROS 1 bag (.bag)',
  extensions: ['bag'],
  holdsSensorSize: true,
  variants: packetVariants,
  usualSensors: [],
  limits: rosLimits,

  detect: ({ head }) => (startsWith(head, magic) ? 1 : 0),

  decode: (bytes, options) => decodeRosEvents((from) => readBag(bytes, options, from), options),

  encode: encodeBag,
};

function startsWith(head: Uint8Array, text: string): boolean {
  return Buffer.from(head.subarray(0, text.length)).toString('latin1') === text;
}

type Fields = ReadonlyMap<string, Uint8Array>;

/** `length name=value` again and again. */
function parseFields(bytes: Uint8Array): Fields {
  const fields = new Map<string, Uint8Array>();
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let at = 0; at < bytes.length;) {
    const length = view.getUint32(at, true);
    const field = bytes.subarray(at + 4, at + 4 + length);
    const equals = field.indexOf(0x3d);
    if (equals < 1 || field.length < length) throw new RangeError('damaged fields of a record');
    fields.set(text(field.subarray(0, equals)), field.subarray(equals + 1));
    at += 4 + length;
  }
  return fields;
}

function text(bytes: Uint8Array | undefined): string {
  return Buffer.from(bytes ?? []).toString('utf8');
}

function uint32(fields: Fields, name: string): number {
  const value = fields.get(name);
  if (value?.length !== 4) throw new RangeError(`expected a field "${name}" of 4 bytes`);
  return new DataView(value.buffer, value.byteOffset).getUint32(0, true);
}

interface BagRecord {
  readonly code: number | undefined;
  readonly fields: Fields;
  readonly data: Uint8Array;
}

interface Connection {
  readonly topic: string;
  readonly type: string;
  /** Offset of the record (or of the chunk) that says so first. */
  readonly offset: number;
}

type Connections = Map<number, Connection>;

/** A mark is the place of a record; its state is the message in that record, and where connections are defined. */
async function* readBag(
  bytes: AsyncIterable<Uint8Array>,
  { file, signal, report }: DecodeOptions,
  from?: DecodeMark,
): AsyncGenerator<RosMessage> {
  const input = new ByteReader(bytes, file, signal);
  const connections: Connections = new Map();
  const [first = 0, ...definitions] = from?.state ?? [];
  try {
    await input.require(magic.length);
    if (!startsWith(input.bytes.subarray(input.position, input.end), magic)) {
      const message = `not a ROS bag: expected it to begin with "#ROSBAG V2.0"`;
      throw new SaccadeError('input', message, { file, offset: 0 });
    }
    input.position += magic.length;
    for (const place of definitions) {
      await input.seek(place);
      const record = await readRecord(input, report);
      try {
        for (const one of record === undefined ? [] : await insideOf(record)) {
          if (one.code === op.connection) define(one, connections, place);
        }
      } catch {
        // Damage, which is reported where the record is read for its messages.
      }
    }
    if (from !== undefined) await input.seek(from.offset);
    for (;;) {
      const offset = input.offset;
      const record = await readRecord(input, report);
      if (record === undefined) return;
      try {
        const messages = messagesOf(
          await insideOf(record),
          connections,
          offset,
          from !== undefined,
        );
        for (const message of messages) {
          if (offset === from?.offset && message.mark.state[0] < first) continue;
          yield message;
        }
      } catch (error) {
        if (error instanceof SaccadeError || !(error instanceof Error)) throw error;
        reportDamage(report, offset, `record passed over: ${error.message}`);
      }
    }
  } finally {
    await input.close();
  }
}

/** The next record as a copy; undefined at the end, which is reported where it is within a record. */
async function readRecord(input: ByteReader, report: DecodeReport): Promise<BagRecord | undefined> {
  const part = async (): Promise<Uint8Array | undefined> => {
    const start = input.offset;
    if (!(await input.require(4))) {
      const left = input.available;
      if (left > 0) reportDamage(report, start, `ends inside a record (${left} bytes of it)`);
      return undefined;
    }
    const length = input.view.getUint32(input.position, true);
    if (length > maxBlockLength) {
      const most = `expected at most ${maxBlockLength}`;
      reportDamage(report, start, `record of ${length} bytes, ${most}; the rest is not read`);
      return undefined;
    }
    if (!(await input.require(4 + length))) {
      const message = `ends inside a record (${input.available} of ${length + 4} bytes)`;
      reportDamage(report, start, message);
      return undefined;
    }
    const bytes = input.bytes.slice(input.position + 4, input.position + 4 + length);
    input.position += 4 + length;
    return bytes;
  };
  const offset = input.offset;
  const header = await part();
  if (header === undefined) return undefined;
  const data = await part();
  if (data === undefined) {
    if (input.offset > offset && input.available === 0) {
      reportDamage(report, offset, 'ends inside a record');
    }
    return undefined;
  }
  try {
    return recordOf(header, data);
  } catch (error) {
    reportDamage(report, offset, error instanceof Error ? error.message : String(error));
    return { code: undefined, fields: new Map(), data };
  }
}

function recordOf(header: Uint8Array, data: Uint8Array): BagRecord {
  const fields = parseFields(header);
  return { code: fields.get('op')?.[0], fields, data };
}

/** The records inside a chunk. */
function* recordsOf(chunk: Uint8Array): Generator<BagRecord> {
  const view = new DataView(chunk.buffer, chunk.byteOffset, chunk.length);
  for (let at = 0; at < chunk.length;) {
    const header = chunk.subarray(at + 4, at + 4 + view.getUint32(at, true));
    at += 4 + header.length;
    const length = view.getUint32(at, true);
    const data = chunk.subarray(at + 4, at + 4 + length);
    if (data.length < length) throw new RangeError('a message ends behind its chunk');
    at += 4 + length;
    yield recordOf(header, data);
  }
}

/** The records in a chunk, or the record itself where it is none. */
async function insideOf(record: BagRecord): Promise<Iterable<BagRecord>> {
  if (record.code !== op.chunk) return [record];
  const name = text(record.fields.get('compression'));
  const method = Object.hasOwn(compressions, name) ? compressions[name] : undefined;
  if (method === undefined) {
    throw new RangeError(`chunk with compression "${name}", expected none, lz4 or bz2`);
  }
  return recordsOf(await decompressBlock(method, record.data, uint32(record.fields, 'size')));
}

function define({ fields, data }: BagRecord, connections: Connections, offset: number): void {
  const id = uint32(fields, 'conn');
  const type = plainType(text(parseFields(data).get('type')));
  const known = connections.get(id);
  connections.set(id, { topic: text(fields.get('topic')), type, offset: known?.offset ?? offset });
}

/** @param resumed whether connections may be defined in front of what is read, those of other topics. */
function* messagesOf(
  records: Iterable<BagRecord>,
  connections: Connections,
  offset: number,
  resumed: boolean,
): Generator<RosMessage> {
  let index = -1;
  for (const record of records) {
    if (record.code === op.connection) {
      define(record, connections, offset);
    } else if (record.code === op.message) {
      index++;
      const connection = connections.get(uint32(record.fields, 'conn'));
      if (connection === undefined && resumed) continue;
      if (connection === undefined) throw new RangeError('message of an unknown connection');
      const { topic, type } = connection;
      const definitions = [...connections.values()]
        .filter((known) => known.topic === topic)
        .map((known) => known.offset);
      const mark = { offset, state: [index, ...new Set(definitions)] };
      yield { topic, type, serialization: 'ros1', data: record.data, offset, mark };
    }
  }
}

/** Writes records: fields are numbers (uint32), bigints (8 bytes) or text. */
class RecordWriter {
  readonly output = new ByteWriter();

  record(code: number, fields: Readonly<Record<string, FieldValue>>, data: Uint8Array): void {
    this.block(fieldBytes({ op: new Uint8Array([code]), ...fields }));
    this.block(data);
  }

  private block(bytes: Uint8Array): void {
    const { output } = this;
    output.reserve(4 + bytes.length);
    output.view.setUint32(output.length, bytes.length, true);
    output.bytes.set(bytes, output.length + 4);
    output.length += 4 + bytes.length;
  }
}

type FieldValue = number | bigint | string | Uint8Array;

function fieldBytes(fields: Readonly<Record<string, FieldValue>>): Uint8Array {
  const parts = Object.entries(fields).map(([name, value]) => {
    const bytes = valueBytes(value);
    const head = Buffer.alloc(5 + name.length);
    head.writeUInt32LE(name.length + 1 + bytes.length);
    head.write(`${name}=`, 4, 'latin1');
    return Buffer.concat([head, bytes]);
  });
  return Buffer.concat(parts);
}

function valueBytes(value: FieldValue): Uint8Array {
  if (typeof value === 'string') return Buffer.from(value);
  if (typeof value === 'number') return new Uint8Array(Uint32Array.of(value).buffer);
  if (typeof value === 'bigint') return new Uint8Array(BigUint64Array.of(value).buffer);
  return value;
}

/** A time as bags hold it: uint32 seconds, uint32 ns. */
function bagTime(timeNs: bigint): bigint {
  return timeNs / 1_000_000_000n + ((timeNs % 1_000_000_000n) << 32n);
}

function connectionRecord(writer: RecordWriter, kind: MessageKind): void {
  const { name, definition, md5sum } = kind;
  const fields = { topic, type: name, md5sum, message_definition: definition };
  writer.record(op.connection, { conn: 0, topic }, fieldBytes(fields));
}

async function* encodeBag(
  batches: AsyncIterable<EventBatch>,
  options: EncodeOptions,
): AsyncGenerator<Uint8Array> {
  const kind = messageKind(options, 1);
  const spool = new Spool();
  try {
    const chunksAt = magic.length + headerRecordLength;
    let position = chunksAt;
    const infos: { at: number; times: bigint[] }[] = [];
    let held: WrittenMessage[] = [];
    const writeChunk = async (): Promise<void> => {
      const { bytes, times } = chunkOf(held, kind);
      infos.push({ at: position, times });
      position += bytes.length;
      held = [];
      await spool.write(bytes);
    };
    for await (const message of kind.messages(batches, options)) {
      held.push(message);
      if (held.length === messagesPerChunk) await writeChunk();
    }
    if (held.length > 0) await writeChunk();
    yield headerOf(position, infos.length);
    yield* spool.read();
    const writer = new RecordWriter();
    connectionRecord(writer, kind);
    for (const { at, times } of infos) {
      const sorted = [...times].sort((a, b) => (a < b ? -1 : 1));
      const fields = {
        ver: 1,
        chunk_pos: BigInt(at),
        start_time: bagTime(sorted[0]),
        end_time: bagTime(sorted[sorted.length - 1]),
        count: 1,
      };
      writer.record(op.chunkInfo, fields, new Uint8Array(Uint32Array.of(0, times.length).buffer));
      if (writer.output.full) yield writer.output.take();
    }
    yield writer.output.take();
  } finally {
    await spool.close();
  }
}

function headerOf(indexAt: number, chunks: number): Uint8Array {
  const fields = { index_pos: BigInt(indexAt), conn_count: 1, chunk_count: chunks };
  const length = fieldBytes({ op: new Uint8Array(1), ...fields }).length;
  const writer = new RecordWriter();
  writer.output.writeText(magic);
  const padding = new Uint8Array(headerRecordLength - 8 - length).fill(0x20);
  writer.record(op.header, fields, padding);
  return writer.output.take();
}

/** A chunk with its messages, and the index of them behind it. */
function chunkOf(
  messages: readonly WrittenMessage[],
  kind: MessageKind,
): { bytes: Uint8Array; times: bigint[] } {
  const inner = new RecordWriter();
  connectionRecord(inner, kind);
  const index: Buffer[] = [];
  for (const { timeNs, data } of messages) {
    const entry = Buffer.alloc(12);
    entry.writeBigUInt64LE(bagTime(timeNs));
    entry.writeUInt32LE(inner.output.length, 8);
    index.push(entry);
    inner.record(op.message, { conn: 0, time: bagTime(timeNs) }, data);
  }
  const content = inner.output.take();
  const outer = new RecordWriter();
  outer.record(op.chunk, { compression: 'none', size: content.length }, content);
  outer.record(op.index, { ver: 1, conn: 0, count: messages.length }, Buffer.concat(index));
  return { bytes: outer.output.take(), times: messages.map(({ timeNs }) => timeNs) };
}

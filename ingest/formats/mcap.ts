import { McapWriter } from '@mcap/core';
import crc32 from 'crc-32';
import { SaccadeError } from '../../engine/support/errors.js';
import { ByteReader } from '../bytes.js';
import { type Compression, decompressBlock, maxBlockLength } from '../decompress.js';
import type { EventBatch } from '../eventBatch.js';
import {
  type DecodeMark,
  type DecodeOptions,
  type DecodeReport,
  type EncodeOptions,
  type EventFormat,
  reportDamage,
} from '../format.js';
import { packetVariants } from './ros/eventPacketWriter.js';
import { messageKind } from './ros/messageKind.js';
import { plainType, type RosMessage } from './ros/message.js';
import { decodeRosEvents, rosLimits } from './ros/rosEvents.js';

const magic = [0x89, 0x4d, 0x43, 0x41, 0x50, 0x30, 0x0d, 0x0a]; // \x89MCAP0\r\n
/** Codes of the records. */
const op = { footer: 2, schema: 3, channel: 4, message: 5, chunk: 6, dataEnd: 15 } as const;
const compressions: Readonly<Record<string, Compression>> = {
  '': 'none',
  lz4: 'lz4',
  zstd: 'zstd',
};
/** Bytes in front of a record: its code and its length. */
const recordHead = 9;

/**
 * MCAP (`.mcap`; chunks plain, LZ4 or Zstandard) with ROS 2 (CDR) or ROS 1 messages of the types
 * `dvs_msgs/EventArray` or `event_camera_msgs/EventPacket`: see `ros/rosEvents.ts` for the topic that is read.
 * It is read in the order of the file without its index, one chunk at a time, so a file that was cut
 * off can be read, too. Chunks whose CRC is wrong are reported and passed over.
 *
 * Convention: origin at the upper left, polarity 1 = ON. Times are those of the events (not of the
 * messages), cut to whole µs. Written are `dvs_msgs/msg/EventArray` messages (CDR) on `/dvs/events` in plain chunks.
 *
 * Source: mcap.dev specification. Its writer is that of `@mcap/core`; the reader is our own, as the
 * library's stops for good at the first damage.
 */
export const mcap: EventFormat = {
  name: 'mcap',
  title: 'MCAP (.mcap)',
  extensions: ['mcap'],
  holdsSensorSize: true,
  variants: packetVariants,
  usualSensors: [],
  limits: rosLimits,

  detect: ({ head }) => (magic.every((byte, i) => head[i] === byte) ? 1 : 0),

  decode: (bytes, options) => decodeRosEvents((from) => readMcap(bytes, options, from), options),

  encode: encodeMcap,
};

/** Reads the fields of a record in order. Throws a `RangeError` where it ends early. */
class Cursor {
  private readonly view: DataView;
  private at = 0;

  constructor(private readonly bytes: Uint8Array) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  get left(): number {
    return this.bytes.length - this.at;
  }

  uint8(): number {
    return this.view.getUint8(this.at++);
  }

  uint16(): number {
    this.at += 2;
    return this.view.getUint16(this.at - 2, true);
  }

  uint32(): number {
    this.at += 4;
    return this.view.getUint32(this.at - 4, true);
  }

  /** Exact below 2^53. */
  uint64(): number {
    return this.uint32() + this.uint32() * 2 ** 32;
  }

  take(length: number): Uint8Array {
    if (length > this.left) throw new RangeError(`expected ${length} bytes, got ${this.left}`);
    this.at += length;
    return this.bytes.subarray(this.at - length, this.at);
  }

  text(): string {
    return Buffer.from(this.take(this.uint32())).toString('utf8');
  }
}

interface Schema {
  readonly name: string;
  /** Offset of the record (or of the chunk) that says so first. */
  readonly offset: number;
}

interface Channel {
  readonly topic: string;
  readonly schema: number;
  readonly encoding: string;
  readonly offset: number;
}

/** What the records so far have said. */
interface Known {
  readonly schemas: Map<number, Schema>;
  readonly channels: Map<number, Channel>;
}

/** A mark is the place of a record; its state is the message in that record, and where its channel and schema are. */
async function* readMcap(
  bytes: AsyncIterable<Uint8Array>,
  { file, signal, report }: DecodeOptions,
  from?: DecodeMark,
): AsyncGenerator<RosMessage> {
  const input = new ByteReader(bytes, file, signal);
  const known: Known = { schemas: new Map(), channels: new Map() };
  const [first = 0, ...definitions] = from?.state ?? [];
  try {
    await input.require(magic.length);
    if (!magic.every((byte, i) => input.bytes[input.position + i] === byte)) {
      const message = 'not an MCAP file: expected it to begin with "\\x89MCAP0\\r\\n"';
      throw new SaccadeError('input', message, { file, offset: 0 });
    }
    input.position += magic.length;
    for (const place of definitions) {
      await input.seek(place);
      const record = await readRecord(input, report);
      try {
        for (const one of record === undefined ? [] : await insideOf(record)) {
          define(one, known, place);
        }
      } catch {
        // Damage, which is reported where the record is read for its messages.
      }
    }
    if (from !== undefined) await input.seek(from.offset);
    for (;;) {
      const { offset } = input;
      const record = await readRecord(input, report);
      if (record === undefined) return;
      if (record.code === op.dataEnd || record.code === op.footer) {
        // What follows is a summary of what was read.
        do input.position = input.end;
        while (await input.fill());
        return;
      }
      try {
        for (const message of messagesOf(
          await insideOf(record),
          known,
          offset,
          from !== undefined,
        )) {
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

/** The next record as a copy; undefined where there is no whole one, which is reported. */
async function readRecord(
  input: ByteReader,
  report: DecodeReport,
): Promise<McapRecord | undefined> {
  const { offset } = input;
  if (!(await input.require(recordHead))) {
    const message = `ends early, with ${input.available} bytes of a record and without an end mark`;
    reportDamage(report, offset, message);
    return undefined;
  }
  const code = input.bytes[input.position];
  // Its content may be cut, and does not matter.
  if (code === op.dataEnd || code === op.footer) return { code, content: new Uint8Array(0) };
  const length =
    input.view.getUint32(input.position + 1, true) +
    input.view.getUint32(input.position + 5, true) * 2 ** 32;
  if (length > maxBlockLength) {
    const most = `expected at most ${maxBlockLength}`;
    reportDamage(report, offset, `record of ${length} bytes, ${most}; the rest is not read`);
    return undefined;
  }
  if (!(await input.require(recordHead + length))) {
    const there = `${input.available} of ${recordHead + length} bytes`;
    reportDamage(report, offset, `ends inside a record (${there})`);
    return undefined;
  }
  const start = input.position + recordHead;
  const content = input.bytes.slice(start, start + length);
  input.position = start + length;
  return { code, content };
}

/** The records in a chunk, or the record itself where it is none. */
async function insideOf(record: McapRecord): Promise<Iterable<McapRecord>> {
  return record.code === op.chunk ? recordsOf(await openChunk(record.content)) : [record];
}

async function openChunk(content: Uint8Array): Promise<Uint8Array> {
  const cursor = new Cursor(content);
  cursor.take(16); // first and last time
  const length = cursor.uint64();
  const crc = cursor.uint32();
  const name = cursor.text();
  const method = Object.hasOwn(compressions, name) ? compressions[name] : undefined;
  if (method === undefined) {
    throw new RangeError(`chunk with compression "${name}", expected none, lz4 or zstd`);
  }
  const records = await decompressBlock(method, cursor.take(cursor.uint64()), length);
  if (crc !== 0 && crc32.buf(records) >>> 0 !== crc) {
    throw new RangeError('damaged chunk: its CRC is not that of its bytes');
  }
  return records;
}

interface McapRecord {
  readonly code: number;
  readonly content: Uint8Array;
}

function* recordsOf(chunk: Uint8Array): Generator<McapRecord> {
  const cursor = new Cursor(chunk);
  while (cursor.left > 0) {
    yield { code: cursor.uint8(), content: cursor.take(cursor.uint64()) };
  }
}

/** Keeps what a schema or channel says. */
function define({ code, content }: McapRecord, { schemas, channels }: Known, offset: number): void {
  const cursor = new Cursor(content);
  if (code === op.schema) {
    const id = cursor.uint16();
    const name = plainType(cursor.text());
    schemas.set(id, { name, offset: schemas.get(id)?.offset ?? offset });
  } else if (code === op.channel) {
    const id = cursor.uint16();
    const schema = cursor.uint16();
    const topic = cursor.text();
    const encoding = cursor.text();
    channels.set(id, { topic, schema, encoding, offset: channels.get(id)?.offset ?? offset });
  }
}

/** @param resumed whether channels may be defined in front of what is read, those of other topics. */
function* messagesOf(
  records: Iterable<McapRecord>,
  known: Known,
  offset: number,
  resumed: boolean,
): Generator<RosMessage> {
  const { schemas, channels } = known;
  let index = -1;
  for (const record of records) {
    define(record, known, offset);
    if (record.code !== op.message) continue;
    index++;
    const cursor = new Cursor(record.content);
    const channel = channels.get(cursor.uint16());
    if (channel === undefined && resumed) continue;
    if (channel === undefined) throw new RangeError('message of an unknown channel');
    cursor.take(20); // sequence number, two times
    const { topic } = channel;
    const serialization = channel.encoding === 'ros1' ? 'ros1' : 'cdr';
    const type = schemas.get(channel.schema)?.name ?? '';
    const definitions = [...channels.values()]
      .filter((one) => one.topic === topic)
      .flatMap((one) => [one.offset, schemas.get(one.schema)?.offset ?? one.offset]);
    const mark = { offset, state: [index, ...new Set(definitions)] };
    yield { topic, type, serialization, data: cursor.take(cursor.left), offset, mark };
  }
}

/** Collects what the library's writer writes. */
class Chunks {
  private chunks: Uint8Array[] = [];
  private written = 0n;

  write(bytes: Uint8Array): Promise<void> {
    this.chunks.push(bytes.slice());
    this.written += BigInt(bytes.length);
    return Promise.resolve();
  }

  position(): bigint {
    return this.written;
  }

  *take(): Generator<Uint8Array> {
    yield* this.chunks;
    this.chunks = [];
  }
}

async function* encodeMcap(
  batches: AsyncIterable<EventBatch>,
  options: EncodeOptions,
): AsyncGenerator<Uint8Array> {
  const chunks = new Chunks();
  const writer = new McapWriter({ writable: chunks });
  await writer.start({ profile: 'ros2', library: 'saccade' });
  const { name, definition, messages } = messageKind(options, 2);
  const schemaId = await writer.registerSchema({
    name,
    encoding: 'ros2msg',
    data: Buffer.from(definition),
  });
  const channelId = await writer.registerChannel({
    schemaId,
    topic: '/dvs/events',
    messageEncoding: 'cdr',
    metadata: new Map(),
  });
  let sequence = 0;
  for await (const { timeNs, data } of messages(batches, options)) {
    await writer.addMessage({
      channelId,
      sequence: sequence++,
      logTime: timeNs,
      publishTime: timeNs,
      data,
    });
    yield* chunks.take();
  }
  await writer.end();
  yield* chunks.take();
}

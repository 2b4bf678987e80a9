import { Builder, ByteBuffer } from 'flatbuffers';
import { SaccadeError } from '../../engine/support/errors.js';
import type { ByteReader, ByteWriter } from '../bytes.js';
import { CompiledLoop } from '../compiledLoop.js';
import type { BatchBuilder, EventBatch, SensorSize } from '../eventBatch.js';
import {
  countSkipped,
  type DecodeMark,
  type DecodeReport,
  type EncodeOptions,
  type EventFormat,
  reportDamage,
  type WrittenCompression,
} from '../format.js';
import { compressLz4Frame, decompressLz4Frame } from '../lz4.js';
import { type BlockDecoder, decodeEvents, encodeEvents, type EventEncoder } from '../transcode.js';
import { decompressZstdFrame, zstdCompressor } from '../zstd.js';

const signature = '#!AER-DAT4.0\r\n';
/** The identifier of the header's FlatBuffer. */
const headerIdentifier = 'IOHE';
const eventsIdentifier = 'EVTS';
const tableIdentifier = 'FTAB';
/** A FlatBuffer in a file: its length, the place of its root, its identifier. */
const prefixLength = 4;
const identifierAt = 8;
const maxHeaderLength = 1 << 20;

const packetHeaderLength = 8;
/** Packets that claim more, compressed or not, are taken for damage. */
const maxPacketLength = 1 << 26;
/** What has to be at hand to tell a packet from other bytes. */
const toldLength = packetHeaderLength + 12;
const recordWords = 4;
const recordLength = 4 * recordWords;
const limits: SensorSize = { width: 32_768, height: 32_768 };
/** Upper halves of times that a float64 holds exactly lie within ±2^21. */
const maxHighWord = 2 ** 21;

const eventsPerPacket = 4_096;

/** What the packets of other streams are counted as. */
const packetNames: Readonly<Record<string, string>> = {
  EVTS: 'otherEventPackets',
  FRME: 'framePackets',
  IMUS: 'imuPackets',
  TRIG: 'triggerPackets',
};

type Compression = WrittenCompression;
/** By the numbers in headers. */
const compressions: readonly Compression[] = ['none', 'lz4', 'lz4', 'zstd', 'zstd'];
/** The first bytes of a compressed payload. */
const magics: Readonly<Record<Exclude<Compression, 'none'>, number>> = {
  lz4: 0x184d2204,
  zstd: 0xfd2fb528,
};

/**
 * AEDAT 4.0 of DV: a line, a FlatBuffer header with an XML description of the streams, then packets, each of
 * them one FlatBuffer, plain or compressed with LZ4 or Zstandard.
 *
 * Convention: origin at the upper left, polarity 1 = ON, times in signed 64-bit µs (usually since 1970).
 * Of several event streams, the first is read, or the one whose number `layout.path` gives. The
 * packets of the others and of frames, IMU and triggers are passed over and counted (`otherEventPackets`,
 * `framePackets`, `imuPackets`, `triggerPackets`).
 *
 * A damaged packet is reported and passed over; where no packet begins, the next one is looked for. The table of the
 * packets at the end is not read: `NAME.idx` serves all formats. Files are written with the table, streams without,
 * plain or compressed (`EncodeOptions.compression`).
 *
 * Source: iniVation "AEDAT file formats"; dv-processing `io/writer.hpp`; jAER `aedat4`.
 */
export const aedat4: EventFormat = {
  name: 'aedat4',
  title: 'AEDAT 4.0 (DV)',
  extensions: ['aedat4'],
  holdsSensorSize: true,
  usualSensors: [
    { width: 240, height: 180 },
    { width: 320, height: 240 },
    { width: 346, height: 260 },
    { width: 640, height: 480 },
  ],
  limits,

  detect: ({ head }) => (hasSignature(head) ? 1 : 0),

  sensorOf: (head) => {
    if (!hasSignature(head)) return undefined;
    try {
      const { streams } = parseHeader(head.subarray(signature.length));
      return streams.find(({ type }) => type === eventsIdentifier)?.sensor;
    } catch {
      return undefined; // `decode` says what is wrong with it.
    }
  },

  decode: (bytes, options) =>
    decodeEvents(bytes, options, async (input) => {
      const fail = (message: string): SaccadeError =>
        new SaccadeError('input', message, { file: options.file, offset: input.offset });
      await input.require(signature.length + prefixLength);
      if (!hasSignature(input.bytes.subarray(input.position, input.end))) {
        throw fail('not AEDAT 4.0: expected "#!AER-DAT4.0"');
      }
      input.position += signature.length;
      if (input.available < prefixLength) throw fail('ends inside its header');
      const length = prefixLength + input.view.getUint32(input.position, true);
      if (length > maxHeaderLength) {
        throw fail(`header of ${length} bytes, expected at most ${maxHeaderLength}`);
      }
      if (!(await input.require(length))) throw fail('ends inside its header');
      let header: Header;
      let stream: Stream;
      try {
        header = parseHeader(input.bytes.slice(input.position, input.position + length));
        stream = chooseStream(header.streams, options.layout?.path);
      } catch (error) {
        throw fail(error instanceof Error ? error.message : String(error));
      }
      input.position += length;
      const sensor = stream.sensor ?? options.sensor ?? limits;
      return new Aedat4Decoder(header, stream, sensor, options.report, options.compiled);
    }),

  encode: (batches, options) => {
    const { width, height } = options.sensor;
    if (width > limits.width || height > limits.height) {
      const message = `AEDAT 4.0 holds sensors up to 32768x32768, not ${width}x${height}`;
      throw new SaccadeError('input', message, { file: options.file });
    }
    return encodeAedat4(batches, options);
  },
};

const hasSignature = (head: Uint8Array): boolean =>
  Buffer.from(signature).every((byte, i) => head[i] === byte);

interface Stream {
  readonly id: number;
  /** Identifier of its packets, for instance `EVTS`. */
  readonly type: string;
  readonly sensor?: SensorSize;
}

interface Header {
  readonly compression: Compression;
  readonly streams: readonly Stream[];
  /** Where the packets end and the table of them begins; below zero where there is none. */
  readonly tableOffset: number;
}

/** Reads the header's FlatBuffer, with its length in front: compression, offset of the table, and the XML. */
function parseHeader(bytes: Uint8Array): Header {
  const buffer = new ByteBuffer(bytes);
  const text = (at: number): string => Buffer.from(bytes.subarray(at, at + 4)).toString('latin1');
  if (text(identifierAt) !== headerIdentifier) {
    throw new Error(`header of type ${JSON.stringify(text(identifierAt))}, expected "IOHE"`);
  }
  const root = prefixLength + buffer.readInt32(prefixLength);
  const field = (slot: number): number => {
    const offset = buffer.__offset(root, 4 + 2 * slot);
    return offset === 0 ? 0 : root + offset;
  };
  const [compressionAt, tableAt, infoAt] = [field(0), field(1), field(2)];
  const code = compressionAt === 0 ? 0 : buffer.readInt32(compressionAt);
  const compression = compressions[code];
  if (compression === undefined) throw new Error(`compression ${code}, expected 0 to 4`);
  const xmlAt = infoAt === 0 ? 0 : infoAt + buffer.readInt32(infoAt);
  const xmlLength = infoAt === 0 ? 0 : buffer.readInt32(xmlAt);
  const xml = Buffer.from(bytes.subarray(xmlAt + 4, xmlAt + 4 + Math.max(0, xmlLength)));
  const streams = parseStreams(xml.toString('utf8'));
  if (streams.length === 0) throw new Error('header without streams, expected some in its XML');
  const tableOffset = tableAt === 0 ? -1 : Number(buffer.readInt64(tableAt));
  return { compression, streams, tableOffset };
}

/** The streams that the XML lists: nodes in `outInfo` with numbers as names, and attributes in them. */
function parseStreams(xml: string): Stream[] {
  const nodes: string[] = [];
  const streams = new Map<number, Record<string, string>>();
  for (const [, tag, value] of xml.matchAll(/<([^<>]*)>([^<>]*)/g)) {
    const node = /^node name="([^"]*)"/.exec(tag)?.[1];
    const key = /^attr key="([^"]*)"/.exec(tag)?.[1];
    if (node !== undefined) nodes.push(node);
    else if (tag === '/node') nodes.pop();
    else if (key !== undefined && nodes[0] === 'outInfo' && /^\d{1,9}$/.test(nodes[1] ?? '')) {
      const id = Number(nodes[1]);
      streams.set(id, { ...streams.get(id), [key]: value });
    }
  }
  return [...streams].map(([id, { typeIdentifier = '', sizeX, sizeY }]) => {
    const width = Number(sizeX);
    const height = Number(sizeY);
    const fits = width >= 1 && width <= limits.width && height >= 1 && height <= limits.height;
    return { id, type: typeIdentifier, sensor: fits ? { width, height } : undefined };
  });
}

function chooseStream(streams: readonly Stream[], path: string | undefined): Stream {
  const ofEvents = streams.filter(({ type }) => type === eventsIdentifier);
  const chosen = path === undefined ? ofEvents[0] : ofEvents.find(({ id }) => String(id) === path);
  if (chosen === undefined) {
    const found = streams.map(({ id, type }) => `${id} (${type})`).join(', ');
    const expected = path === undefined ? 'one of events (EVTS)' : `events in stream "${path}"`;
    throw new Error(`streams ${found}, expected ${expected}`);
  }
  return chosen;
}

class Aedat4Decoder implements BlockDecoder {
  /** The events of the packet that is being read, as little-endian words, and the next one's index. */
  private records: Int32Array = new Int32Array(0);
  private next = 0;
  /** Where that packet begins in the file. */
  private packetOffset = 0;
  /** Events of the first packet behind a mark that were read before it. */
  private readBefore = 0;
  private lost = false;
  /** Set behind the last packet. */
  private done = false;
  private readonly types: ReadonlyMap<number, string>;
  private readonly compiled: CompiledLoop | undefined;

  constructor(
    private readonly header: Header,
    private readonly stream: Stream,
    readonly sensor: SensorSize,
    private readonly report: DecodeReport,
    compiled?: boolean,
  ) {
    this.compiled = CompiledLoop.of('decodeAedat4', 1, compiled);
    this.types = new Map(header.streams.map(({ id, type }) => [id, type]));
  }

  mark(input: ByteReader): DecodeMark {
    return this.next < this.records.length
      ? { offset: this.packetOffset, state: [this.next / recordWords] }
      : { offset: input.offset, state: [0] };
  }

  resume([readBefore]: readonly number[]): void {
    this.readBefore = readBefore;
  }

  decode(input: ByteReader, events: BatchBuilder, full: number): void {
    for (;;) {
      this.readRecords(events, full);
      if (events.length >= full) return;
      if (input.available > 0 && input.offset === this.header.tableOffset) this.done = true;
      if (this.done) input.position = input.end;
      if (input.available < packetHeaderLength) return;
      if (!this.nextPacket(input)) return;
    }
  }

  finish(input: ByteReader): void {
    const { tableOffset } = this.header;
    if (input.offset < tableOffset) {
      const message = `ends here, but its header states a table of packets at byte ${tableOffset}`;
      reportDamage(this.report, input.offset, message);
    }
  }

  /** Reads or passes over what is next; false where more bytes are needed. */
  private nextPacket(input: ByteReader): boolean {
    const { view, position } = input;
    const told = this.looksLikePacket(input);
    if (told === undefined) return false;
    if (!told) {
      if (!this.lost) reportDamage(this.report, input.offset, 'no packet of a known stream');
      this.lost = true;
      input.position++;
      return true;
    }
    const id = view.getInt32(position, true);
    const length = view.getInt32(position + 4, true);
    if (input.available < packetHeaderLength + length) return false;
    this.lost = false;
    const { offset } = input;
    input.position += packetHeaderLength + length;
    if (id === this.stream.id) {
      this.openPacket(input.bytes.subarray(position + packetHeaderLength, input.position), offset);
    } else {
      countSkipped(this.report, packetNames[this.types.get(id) ?? ''] ?? 'otherPackets');
    }
    return true;
  }

  /** Whether a packet begins here; undefined where the bytes at hand do not tell. */
  private looksLikePacket({ view, position, available, atEnd }: ByteReader): boolean | undefined {
    const type = this.types.get(view.getInt32(position, true));
    const length = view.getInt32(position + 4, true);
    if (type === undefined || length <= 0 || length > maxPacketLength) return false;
    if (available < toldLength) return atEnd && this.lost ? false : undefined;
    const { compression } = this.header;
    if (compression !== 'none') {
      return view.getUint32(position + packetHeaderLength, true) === magics[compression];
    }
    const identifier = position + packetHeaderLength + identifierAt;
    return [...type].every((letter, i) => view.getUint8(identifier + i) === letter.charCodeAt(0));
  }

  private runCompiled(loop: CompiledLoop, events: BatchBuilder, full: number): void {
    const bytes = new Uint8Array(this.records.buffer);
    const start = Int32Array.BYTES_PER_ELEMENT * this.next;
    const stop = loop.decodeBytes(bytes, start, bytes.length, events, full, this.sensor);
    this.next = stop / Int32Array.BYTES_PER_ELEMENT;
    countSkipped(this.report, 'outsideSensor', loop.state[0]);
  }

  private openPacket(payload: Uint8Array, offset: number): void {
    this.packetOffset = offset;
    this.next = this.readBefore * recordWords;
    this.readBefore = 0;
    try {
      this.records = eventWords(this.decompress(payload));
    } catch (error) {
      this.records = new Int32Array(0);
      const reason = error instanceof Error ? error.message : String(error);
      reportDamage(this.report, offset, `damaged packet, passed over: ${reason}`);
    }
  }

  private decompress(payload: Uint8Array): Uint8Array {
    switch (this.header.compression) {
      case 'none':
        return payload;
      case 'lz4':
        return decompressLz4Frame(payload, maxPacketLength);
      case 'zstd':
        return decompressZstdFrame(payload, maxPacketLength);
    }
  }

  private readRecords(events: BatchBuilder, full: number): void {
    if (this.compiled !== undefined) this.runCompiled(this.compiled, events, full);
    const { records } = this;
    const { tUs, x, y, polarity } = events;
    const { width, height } = this.sensor;
    let { next } = this;
    let count = events.length;
    let outside = 0;
    for (; next < records.length && count < full; next += recordWords) {
      const high = records[next + 1];
      const place = records[next + 2];
      const column = place & 0xffff;
      const row = place >>> 16;
      if (high >= maxHighWord || high < -maxHighWord) {
        reportDamage(this.report, this.packetOffset, 'event with a time out of range');
      } else if (column < width && row < height) {
        tUs[count] = high * 2 ** 32 + (records[next] >>> 0);
        x[count] = column;
        y[count] = row;
        polarity[count++] = records[next + 3] & 1;
      } else {
        outside++;
      }
    }
    this.next = next;
    events.length = count;
    countSkipped(this.report, 'outsideSensor', outside);
  }
}

/**
 * The events in a packet's FlatBuffer, whose only field is a vector of structs of 16 bytes: int64 t, int16 x
 * and y, uint8 polarity. As words in memory of their own.
 */
function eventWords(bytes: Uint8Array): Int32Array {
  const buffer = new ByteBuffer(bytes);
  const identifier = Buffer.from(bytes.subarray(identifierAt, identifierAt + 4)).toString('latin1');
  if (identifier !== eventsIdentifier) {
    throw new Error(`packet of type ${JSON.stringify(identifier)}, expected "EVTS"`);
  }
  const root = prefixLength + buffer.readInt32(prefixLength);
  const field = buffer.__offset(root, 4);
  if (field === 0) return new Int32Array(0);
  const vector = root + field + buffer.readInt32(root + field);
  const length = buffer.readInt32(vector);
  const start = vector + 4;
  if (!(length >= 0 && vector >= 0 && start + length * recordLength <= bytes.length)) {
    throw new Error(`${length} events, expected as many as ${bytes.length} bytes can hold`);
  }
  const records = new Uint8Array(length * recordLength);
  records.set(bytes.subarray(start, start + length * recordLength));
  return new Int32Array(records.buffer);
}

/** In front of the events of a packet: lengths, root, identifier, and a table whose one field is the vector. */
const packetPrefix = Uint8Array.from(
  [
    [0, 0, 0, 0], // length of what follows
    [16, 0, 0, 0], // root: the table, from here
    [...Buffer.from(eventsIdentifier)],
    [0, 0], // so that the events begin at a multiple of 8
    [6, 0, 8, 0, 4, 0], // its layout: 6 bytes; tables of 8; field 0 at 4
    [6, 0, 0, 0], // the table: its layout is 6 bytes in front
    [4, 0, 0, 0], // field 0: the vector, from here
    [0, 0, 0, 0], // number of events
  ].flat(),
);

async function* encodeAedat4(
  batches: AsyncIterable<EventBatch>,
  options: EncodeOptions,
): AsyncGenerator<Uint8Array> {
  const { sensor, compression = 'none', rewriteHead } = options;
  const compress = compression === 'none' ? undefined : await compressors[compression]();
  const encoder = new Aedat4Encoder(
    (tableOffset) => writtenHead(sensor, compression, tableOffset),
    compress,
    rewriteHead !== undefined,
  );
  yield* encodeEvents(batches, options, encoder);
  rewriteHead?.(encoder.head());
}

type Compressor = (bytes: Uint8Array) => Uint8Array;
const compressors: Readonly<Record<Exclude<Compression, 'none'>, () => Promise<Compressor>>> = {
  lz4: () => Promise.resolve(compressLz4Frame),
  zstd: zstdCompressor,
};

class Aedat4Encoder implements EventEncoder {
  private readonly records = new Int32Array(eventsPerPacket * recordWords);
  /** Events in the packet that is being filled. */
  private count = 0;
  /** Bytes written. */
  private offset = 0;
  private tableOffset = -1;
  private readonly table = new PacketTable();

  /** @param headFor makes the bytes in front of the packets. */
  constructor(
    private readonly headFor: (tableOffset: number) => Uint8Array,
    private readonly compress: Compressor | undefined,
    private readonly withTable: boolean,
  ) {}

  /** The bytes in front of the packets, with the place of the table where that is known. */
  head(): Uint8Array {
    return this.headFor(this.tableOffset);
  }

  begin(output: ByteWriter): void {
    this.put(output, this.head());
  }

  write(output: ByteWriter, tUs: number, x: number, y: number, polarity: number): undefined {
    if (this.count === eventsPerPacket) this.flush(output);
    const at = recordWords * this.count++;
    this.records[at] = tUs; // modulo 2^32
    this.records[at + 1] = Math.floor(tUs / 2 ** 32);
    this.records[at + 2] = x | (y << 16);
    this.records[at + 3] = polarity;
  }

  writeRun(output: ByteWriter, batch: EventBatch, start: number, end: number): number {
    const { tUs, x, y, polarity } = batch;
    const { records } = this;
    let at = recordWords * this.count;
    for (let i = start; i < end; i++) {
      if (at === records.length) {
        this.count = eventsPerPacket;
        this.flush(output);
        at = 0;
      }
      records[at] = tUs[i]; // modulo 2^32
      records[at + 1] = Math.floor(tUs[i] / 2 ** 32);
      records[at + 2] = x[i] | (y[i] << 16);
      records[at + 3] = polarity[i] === 0 ? 0 : 1;
      at += recordWords;
    }
    this.count = at / recordWords;
    return end;
  }

  end(output: ByteWriter): void {
    if (this.count > 0) this.flush(output);
    if (!this.withTable) return;
    this.tableOffset = this.offset;
    const table = this.table.bytes();
    this.put(output, this.compress?.(table) ?? table);
  }

  private flush(output: ByteWriter): void {
    const { count } = this;
    const length = packetPrefix.length + count * recordLength;
    if (this.compress === undefined) {
      output.reserve(packetHeaderLength + length);
      this.writePayload(output.bytes, output.words, output.length + packetHeaderLength);
      this.finishPacket(output, length);
    } else {
      const words = new Int32Array(length / Int32Array.BYTES_PER_ELEMENT);
      const payload = new Uint8Array(words.buffer);
      this.writePayload(payload, words, 0);
      const packed = this.compress(payload);
      output.reserve(packetHeaderLength + packed.length);
      output.bytes.set(packed, output.length + packetHeaderLength);
      this.finishPacket(output, packed.length);
    }
    this.count = 0;
  }

  /** The packet's FlatBuffer, in memory that is also seen as words. */
  private writePayload(bytes: Uint8Array, words: Int32Array, at: number): void {
    const { count } = this;
    const events = at + packetPrefix.length;
    const view = new DataView(bytes.buffer);
    bytes.set(packetPrefix, at);
    view.setInt32(at, packetPrefix.length + count * recordLength - prefixLength, true);
    view.setInt32(events - 4, count, true);
    if (events % 4 === 0) {
      words.set(this.records.subarray(0, recordWords * count), events / 4);
    } else {
      bytes.set(new Uint8Array(this.records.buffer, 0, count * recordLength), events);
    }
  }

  /** Puts the header in front of the payload, which is there already. */
  private finishPacket(output: ByteWriter, length: number): void {
    output.view.setInt32(output.length, 0, true); // number of the stream
    output.view.setInt32(output.length + 4, length, true);
    if (this.withTable) {
      this.table.add(this.offset + packetHeaderLength, length, this.count, this.records);
    }
    output.length += packetHeaderLength + length;
    this.offset += packetHeaderLength + length;
  }

  private put(output: ByteWriter, bytes: Uint8Array): void {
    output.reserve(bytes.length);
    output.bytes.set(bytes, output.length);
    output.length += bytes.length;
    this.offset += bytes.length;
  }
}

/** Collects what the table at the end of a file says of each packet: 5 numbers for 4,096 events. */
class PacketTable {
  private readonly packets: (readonly [offset: number, length: number, events: number])[] = [];
  private readonly timesUs: (readonly [first: bigint, last: bigint])[] = [];

  /** @param offset of the payload, behind its header. */
  add(offset: number, length: number, events: number, records: Int32Array): void {
    const times = new BigInt64Array(records.buffer);
    const wordsPerTime = 2;
    this.packets.push([offset, length, events]);
    this.timesUs.push([times[0], times[((events - 1) * recordWords) / wordsPerTime]]);
  }

  /** The table's FlatBuffer, with its length in front. */
  bytes(): Uint8Array {
    const builder = new Builder(1024);
    builder.forceDefaults(true);
    const entries = this.packets.map(([offset, length, events], i) => {
      const [first, last] = this.timesUs[i];
      builder.startObject(5);
      builder.addFieldInt64(4, last, 0n);
      builder.addFieldInt64(3, first, 0n);
      builder.addFieldInt64(2, BigInt(events), 0n);
      builder.addFieldInt64(0, BigInt(offset), 0n);
      // A struct lies in the table itself.
      builder.prep(4, 8);
      builder.writeInt32(length);
      builder.writeInt32(0); // number of the stream
      builder.addFieldStruct(1, builder.offset(), 0);
      return builder.endObject();
    });
    builder.startVector(4, entries.length, 4);
    for (const entry of entries.reverse()) builder.addOffset(entry);
    const vector = builder.endVector();
    builder.startObject(1);
    builder.addFieldOffset(0, vector, 0);
    builder.finishSizePrefixed(builder.endObject(), tableIdentifier);
    return builder.asUint8Array();
  }
}

/** The first line and the header's FlatBuffer with its length in front, of one stream of events. */
function writtenHead(
  { width, height }: SensorSize,
  compression: Compression,
  tableOffset: number,
): Uint8Array {
  const attribute = (key: string, type: string, value: string | number): string =>
    `<attr key="${key}" type="${type}">${value}</attr>`;
  const xml = [
    '<dv version="2.0"><node name="outInfo" path="/outInfo/"><node name="0" path="/outInfo/0/">',
    attribute('compression', 'string', compression.toUpperCase()),
    attribute('originalModuleName', 'string', 'saccade'),
    attribute('originalOutputName', 'string', 'events'),
    attribute('typeDescription', 'string', 'Array of events (polarity ON/OFF).'),
    attribute('typeIdentifier', 'string', eventsIdentifier),
    '<node name="info" path="/outInfo/0/info/">',
    attribute('sizeX', 'int', width),
    attribute('sizeY', 'int', height),
    attribute('source', 'string', 'saccade'),
    attribute('tsOffset', 'long', 0),
    '</node></node></node></dv>',
  ].join('');
  const builder = new Builder(1024);
  builder.forceDefaults(true);
  const info = builder.createString(xml);
  builder.startObject(3);
  builder.addFieldInt64(1, BigInt(tableOffset), -1n);
  builder.addFieldInt32(0, compressions.indexOf(compression), 0);
  builder.addFieldOffset(2, info, 0);
  builder.finishSizePrefixed(builder.endObject(), headerIdentifier);
  return Buffer.concat([Buffer.from(signature), builder.asUint8Array()]);
}

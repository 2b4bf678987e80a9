import { SaccadeError } from '../../engine/support/errors.js';
import type { ByteReader, ByteWriter } from '../bytes.js';
import type { BatchBuilder, EventBatch, SensorSize } from '../eventBatch.js';
import {
  countSkipped,
  type DecodeMark,
  type DecodeReport,
  type EventFormat,
  reportDamage,
} from '../format.js';
import { type BlockDecoder, decodeEvents, encodeEvents, type EventEncoder } from '../transcode.js';
import { headerLines, readTextHeader } from './textHeader.js';

const versionLine = '!AER-DAT3.';
const lastHeaderLine = '!END-HEADER';
const packetHeaderLength = 28;
const recordLength = 8;
const limits: SensorSize = { width: 32_768, height: 32_768 };
const overflowUs = 2 ** 31;

/** Packet types. */
const special = 0;
const polarityType = 1;
/** What the events of other packets are counted as. */
const otherTypes: Readonly<Record<number, string>> = {
  2: 'frame',
  3: 'imu',
  4: 'imu',
  5: 'sample',
  6: 'ear',
  7: 'config',
  8: 'point',
  9: 'point',
  10: 'point',
  11: 'point',
  12: 'spike',
};
const lastType = 12;
const timestampReset = 1;

/** What claims more than this is taken for damage: frames of 64 MiB, packets of 1 GiB. */
const maxEventLength = 2 ** 26;
const maxPacketLength = 2 ** 30;

const eventsPerPacket = 4_096;

/** Cameras that `#Source` lines name. */
const cameras: readonly { readonly name: string; readonly sensor: SensorSize }[] = [
  { name: 'DVS128', sensor: { width: 128, height: 128 } },
  { name: 'DAVIS240C', sensor: { width: 240, height: 180 } },
  { name: 'DAVIS346B', sensor: { width: 346, height: 260 } },
  { name: 'DAVIS640', sensor: { width: 640, height: 480 } },
];

/**
 * AEDAT 3.x of cAER (DVS128 Gesture): header lines with `#` up to `#!END-HEADER` (3.0 has no such line), then
 * little-endian packets: a header of 28 bytes and events of one type and length.
 *
 * Convention: origin at the upper left (3.0: lower left; x and y are always given as stored), polarity 1 = ON. Times
 * are 31-bit µs and an overflow count in each packet's header. After a timestamp reset, counted as
 * `timestampReset`, times begin at zero again and are kept so. Events marked invalid are skipped and counted
 * (`invalid`), and so are special events, frames, IMU and other packets, by number of events.
 *
 * Behind a damaged packet header, the next plausible one is looked for. The size comes from the camera in the
 * `#Source` line; for other sizes the encoder writes `WIDTHxHEIGHT` there.
 *
 * Source: iniVation "AEDAT file formats"; libcaer `polarity.h`, `common.h`.
 */
export const aedat3: EventFormat = {
  name: 'aedat3',
  title: 'AEDAT 3.1 (cAER)',
  extensions: ['aedat3'],
  holdsSensorSize: true,
  usualSensors: cameras.map((camera) => camera.sensor),
  limits,

  detect: ({ head }) => (linesOf(head)[0]?.startsWith(versionLine) ? 1 : 0),

  sensorOf: (head) => sensorOfLines(linesOf(head)),

  decode: (bytes, options) =>
    decodeEvents(bytes, options, async (input) => {
      const lines = await readTextHeader(input, '#', lastHeaderLine);
      if (!lines[0]?.startsWith(versionLine)) {
        const message = `not AEDAT 3: expected "#${versionLine}1"`;
        throw new SaccadeError('input', message, { file: options.file, offset: 0 });
      }
      const format = lines.find((line) => /^Format:/i.test(line));
      if (format !== undefined && !/^Format:\s*RAW\s*$/i.test(format)) {
        const message = `"${format}", expected "Format: RAW"`;
        throw new SaccadeError('input', message, { file: options.file, offset: 0 });
      }
      const sensor = sensorOfLines(lines) ?? options.sensor ?? limits;
      return new Aedat3Decoder(sensor, options.report);
    }),

  encode: (batches, options) => {
    const { width, height } = options.sensor;
    if (width > limits.width || height > limits.height) {
      const message = `AEDAT 3.1 holds sensors up to 32768x32768, not ${width}x${height}`;
      throw new SaccadeError('input', message, { file: options.file });
    }
    return encodeEvents(batches, options, new Aedat3Encoder(options.sensor));
  },
};

const linesOf = (head: Uint8Array): string[] => headerLines(head, '#', lastHeaderLine);

function sensorOfLines(lines: readonly string[]): SensorSize | undefined {
  const source = lines.map((line) => /^Source\s+\d+:\s*(.*)$/i.exec(line)?.[1]).find(Boolean);
  if (source === undefined) return undefined;
  const named = cameras.find(({ name }) => new RegExp(name.replace(/[BC]$/, ''), 'i').test(source));
  if (named !== undefined) return named.sensor;
  const size = /(\d+)x(\d+)/.exec(source);
  const width = Number(size?.[1]);
  const height = Number(size?.[2]);
  const fits = width >= 1 && width <= limits.width && height >= 1 && height <= limits.height;
  return fits ? { width, height } : undefined;
}

class Aedat3Decoder implements BlockDecoder {
  /** Type of the packet that is being read. */
  private type = 0;
  /** Events left in it. */
  private left = 0;
  /** Bytes to pass over, behind those events. */
  private passOver = 0;
  private baseUs = 0;
  /** Set while a plausible packet header is looked for. */
  private lost = false;

  constructor(
    readonly sensor: SensorSize,
    private readonly report: DecodeReport,
  ) {}

  mark(input: ByteReader): DecodeMark {
    const { type, left, passOver, baseUs, lost } = this;
    return { offset: input.offset, state: [type, left, passOver, baseUs, lost ? 1 : 0] };
  }

  resume([type, left, passOver, baseUs, lost]: readonly number[]): void {
    Object.assign(this, { type, left, passOver, baseUs, lost: lost === 1 });
  }

  decode(input: ByteReader, events: BatchBuilder, full: number): void {
    for (;;) {
      if (this.left > 0) {
        if (this.type === polarityType) this.readPolarity(input, events, full);
        else this.readSpecial(input);
        if (this.left > 0) return;
      }
      const passed = Math.min(this.passOver, input.available);
      input.position += passed;
      this.passOver -= passed;
      if (this.passOver > 0 || input.available < packetHeaderLength) return;
      // Also between packets, a full batch is handed out first: so the next mark is the same, however bytes are cut.
      if (events.length >= full) return;
      this.readHeader(input);
    }
  }

  finish(input: ByteReader): void {
    if (this.left === 0 && this.passOver === 0) return;
    const missing = this.left > 0 ? `${this.left} events` : `${this.passOver} bytes`;
    reportDamage(this.report, input.offset, `ends inside a packet, ${missing} of it are missing`);
  }

  private readHeader(input: ByteReader): void {
    const { view, position } = input;
    if (!isPlausibleHeader(view, position)) {
      if (!this.lost) reportDamage(this.report, input.offset, 'no plausible packet header');
      this.lost = true;
      input.position++;
      return;
    }
    this.lost = false;
    this.type = view.getInt16(position, true);
    const length = view.getInt32(position + 4, true);
    const overflow = view.getInt32(position + 12, true);
    const capacity = view.getInt32(position + 16, true);
    const number = view.getInt32(position + 20, true);
    input.position += packetHeaderLength;
    this.baseUs = overflow * overflowUs;
    if (this.type === polarityType || this.type === special) {
      this.left = number;
      this.passOver = (capacity - number) * length;
    } else {
      countSkipped(this.report, otherTypes[this.type], number);
      this.passOver = capacity * length;
    }
  }

  /** Bit 0 valid, bit 1 ON, bits 2-16 y, bits 17-31 x; then the time. */
  private readPolarity(input: ByteReader, events: BatchBuilder, full: number): void {
    const { view } = input;
    const { tUs, x, y, polarity } = events;
    const { width, height } = this.sensor;
    const { baseUs } = this;
    const last = input.end - recordLength;
    let { position } = input;
    let count = events.length;
    let left = this.left;
    let invalid = 0;
    let outside = 0;
    while (left > 0 && position <= last && count < full) {
      const data = view.getInt32(position, true);
      const lowUs = view.getInt32(position + 4, true);
      const column = data >>> 17;
      const row = (data >>> 2) & 0x7fff;
      if ((data & 1) === 0) {
        invalid++;
      } else if (lowUs < 0) {
        reportDamage(this.report, input.offsetOf(position), `time ${lowUs}, expected at least 0`);
      } else if (column < width && row < height) {
        tUs[count] = baseUs + lowUs;
        x[count] = column;
        y[count] = row;
        polarity[count++] = (data >>> 1) & 1;
      } else {
        outside++;
      }
      position += recordLength;
      left--;
    }
    input.position = position;
    events.length = count;
    this.left = left;
    countSkipped(this.report, 'invalid', invalid);
    countSkipped(this.report, 'outsideSensor', outside);
  }

  /** Bit 0 valid, bits 1-7 the kind of special event. */
  private readSpecial(input: ByteReader): void {
    const { view } = input;
    for (; this.left > 0 && input.available >= recordLength; this.left--) {
      const data = view.getInt32(input.position, true);
      input.position += recordLength;
      const reset = ((data >>> 1) & 0x7f) === timestampReset && (data & 1) === 1;
      countSkipped(this.report, reset ? 'timestampReset' : 'special');
    }
  }
}

function isPlausibleHeader(view: DataView, at: number): boolean {
  const type = view.getInt16(at, true);
  const source = view.getInt16(at + 2, true);
  const length = view.getInt32(at + 4, true);
  const timeOffset = view.getInt32(at + 8, true);
  const overflow = view.getInt32(at + 12, true);
  const capacity = view.getInt32(at + 16, true);
  const number = view.getInt32(at + 20, true);
  const valid = view.getInt32(at + 24, true);
  const fixedLength = type === special || type === polarityType;
  return (
    type >= 0 &&
    type <= lastType &&
    source >= 0 &&
    (fixedLength ? length === recordLength : length >= recordLength && length <= maxEventLength) &&
    timeOffset >= 0 &&
    timeOffset + 4 <= length &&
    overflow >= 0 &&
    overflow < 2 ** 22 &&
    capacity >= number &&
    number >= valid &&
    valid >= 0 &&
    capacity * length <= maxPacketLength
  );
}

class Aedat3Encoder implements EventEncoder {
  private readonly header = new Int32Array(packetHeaderLength / 4);
  private readonly records = new Int32Array((eventsPerPacket * recordLength) / 4);
  /** Events in the packet that is being filled, and its overflow count. */
  private count = 0;
  private overflow = 0;

  constructor(private readonly sensor: SensorSize) {}

  begin(output: ByteWriter): void {
    const { width, height } = this.sensor;
    const camera = cameras.find(({ sensor }) => sensor.width === width && sensor.height === height);
    output.writeText(
      [
        `#${versionLine}1`,
        '#Format: RAW',
        `#Source 1: ${camera?.name ?? `${width}x${height}`}`,
        `#${lastHeaderLine}`,
        '',
      ].join('\r\n'),
    );
  }

  write(
    output: ByteWriter,
    tUs: number,
    x: number,
    y: number,
    polarity: number,
  ): string | undefined {
    if (tUs < 0) return 'AEDAT 3.1 has no times below zero';
    const overflow = Math.floor(tUs / overflowUs);
    if (overflow !== this.overflow || this.count === eventsPerPacket) this.flush(output);
    this.overflow = overflow;
    const at = 2 * this.count++;
    this.records[at] = (x << 17) | (y << 2) | (polarity << 1) | 1;
    this.records[at + 1] = tUs - overflow * overflowUs;
    return undefined;
  }

  writeRun(output: ByteWriter, batch: EventBatch, start: number, end: number): number {
    const { tUs, x, y, polarity } = batch;
    const { records } = this;
    const baseUs = this.overflow * overflowUs;
    let at = 2 * this.count;
    let i = start;
    for (; i < end; i++) {
      if (at === records.length) {
        this.count = eventsPerPacket;
        this.flush(output);
        at = 0;
      }
      const lowUs = tUs[i] - baseUs;
      if (!(lowUs >= 0 && lowUs < overflowUs)) break;
      records[at] = (x[i] << 17) | (y[i] << 2) | (polarity[i] === 0 ? 1 : 3);
      records[at + 1] = lowUs;
      at += 2;
    }
    this.count = at >> 1;
    return i;
  }

  end(output: ByteWriter): void {
    this.flush(output);
  }

  private flush(output: ByteWriter): void {
    const { header, records, count } = this;
    if (count === 0) return;
    header.set([polarityType | (1 << 16), recordLength, 4, this.overflow, count, count, count]);
    output.reserve(packetHeaderLength + count * recordLength);
    const at = output.length >> 2;
    output.words.set(header, at);
    output.words.set(records.subarray(0, 2 * count), at + header.length);
    output.length += packetHeaderLength + count * recordLength;
    this.count = 0;
  }
}

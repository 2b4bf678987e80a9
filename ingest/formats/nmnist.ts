import type { ByteReader, ByteWriter } from '../bytes.js';
import type { BatchBuilder, EventBatch, SensorSize } from '../eventBatch.js';
import { countSkipped, type DecodeMark, type DecodeReport, type EventFormat } from '../format.js';
import { type BlockDecoder, decodeEvents, encodeEvents, type EventEncoder } from '../transcode.js';

const recordLength = 5;
/** A record with this y is no event: it adds `overflowUs` to all times behind it. */
const overflowRow = 240;
const overflowUs = 2 ** 13;
const timeRangeUs = 2 ** 23;
/** The longest run of overflow records that is written: 20 MB, 9.5 hours. */
const maxOverflows = 2 ** 22;
const limits: SensorSize = { width: 256, height: 240 };
/** Records that `detect` looks at. */
const detectedRecords = 2_000;

/**
 * The N-MNIST layout (`.bin`, SLAYER's `.bs2`; also N-Caltech101): 5 bytes per event, x, y, polarity in
 * the top bit of the third byte, and 23 bits of time in µs, big-endian. There is no header and no size.
 *
 * Convention: origin at the upper left, polarity 1 = ON. A record with y = 240 adds 2^13 µs to all later
 * times; the encoder writes as many as it takes where a time has more than 23 bits, so recordings may be
 * long, but later events may lie at most 8.4 s back. Where there is no event at all, it writes one
 * such record, so that the recording differs from a lost file.
 *
 * Source: gorchard/event-Python; tonic `io.py`; SLAYER `.bs2`.
 */
export const nmnist: EventFormat = {
  name: 'nmnist',
  title: 'N-MNIST / N-Caltech101 / SLAYER bs2 (5-byte events)',
  extensions: ['bin', 'bs2'],
  holdsSensorSize: false,
  usualSensors: [
    { width: 34, height: 34 },
    { width: 128, height: 128 },
    { width: 304, height: 240 },
  ],
  limits,

  detect: ({ head, fileSize, extension }) => {
    if (fileSize !== undefined && fileSize % recordLength !== 0) return 0;
    if (!looksLikeEvents(head)) return 0;
    return extension === 'bin' || extension === 'bs2' ? 0.45 : 0.3;
  },

  decode: (bytes, options) =>
    decodeEvents(bytes, options, () => new NmnistDecoder(options.sensor ?? limits, options.report)),

  encode: (batches, options) => encodeEvents(batches, options, new NmnistEncoder()),
};

/** Without a magic number, only rows in range and times that hardly ever go back tell the layout. */
function looksLikeEvents(head: Uint8Array): boolean {
  const records = Math.min(Math.floor(head.length / recordLength), detectedRecords);
  let backward = 0;
  let lastUs = 0;
  for (let i = 0; i < records; i++) {
    const position = i * recordLength;
    if (head[position + 1] > overflowRow) return false;
    if (head[position + 1] === overflowRow) continue;
    const tUs =
      ((head[position + 2] & 0x7f) << 16) | (head[position + 3] << 8) | head[position + 4];
    if (tUs < lastUs) backward++;
    lastUs = tUs;
  }
  return records > 0 && backward <= records / 50;
}

class NmnistDecoder implements BlockDecoder {
  private baseUs = 0;

  constructor(
    readonly sensor: SensorSize,
    private readonly report: DecodeReport,
  ) {}

  mark(input: ByteReader): DecodeMark {
    return { offset: input.offset, state: [this.baseUs] };
  }

  resume([baseUs]: readonly number[]): void {
    this.baseUs = baseUs;
  }

  decode(input: ByteReader, events: BatchBuilder, full: number): void {
    const { bytes, end } = input;
    const { width, height } = this.sensor;
    let position = input.position;
    let baseUs = this.baseUs;
    let outside = 0;
    while (position + recordLength <= end && events.length < full) {
      const x = bytes[position];
      const y = bytes[position + 1];
      const high = bytes[position + 2];
      if (y === overflowRow) {
        baseUs += overflowUs;
      } else if (x >= width || y >= height) {
        outside++;
      } else {
        const lowUs = ((high & 0x7f) << 16) | (bytes[position + 3] << 8) | bytes[position + 4];
        events.push(baseUs + lowUs, x, y, high >> 7);
      }
      position += recordLength;
    }
    input.position = position;
    this.baseUs = baseUs;
    countSkipped(this.report, 'outsideSensor', outside);
  }
}

class NmnistEncoder implements EventEncoder {
  private baseUs = 0;

  begin(): void {
    // No header.
  }

  write(
    output: ByteWriter,
    tUs: number,
    x: number,
    y: number,
    polarity: number,
  ): string | undefined {
    if (x >= limits.width || y >= limits.height) return 'this format holds x to 255 and y to 239';
    if (tUs < this.baseUs) {
      return 'this format has no times below zero, nor more than 8.4 s before an earlier event';
    }
    const overflows = Math.max(0, Math.floor((tUs - this.baseUs - timeRangeUs) / overflowUs) + 1);
    if (overflows > maxOverflows) {
      return 'this format would need a record for each 8 ms of the gap before it; shift the times to start near zero';
    }
    for (let i = 0; i < overflows; i++) this.writeRecord(output, 0, overflowRow, 0);
    this.baseUs += overflows * overflowUs;
    this.writeRecord(output, x, y, (polarity << 23) | (tUs - this.baseUs));
    return undefined;
  }

  writeRun(output: ByteWriter, batch: EventBatch, start: number, end: number): number {
    output.reserve((end - start) * recordLength);
    const { tUs, x, y, polarity } = batch;
    const { bytes } = output;
    const { baseUs } = this;
    let position = output.length;
    let i = start;
    for (; i < end; i++) {
      const lowUs = tUs[i] - baseUs;
      if (!(lowUs >= 0 && lowUs < timeRangeUs && x[i] < limits.width && y[i] < limits.height)) {
        break;
      }
      bytes[position] = x[i];
      bytes[position + 1] = y[i];
      bytes[position + 2] = (lowUs >> 16) | (polarity[i] === 0 ? 0 : 0x80);
      bytes[position + 3] = lowUs >> 8;
      bytes[position + 4] = lowUs;
      position += recordLength;
    }
    output.length = position;
    return i;
  }

  end(output: ByteWriter, events: number): void {
    if (events === 0) this.writeRecord(output, 0, overflowRow, 0);
  }

  private writeRecord(output: ByteWriter, x: number, y: number, rest: number): void {
    output.reserve(recordLength);
    const { bytes, length } = output;
    bytes[length] = x;
    bytes[length + 1] = y;
    bytes[length + 2] = rest >> 16;
    bytes[length + 3] = rest >> 8;
    bytes[length + 4] = rest;
    output.length += recordLength;
  }
}

import type { ByteReader } from '../bytes.js';
import type { BatchBuilder, SensorSize } from '../eventBatch.js';
import { countSkipped, type DecodeMark, type DecodeReport, type EventFormat } from '../format.js';
import { type BlockDecoder, decodeEvents, encodeEvents, type EventEncoder } from '../transcode.js';

const recordLength = 7;
const timeRangeUs = 2 ** 24;
const limits: SensorSize = { width: 4096, height: 4096 };
/** Stands alone in files without events, so that they differ from lost ones. */
const emptyRecord = [0xff, 0xff, 0xff, 0xff, 0, 0, 0];
/** Records that `detect` looks at. */
const detectedRecords = 2_000;

/**
 * SLAYER's three-dimensional spikes (`.bs3`): 7 bytes per event, big-endian: 12 bits x, 12 bits y, 8 bits
 * channel, 24 bits of time in µs. There is no header and no size, and no time from 2^24 µs (16.8 s) on.
 *
 * Convention: origin at the upper left; the channel is the polarity, 1 = ON. Records of other channels are
 * no events of a camera: they are skipped and counted (`channel`). Times are kept as they are stored.
 *
 * Source: SLAYER `spikeFileIO.py`.
 */
export const bs3: EventFormat = {
  name: 'bs3',
  title: 'SLAYER bs3 (7-byte events)',
  extensions: ['bs3'],
  holdsSensorSize: false,
  usualSensors: [
    { width: 34, height: 34 },
    { width: 128, height: 128 },
    { width: 304, height: 240 },
    { width: 640, height: 480 },
    { width: 1280, height: 720 },
  ],
  limits,

  detect: ({ head, fileSize, extension }) => {
    if (fileSize !== undefined && fileSize % recordLength !== 0) return 0;
    if (!looksLikeEvents(head)) return 0;
    return extension === 'bs3' ? 0.5 : 0.35;
  },

  decode: (bytes, options) =>
    decodeEvents(bytes, options, () => new Bs3Decoder(options.sensor ?? limits, options.report)),

  encode: (batches, options) => encodeEvents(batches, options, bs3Encoder),
};

/** Without a magic number, only channels of 0 and 1 and times that hardly ever go back tell the layout. */
function looksLikeEvents(head: Uint8Array): boolean {
  const records = Math.min(Math.floor(head.length / recordLength), detectedRecords);
  let backward = 0;
  let lastUs = 0;
  for (let i = 0; i < records; i++) {
    const at = i * recordLength;
    if (head[at + 3] > 1) return records === 1 && isEmptyRecord(head, at);
    const tUs = (head[at + 4] << 16) | (head[at + 5] << 8) | head[at + 6];
    if (tUs < lastUs) backward++;
    lastUs = tUs;
  }
  return records > 0 && backward <= records / 50;
}

const isEmptyRecord = (bytes: Uint8Array, at: number): boolean =>
  emptyRecord.every((byte, i) => bytes[at + i] === byte);

class Bs3Decoder implements BlockDecoder {
  constructor(
    readonly sensor: SensorSize,
    private readonly report: DecodeReport,
  ) {}

  mark(input: ByteReader): DecodeMark {
    return { offset: input.offset, state: [] };
  }

  resume(): void {
    // Nothing carries over from one record to the next.
  }

  decode(input: ByteReader, events: BatchBuilder, full: number): void {
    const { bytes, end } = input;
    const { width, height } = this.sensor;
    let position = input.position;
    let outside = 0;
    let others = 0;
    for (; position + recordLength <= end && events.length < full; position += recordLength) {
      const x = (bytes[position] << 4) | (bytes[position + 1] >> 4);
      const y = ((bytes[position + 1] & 0xf) << 8) | bytes[position + 2];
      const channel = bytes[position + 3];
      const tUs = (bytes[position + 4] << 16) | (bytes[position + 5] << 8) | bytes[position + 6];
      if (channel > 1) {
        if (!isEmptyRecord(bytes, position)) others++;
      } else if (x >= width || y >= height) {
        outside++;
      } else {
        events.push(tUs, x, y, channel);
      }
    }
    input.position = position;
    countSkipped(this.report, 'outsideSensor', outside);
    countSkipped(this.report, 'channel', others);
  }
}

const bs3Encoder: EventEncoder = {
  begin() {
    // No header.
  },

  write(_output, _tUs, x, y) {
    return x >= limits.width || y >= limits.height
      ? 'this format holds x and y to 4095'
      : 'this format holds times from 0 to 2^24-1 µs';
  },

  writeRun(output, { tUs, x, y, polarity }, start, end) {
    output.reserve((end - start) * recordLength);
    const { bytes } = output;
    let position = output.length;
    let i = start;
    for (; i < end; i++) {
      const us = tUs[i];
      const column = x[i];
      const row = y[i];
      if (!(us >= 0 && us < timeRangeUs && column < limits.width && row < limits.height)) break;
      bytes[position] = column >> 4;
      bytes[position + 1] = (column << 4) | (row >> 8);
      bytes[position + 2] = row;
      bytes[position + 3] = polarity[i] === 0 ? 0 : 1;
      bytes[position + 4] = us >> 16;
      bytes[position + 5] = us >> 8;
      bytes[position + 6] = us;
      position += recordLength;
    }
    output.length = position;
    return i;
  },

  end(output, events) {
    if (events > 0) return;
    output.reserve(recordLength);
    output.bytes.set(emptyRecord, output.length);
    output.length += recordLength;
  },
};

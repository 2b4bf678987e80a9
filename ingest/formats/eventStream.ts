import { SaccadeError } from '../../engine/support/errors.js';
import type { ByteReader, ByteWriter } from '../bytes.js';
import type { BatchBuilder, SensorSize } from '../eventBatch.js';
import { countSkipped, type DecodeReport, type EventFormat } from '../format.js';
import { type BlockDecoder, decodeEvents, encodeEvents, type EventEncoder } from '../transcode.js';

const signature = new TextEncoder().encode('Event Stream');
const headerLength = 20;
const recordLength = 5;
const streamTypes = ['generic', 'DVS', 'ATIS', undefined, 'color'];
const dvsType = 1;
const atisType = 2;

const limits: SensorSize = { width: 65_535, height: 65_535 };
/** The longest gap that is written: 2^24 overflow bytes of 127 µs, 35 minutes. */
const maxGapUs = 127 * 2 ** 24;

/**
 * Event Stream 2.0 (`.es`): a header of 20 bytes with the size, then events of a time step in µs since
 * the last one, x and y. Streams of the types DVS and ATIS are read, DVS is written.
 *
 * Convention: x and y as stored (the origin is usually at the lower left), polarity 1 = ON. Of ATIS
 * streams the change events are read; threshold crossings (grey levels) are skipped and counted.
 * Time starts at zero, cannot go back, and has no gap above 35 minutes when written (gaps cost a byte per 127 µs).
 *
 * Source: neuromorphic-paris/event_stream README, `sepia.hpp`.
 */
export const eventStream: EventFormat = {
  name: 'es',
  title: 'Event Stream 2.0 (.es; DVS, ATIS)',
  extensions: ['es'],
  holdsSensorSize: true,
  usualSensors: [],
  limits,

  detect: ({ head }) => (hasSignature(head) ? 1 : 0),

  sensorOf: (head) => {
    if (!hasSignature(head) || head.length < headerLength) return undefined;
    const sensor = sensorAt(head);
    return sensor.width > 0 && sensor.height > 0 ? sensor : undefined;
  },

  decode: (bytes, options) =>
    decodeEvents(bytes, options, async (input) => {
      await input.require(headerLength);
      const head = input.bytes.subarray(input.position, input.end);
      const fail = (message: string, offset: number): SaccadeError =>
        new SaccadeError('input', message, { file: options.file, offset });
      if (!hasSignature(head)) throw fail('not an Event Stream: expected "Event Stream"', 0);
      if (head.length < headerLength) {
        throw fail(`header ends early, expected ${headerLength} bytes`, head.length);
      }
      const [major, minor, patch, type] = head.subarray(signature.length);
      if (major !== 2) {
        throw fail(`Event Stream version ${major}.${minor}.${patch}, expected 2.x.x`, 12);
      }
      if (type !== dvsType && type !== atisType) {
        const found = streamTypes[type] ?? 'unknown';
        throw fail(`stream of type ${type} (${found}), expected 1 (DVS) or 2 (ATIS)`, 15);
      }
      const sensor = sensorAt(head);
      if (sensor.width === 0 || sensor.height === 0) {
        throw fail(`sensor of ${sensor.width}x${sensor.height} pixels, expected at least 1x1`, 16);
      }
      input.position += headerLength;
      return new EventStreamDecoder(sensor, type === atisType, options.report);
    }),

  encode: (batches, options) => {
    const { width, height } = options.sensor;
    if (width > limits.width || height > limits.height) {
      const message = `Event Stream holds sensors up to 65535x65535, not ${width}x${height}`;
      throw new SaccadeError('input', message, { file: options.file });
    }
    return encodeEvents(batches, options, new EventStreamEncoder(options.sensor));
  },
};

function hasSignature(head: Uint8Array): boolean {
  return signature.every((byte, i) => head[i] === byte);
}

function sensorAt(head: Uint8Array): SensorSize {
  return { width: head[16] | (head[17] << 8), height: head[18] | (head[19] << 8) };
}

/**
 * DVS: byte 0 is `step << 1 | on` with steps up to 126; 0xff adds 127 µs, 0xfe is a reset.
 * ATIS: byte 0 is `step << 2 | on << 1 | threshold` with steps up to 62; 0b111111nn adds 63 µs n times.
 */
class EventStreamDecoder implements BlockDecoder {
  private tUs = 0;

  constructor(
    readonly sensor: SensorSize,
    private readonly atis: boolean,
    private readonly report: DecodeReport,
  ) {}

  decode(input: ByteReader, events: BatchBuilder, full: number): void {
    const { bytes, end } = input;
    const { width, height } = this.sensor;
    const atis = this.atis;
    const firstControl = atis ? 0xfc : 0xfe;
    let position = input.position;
    let tUs = this.tUs;
    let resets = 0;
    let crossings = 0;
    let outside = 0;
    while (position < end && events.length < full) {
      const head = bytes[position];
      if (head >= firstControl) {
        const overflowUs = atis ? 63 * (head & 3) : 127 * (head & 1);
        tUs += overflowUs;
        if (overflowUs === 0) resets++;
        position++;
        continue;
      }
      if (position + recordLength > end) break;
      const x = bytes[position + 1] | (bytes[position + 2] << 8);
      const y = bytes[position + 3] | (bytes[position + 4] << 8);
      position += recordLength;
      tUs += atis ? head >> 2 : head >> 1;
      if (atis && (head & 1) === 1) crossings++;
      else if (x >= width || y >= height) outside++;
      else events.push(tUs, x, y, atis ? (head >> 1) & 1 : head & 1);
    }
    input.position = position;
    this.tUs = tUs;
    countSkipped(this.report, 'reset', resets);
    countSkipped(this.report, 'thresholdCrossing', crossings);
    countSkipped(this.report, 'outsideSensor', outside);
  }
}

class EventStreamEncoder implements EventEncoder {
  private tUs = 0;

  constructor(private readonly sensor: SensorSize) {}

  begin(output: ByteWriter): void {
    output.writeText('Event Stream');
    const { width, height } = this.sensor;
    const rest = [2, 0, 0, dvsType, width & 0xff, width >> 8, height & 0xff, height >> 8];
    output.bytes.set(rest, output.length);
    output.length += rest.length;
  }

  write(
    output: ByteWriter,
    tUs: number,
    x: number,
    y: number,
    polarity: number,
  ): string | undefined {
    const stepUs = tUs - this.tUs;
    if (stepUs < 0) return 'Event Stream times start at 0 µs and cannot go back';
    if (stepUs > maxGapUs) {
      return `Event Stream would need a byte for each 127 µs of the gap of ${stepUs} µs before it; shift the times to start near zero`;
    }
    const overflows = Math.floor(stepUs / 127);
    output.reserve(overflows + recordLength);
    const { bytes } = output;
    let position = output.length + overflows;
    if (overflows > 0) bytes.fill(0xff, output.length, position);
    bytes[position++] = ((stepUs - 127 * overflows) << 1) | polarity;
    bytes[position++] = x & 0xff;
    bytes[position++] = x >> 8;
    bytes[position++] = y & 0xff;
    bytes[position++] = y >> 8;
    output.length = position;
    this.tUs = tUs;
    return undefined;
  }
}

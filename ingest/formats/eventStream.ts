import { SaccadeError } from '../../engine/support/errors.js';
import type { ByteReader, ByteWriter } from '../bytes.js';
import type { BatchBuilder, EventBatch, SensorSize } from '../eventBatch.js';
import {
  checkVariant,
  countSkipped,
  type DecodeMark,
  type DecodeReport,
  type EventFormat,
  reportDamage,
} from '../format.js';
import { type BlockDecoder, decodeEvents, encodeEvents, type EventEncoder } from '../transcode.js';

const signature = new TextEncoder().encode('Event Stream');
const headerLength = 20;
/** Of generic streams, which have no size. */
const shortHeaderLength = 16;
const recordLength = 5;
const colorRecordLength = 8;
const genericType = 0;
const dvsType = 1;
const atisType = 2;
const colorType = 4;
const knownTypes = [genericType, dvsType, atisType, colorType];
/** The bytes that a generic event may state its length in: 2^35 bytes. */
const maxLengthBytes = 5;

const limits: SensorSize = { width: 65_535, height: 65_535 };
/** The longest gap that is written: 2^24 overflow bytes of 127 µs (DVS), 35 minutes. */
const maxGapUs = 127 * 2 ** 24;

/**
 * Event Stream 2.0 (`.es`): a header of 20 bytes with the size, then events of a time step in µs since
 * the last one, x and y. Streams of the types DVS and ATIS are read and written: DVS, or ATIS as the variant `atis`.
 *
 * Convention: x and y as stored (the origin is usually at the lower left), polarity 1 = ON. Of ATIS
 * streams the change events are read, polarity bit 1 = ON; threshold crossings (grey levels) are skipped and
 * counted (`thresholdCrossing`). Colour streams hold no changes but values, and generic ones anything: their
 * events are skipped and counted (`color`, `generic`).
 * Time starts at zero, cannot go back, and has no gap above 35 minutes when written (gaps cost a byte per 127 µs, in ATIS streams per 189 µs).
 *
 * Source: neuromorphic-paris/event_stream README, `sepia.hpp`.
 */
export const eventStream: EventFormat = {
  name: 'es',
  title: 'Event Stream 2.0 (.es; DVS, ATIS, color, generic)',
  extensions: ['es'],
  holdsSensorSize: true,
  variants: ['atis'],
  usualSensors: [],
  limits,

  detect: ({ head }) => (hasSignature(head) ? 1 : 0),

  sensorOf: (head) => {
    if (!hasSignature(head) || head.length < headerLength) return undefined;
    if (head[15] === genericType) return undefined;
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
      const [major, minor, patch, type] = head.subarray(signature.length);
      const length = type === genericType ? shortHeaderLength : headerLength;
      if (head.length < length) {
        throw fail(`header ends early, expected ${length} bytes`, head.length);
      }
      if (major !== 2) {
        throw fail(`Event Stream version ${major}.${minor}.${patch}, expected 2.x.x`, 12);
      }
      if (!knownTypes.includes(type)) {
        const expected = 'expected 0 (generic), 1 (DVS), 2 (ATIS) or 4 (color)';
        throw fail(`stream of type ${type}, ${expected}`, 15);
      }
      input.position += length;
      if (type === genericType) {
        return new GenericDecoder(options.sensor ?? limits, options.report);
      }
      const sensor = sensorAt(head);
      if (sensor.width === 0 || sensor.height === 0) {
        throw fail(`sensor of ${sensor.width}x${sensor.height} pixels, expected at least 1x1`, 16);
      }
      if (type === colorType) return new ColorDecoder(sensor, options.report);
      return new EventStreamDecoder(sensor, type === atisType, options.report);
    }),

  encode: (batches, options) => {
    checkVariant(eventStream, options.variant);
    const { width, height } = options.sensor;
    if (width > limits.width || height > limits.height) {
      const message = `Event Stream holds sensors up to 65535x65535, not ${width}x${height}`;
      throw new SaccadeError('input', message, { file: options.file });
    }
    return encodeEvents(
      batches,
      options,
      new EventStreamEncoder(options.sensor, options.variant === 'atis'),
    );
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

  mark(input: ByteReader): DecodeMark {
    return { offset: input.offset, state: [this.tUs] };
  }

  resume([tUs]: readonly number[]): void {
    this.tUs = tUs;
  }

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

/** Byte 0 is a step up to 253; 0xff adds 254 µs, 0xfe is a reset. Then x, y and red, green and blue. */
class ColorDecoder implements BlockDecoder {
  constructor(
    readonly sensor: SensorSize,
    private readonly report: DecodeReport,
  ) {}

  decode(input: ByteReader): void {
    let count = 0;
    while (input.available > 0) {
      const control = input.bytes[input.position] >= 0xfe;
      if (!control && input.available < colorRecordLength) break;
      input.position += control ? 1 : colorRecordLength;
      if (!control) count++;
    }
    countSkipped(this.report, 'color', count);
  }
}

/** As color, but behind the step stand a length, 7 bits per byte above a bit for "more", and so many bytes. */
class GenericDecoder implements BlockDecoder {
  private passOver = 0;

  constructor(
    readonly sensor: SensorSize,
    private readonly report: DecodeReport,
  ) {}

  decode(input: ByteReader): void {
    const { bytes } = input;
    for (;;) {
      const passed = Math.min(this.passOver, input.available);
      input.position += passed;
      this.passOver -= passed;
      if (input.available === 0) return;
      const { position, end } = input;
      if (bytes[position] >= 0xfe) {
        input.position++;
        continue;
      }
      let length = 0;
      let at = position + 1;
      let more = true;
      for (let place = 1; more && at < end && place < 2 ** (7 * maxLengthBytes); place *= 128) {
        length += place * (bytes[at] >> 1);
        more = (bytes[at++] & 1) === 1;
      }
      if (!more) {
        countSkipped(this.report, 'generic');
        this.passOver = length;
      } else if (at < end || at - position > maxLengthBytes) {
        const message = `length of more than ${maxLengthBytes} bytes, passed over`;
        reportDamage(this.report, input.offsetOf(position), message);
      } else {
        return;
      }
      input.position = at;
    }
  }

  finish(input: ByteReader): void {
    if (this.passOver === 0) return;
    const message = `ends inside an event, ${this.passOver} bytes of it are missing`;
    reportDamage(this.report, input.offset, message);
  }
}

class EventStreamEncoder implements EventEncoder {
  private tUs = 0;

  constructor(
    private readonly sensor: SensorSize,
    private readonly atis: boolean,
  ) {}

  begin(output: ByteWriter): void {
    output.writeText('Event Stream');
    const { width, height } = this.sensor;
    const type = this.atis ? atisType : dvsType;
    const rest = [2, 0, 0, type, width & 0xff, width >> 8, height & 0xff, height >> 8];
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
      return `Event Stream would need a byte for each ${this.atis ? 189 : 127} µs of the gap of ${stepUs} µs before it; shift the times to start near zero`;
    }
    const leftUs = this.writeOverflows(output, stepUs);
    output.reserve(recordLength);
    const { bytes } = output;
    let position = output.length;
    bytes[position++] = this.atis ? (leftUs << 2) | (polarity << 1) : (leftUs << 1) | polarity;
    bytes[position++] = x & 0xff;
    bytes[position++] = x >> 8;
    bytes[position++] = y & 0xff;
    bytes[position++] = y >> 8;
    output.length = position;
    this.tUs = tUs;
    return undefined;
  }

  /** Overflow bytes for a step; returns what is left of it. */
  private writeOverflows(output: ByteWriter, stepUs: number): number {
    // An ATIS byte counts up to three overflows.
    const [unitUs, perByte] = this.atis ? [63, 3] : [127, 1];
    const overflows = Math.floor(stepUs / unitUs);
    const full = Math.floor(overflows / perByte);
    const rest = overflows % perByte;
    output.reserve(full + 1);
    output.bytes.fill(0xff, output.length, output.length + full);
    output.length += full;
    if (rest > 0) output.bytes[output.length++] = 0xfc | rest;
    return stepUs - unitUs * overflows;
  }

  writeRun(output: ByteWriter, batch: EventBatch, start: number, end: number): number {
    output.reserve((end - start) * recordLength);
    const { tUs, x, y, polarity } = batch;
    const { bytes } = output;
    let lastUs = this.tUs;
    let position = output.length;
    const [unitUs, stepShift, onShift] = this.atis ? [63, 2, 1] : [127, 1, 0];
    let i = start;
    for (; i < end; i++) {
      const stepUs = tUs[i] - lastUs;
      if (!(stepUs >= 0 && stepUs < unitUs)) break;
      lastUs = tUs[i];
      bytes[position] = (stepUs << stepShift) | ((polarity[i] === 0 ? 0 : 1) << onShift);
      bytes[position + 1] = x[i];
      bytes[position + 2] = x[i] >> 8;
      bytes[position + 3] = y[i];
      bytes[position + 4] = y[i] >> 8;
      position += recordLength;
    }
    this.tUs = lastUs;
    output.length = position;
    return i;
  }
}

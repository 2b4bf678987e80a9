import { SaccadeError } from '../../engine/support/errors.js';
import type { ByteReader, ByteWriter } from '../bytes.js';
import { compiledCsvWriter } from '../compiledLoop.js';
import type { BatchBuilder, EventBatch, SensorSize } from '../eventBatch.js';
import {
  countSkipped,
  type DecodeMark,
  type DecodeReport,
  type EventFormat,
  reportDamage,
} from '../format.js';
import { type BlockDecoder, decodeEvents, encodeEvents, type EventEncoder } from '../transcode.js';
import { guessCsvLayout, type CsvLayout } from './csvLayout.js';

/** The layout is told from this many bytes: the most that `detect` sees. */
const sampleLength = 65_536;
const maxLineLength = 4_096;
const limits: SensorSize = { width: 65_536, height: 65_536 };

const tab = 0x09;
const newline = 0x0a;
const carriageReturn = 0x0d;
const space = 0x20;
const comma = 0x2c;
const minus = 0x2d;
const point = 0x2e;
const zero = 0x30;
const semicolon = 0x3b;

const isSeparator = (byte: number): boolean =>
  byte === comma || byte === space || byte === tab || byte === semicolon || byte === carriageReturn;

/** Above this, one more digit would leave the integers that a float64 holds exactly. */
const maxMantissa = 9e14;

/**
 * Text with one event per line: columns separated by commas, blanks, tabs or semicolons, with or without a
 * line of names; lines with `#` or `%` are comments. `csvLayout.ts` says how the columns are told.
 *
 * Convention: x and y as stored; polarity 1, `true` or `on` = ON, and 0, -1, `false` or `off` = OFF; in the five columns
 * of a CeleX-V (y, x, brightness, polarity, time), 0 is no event, which is skipped and counted (`noEvent`). Times are in the
 * unit that the name states (`t_us`, `time [s]`), else seconds where most have a decimal point, else µs;
 * they are rounded to whole µs.
 *
 * Lines that are no event are reported with their offset and passed over. Written files have the
 * columns `t,x,y,p`, in µs and 0 or 1. There is no size in the file.
 */
export const csv: EventFormat = {
  name: 'csv',
  title: 'Text, one event per line (.csv, .txt)',
  extensions: ['csv', 'txt'],
  holdsSensorSize: false,
  usualSensors: [
    { width: 128, height: 128 },
    { width: 240, height: 180 },
    { width: 304, height: 240 },
    { width: 346, height: 260 },
    { width: 640, height: 480 },
    { width: 1280, height: 720 },
  ],
  limits,

  detect: ({ head, extension }) => {
    if (guessCsvLayout(head, head.length < sampleLength) === undefined) return 0;
    return extension === 'csv' || extension === 'txt' ? 0.9 : 0.7;
  },

  decode: (bytes, options) =>
    decodeEvents(bytes, options, async (input) => {
      const whole = !(await input.require(sampleLength));
      const sampleEnd = Math.min(input.end, input.position + sampleLength);
      const sample = input.bytes.subarray(input.position, sampleEnd);
      const layout = guessCsvLayout(sample, whole, options.layout);
      if (layout === undefined) {
        const expected = 'a line with the names t, x, y, p, or four columns "t x y p", "x y p t"';
        throw new SaccadeError('input', `cannot tell the columns, expected ${expected}`, {
          file: options.file,
          offset: 0,
        });
      }
      input.position += layout.firstLine;
      return new CsvDecoder(layout, options.sensor ?? limits, options.report);
    }),

  encode: (batches, options) => encodeEvents(batches, options, new CsvEncoder(options.compiled)),
};

/** Codes of the roles, for a `switch` in the loop over the columns. */
const roleCodes = { t: 1, x: 2, y: 3, p: 4 } as const;

class CsvDecoder implements BlockDecoder {
  private readonly roles: Uint8Array;
  private readonly usPerUnit: number;
  private readonly zeroIsNoEvent: boolean;
  /** Set while the rest of an overlong line is passed over. */
  private skippingLine = false;

  // The line parsed last.
  private tUs = 0;
  private x = 0;
  private y = 0;
  /** As it is written: -1, 0 or 1. */
  private polarity = 0;

  constructor(
    layout: CsvLayout,
    readonly sensor: SensorSize,
    private readonly report: DecodeReport,
  ) {
    const { columns } = layout;
    this.roles = new Uint8Array(1 + Math.max(columns.t, columns.x, columns.y, columns.p));
    for (const role of ['t', 'x', 'y', 'p'] as const) this.roles[columns[role]] = roleCodes[role];
    this.usPerUnit = layout.usPerUnit;
    this.zeroIsNoEvent = layout.zeroIsNoEvent ?? false;
  }

  mark(input: ByteReader): DecodeMark {
    return { offset: input.offset, state: [this.skippingLine ? 1 : 0] };
  }

  resume([skippingLine]: readonly number[]): void {
    this.skippingLine = skippingLine === 1;
  }

  decode(input: ByteReader, events: BatchBuilder, full: number): void {
    const { bytes, end, atEnd } = input;
    const { width, height } = this.sensor;
    let position = input.position;
    let outside = 0;
    let none = 0;
    while (position < end && events.length < full) {
      let lineEnd = position;
      while (lineEnd < end && bytes[lineEnd] !== newline) lineEnd++;
      const length = lineEnd - position;
      const partial = lineEnd === end && !atEnd;
      if (this.skippingLine) {
        this.skippingLine = partial;
      } else if (length > maxLineLength) {
        const message = `line of more than ${maxLineLength} bytes, expected an event`;
        reportDamage(this.report, input.offsetOf(position), message);
        this.skippingLine = partial;
      } else if (partial) {
        break;
      } else if (!isBlankOrComment(bytes, position, lineEnd)) {
        if (!this.parseLine(bytes, position, lineEnd)) {
          const message = 'line is no event, expected numbers for t, x, y and a polarity';
          reportDamage(this.report, input.offsetOf(position), message);
        } else if (this.zeroIsNoEvent && this.polarity === 0) {
          none++;
        } else if (this.x >= width || this.y >= height) {
          outside++;
        } else {
          events.push(this.tUs, this.x, this.y, this.polarity > 0 ? 1 : 0);
        }
      }
      position = Math.min(lineEnd + 1, end);
    }
    input.position = position;
    countSkipped(this.report, 'outsideSensor', outside);
    countSkipped(this.report, 'noEvent', none);
  }

  /** Reads the fields of one line; false where it is malformed. */
  private parseLine(bytes: Uint8Array, start: number, end: number): boolean {
    const { roles } = this;
    let position = start;
    for (let column = 0; column < roles.length; column++) {
      while (position < end && isSeparator(bytes[position])) position++;
      const fieldStart = position;
      const negative = position < end && bytes[position] === minus;
      if (negative) position++;
      let digits = 0;
      let decimals = 0;
      let mantissa = 0;
      let inFraction = false;
      let plain = true;
      for (; position < end; position++) {
        const byte = bytes[position];
        const digit = byte - zero;
        if (digit >= 0 && digit <= 9) {
          digits++;
          if (mantissa <= maxMantissa) {
            mantissa = mantissa * 10 + digit;
            if (inFraction) decimals++;
          } else if (!inFraction) {
            plain = false;
          }
        } else if (byte === point && !inFraction) {
          inFraction = true;
        } else if (isSeparator(byte)) {
          break;
        } else {
          plain = false;
        }
      }
      const role = roles[column];
      if (role === 0) continue;
      if (!plain || digits === 0) {
        // Exponents and words, which are rare.
        mantissa = fieldValue(bytes, fieldStart, position);
        if (Number.isNaN(mantissa)) return false;
        decimals = 0;
      } else if (negative) {
        mantissa = -mantissa;
      }
      if (role === roleCodes.t) {
        this.tUs = Math.round(scale(mantissa, decimals, this.usPerUnit)) + 0; // no -0
        if (!Number.isSafeInteger(this.tUs)) return false;
        continue;
      }
      const value = decimals === 0 ? mantissa : mantissa / 10 ** decimals;
      if (!Number.isInteger(value)) return false;
      if (role === roleCodes.p) {
        if (value < -1 || value > 1) return false;
        this.polarity = value;
      } else {
        if (value < 0) return false;
        if (role === roleCodes.x) this.x = value;
        else this.y = value;
      }
    }
    return true;
  }
}

/** `mantissa / 10^decimals * usPerUnit` with one rounding at most (both powers are exact in float64). */
function scale(mantissa: number, decimals: number, usPerUnit: number): number {
  if (decimals === 0) return usPerUnit < 1 ? mantissa / (1 / usPerUnit) : mantissa * usPerUnit;
  const divisor = 10 ** decimals;
  return usPerUnit >= divisor ? mantissa * (usPerUnit / divisor) : mantissa / (divisor / usPerUnit);
}

const words: Readonly<Record<string, number>> = { true: 1, on: 1, false: 0, off: 0 };

function fieldValue(bytes: Uint8Array, start: number, end: number): number {
  const text = String.fromCharCode(...bytes.subarray(start, end)).toLowerCase();
  if (Object.hasOwn(words, text)) return words[text];
  return /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/.test(text) ? Number(text) : NaN;
}

function isBlankOrComment(bytes: Uint8Array, start: number, end: number): boolean {
  let position = start;
  while (position < end && isSeparator(bytes[position])) position++;
  return position === end || bytes[position] === 0x23 || bytes[position] === 0x25;
}

/** The most bytes that one event takes. */
const maxWrittenLength = 40;

class CsvEncoder implements EventEncoder {
  private readonly compiled: ReturnType<typeof compiledCsvWriter>;

  constructor(compiled?: boolean) {
    this.compiled = compiledCsvWriter(compiled);
  }

  begin(output: ByteWriter): void {
    output.writeText('t,x,y,p\n');
  }

  /** Unused: there is no event that text cannot hold. */
  write(): string | undefined {
    return 'this format holds whole times only';
  }

  writeRun(output: ByteWriter, batch: EventBatch, start: number, end: number): number {
    output.reserve((end - start) * maxWrittenLength);
    if (this.compiled !== undefined) {
      this.compiled(output, batch, start, end);
      return end;
    }
    const { tUs, x, y, polarity } = batch;
    const { bytes } = output;
    for (let i = start; i < end; i++) {
      writeInteger(output, tUs[i]);
      bytes[output.length++] = comma;
      writeInteger(output, x[i]);
      bytes[output.length++] = comma;
      writeInteger(output, y[i]);
      bytes[output.length++] = comma;
      bytes[output.length++] = polarity[i] === 0 ? zero : zero + 1;
      bytes[output.length++] = newline;
    }
    return end;
  }
}

function writeInteger(output: ByteWriter, value: number): void {
  const { bytes } = output;
  let rest = value;
  if (rest < 0) {
    bytes[output.length++] = minus;
    rest = -rest;
  }
  let digits = 1;
  for (let bound = 10; bound <= rest; bound *= 10) digits++;
  let position = (output.length += digits);
  // Integer division is much faster below 2^31, so the large ones give their last nine digits first.
  while (rest > 0x7fffffff) {
    const high = Math.floor(rest / 1e9);
    let low = (rest - high * 1e9) | 0;
    for (let i = 0; i < 9; i++) {
      const tenth = (low / 10) | 0;
      bytes[--position] = zero + (low - tenth * 10);
      low = tenth;
    }
    rest = high;
  }
  let small = rest | 0;
  do {
    const tenth = (small / 10) | 0;
    bytes[--position] = zero + (small - tenth * 10);
    small = tenth;
  } while (small > 0);
}

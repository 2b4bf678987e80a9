import { SaccadeError } from '../../engine/support/errors.js';
import type { ByteReader } from '../bytes.js';
import type { BatchBuilder, EventBatch, SensorSize } from '../eventBatch.js';
import {
  type DecodeMark,
  type DecodeReport,
  type EncodeOptions,
  type EventFormat,
  reportDamage,
} from '../format.js';
import { Spool } from '../spool.js';
import { type BlockDecoder, decodeEvents, encodeEvents, type EventEncoder } from '../transcode.js';
import { type ColumnRole, columnRoles, namedColumn, pushRows } from './columns.js';
import { guessColumns } from './csvLayout.js';
import { npyFileHeader } from './npyFileHeader.js';
import { type NpyField, type NpyHeader, parseNpyHeader } from './npyHeader.js';

const magic = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59]; // \x93NUMPY
const maxHeaderLength = 1 << 20;
const limits: SensorSize = { width: 65_536, height: 65_536 };
/** Records that are decoded column by column at a time. */
const runLength = 4_096;
/** Rows by which the columns of a plain array are told. */
const sampleRows = 500;
const writtenRecordLength = 13;
const writtenFields = `[('t', '<i8'), ('x', '<u2'), ('y', '<u2'), ('p', '|u1')]`;

/**
 * NumPy arrays (`.npy`, header versions 1 to 3): structured ones with fields for t, x, y and p, of any
 * integer, float or boolean type and in any order, other fields being passed over; or plain ones of
 * shape [N, 4], their columns told by the values of the first rows ([t x y p], [x y t p], [x y p t] or [p x y t]; t, x, y, p where these
 * do not tell).
 *
 * Convention: x and y as stored; polarity 1 = ON, 0 and -1 = OFF. Times are µs in integer types and seconds in
 * float types, unless the field's name states the unit (`t_us`).
 *
 * Records that are no event (NaN, fractions of a pixel, a polarity of 7) are reported and passed over.
 * Written files are structured: t `<i8` in µs, x and y `<u2`, p `u1`. Their header states how many events
 * follow, so the encoder spools the records, in a temporary file where they exceed 4 MB.
 *
 * Source: NumPy `numpy.lib.format`.
 */
export const npy: EventFormat = {
  name: 'npy',
  title: 'NumPy array (.npy)',
  extensions: ['npy'],
  holdsSensorSize: false,
  finite: true,
  usualSensors: [
    { width: 128, height: 128 },
    { width: 240, height: 180 },
    { width: 304, height: 240 },
    { width: 346, height: 260 },
    { width: 640, height: 480 },
    { width: 1280, height: 720 },
  ],
  limits,

  detect: ({ head }) => (hasNpyMagic(head) ? 1 : 0),

  decode: (bytes, options) =>
    decodeEvents(bytes, options, async (input) => {
      const header = await readNpyHeader(input, options.file);
      const order = header.structured ? columnRoles : await orderOf(input, header);
      return new NpyDecoder(header, order, options.sensor ?? limits, options.file, options.report);
    }),

  encode: encodeNpy,
};

export function hasNpyMagic(head: Uint8Array): boolean {
  return magic.every((byte, i) => head[i] === byte);
}

/** Reads the header and leaves `input.position` at the first element. */
export async function readNpyHeader(input: ByteReader, file: string): Promise<NpyHeader> {
  const fail = (message: string): SaccadeError =>
    new SaccadeError('input', message, { file, offset: 0 });
  await input.require(12);
  const head = input.bytes.subarray(input.position, input.end);
  if (!hasNpyMagic(head)) throw fail('no NPY file: expected it to begin with "\\x93NUMPY"');
  const version = head[6];
  if (head.length < 12) throw fail('NPY header ends early');
  if (version < 1 || version > 3) throw fail(`NPY version ${version}, expected 1, 2 or 3`);
  const start = version === 1 ? 10 : 12;
  const { view, position } = input;
  const length =
    version === 1 ? view.getUint16(position + 8, true) : view.getUint32(position + 8, true);
  if (length > maxHeaderLength)
    throw fail(`NPY header of ${length} bytes, expected less than 1 MiB`);
  if (!(await input.require(start + length))) throw fail('NPY header ends early');
  const text = new TextDecoder(version === 3 ? 'utf-8' : 'latin1').decode(
    input.bytes.subarray(input.position + start, input.position + start + length),
  );
  try {
    const header = parseNpyHeader(text);
    input.position += start + length;
    return header;
  } catch (error) {
    throw fail(`cannot read the NPY header: ${error instanceof Error ? error.message : error}`);
  }
}

interface Column {
  readonly field: NpyField;
  readonly usPerUnit: number;
}

/** The order of the columns of a plain array, from its first rows; the window must not move on. */
async function orderOf(input: ByteReader, header: NpyHeader): Promise<readonly ColumnRole[]> {
  const [field] = header.fields;
  if (field.scalar === undefined || header.shape[1] !== 4) return columnRoles;
  const rowLength = 4 * header.itemLength;
  await input.require(Math.min(sampleRows, header.shape[0]) * rowLength);
  const rows = Math.min(sampleRows, Math.floor(input.available / rowLength));
  const columns = columnRoles.map((_, i) => {
    const values = new Float64Array(rows);
    const start = input.position + i * field.length;
    readColumn(input.view, start, rowLength, rows, field, values);
    return values;
  });
  const sample = Array.from({ length: rows }, (_, row) =>
    columns.map((values) => String(values[row])),
  );
  const found = guessColumns(sample);
  if (found === undefined) return columnRoles;
  return [...columnRoles].sort((a, b) => found[a] - found[b]);
}

/**
 * Where t, x, y and p are in a record; throws where they are not.
 *
 * @param order of the columns of a plain array.
 */
function findColumns(
  header: NpyHeader,
  order: readonly ColumnRole[],
  file: string,
): Record<ColumnRole, Column> {
  const fail = (message: string): SaccadeError =>
    new SaccadeError('input', message, { file, offset: 0 });
  const columns: Partial<Record<ColumnRole, Column>> = {};
  const add = (role: ColumnRole, field: NpyField, usPerUnit?: number): void => {
    const isFloat = field.scalar?.startsWith('f') === true;
    columns[role] ??= { field, usPerUnit: usPerUnit ?? (isFloat ? 1e6 : 1) };
  };
  if (header.structured) {
    if (header.shape.length !== 1) {
      throw fail(`structured array of shape [${header.shape}], expected one dimension`);
    }
    for (const field of header.fields) {
      const named = namedColumn(field.name);
      if (named !== undefined && field.scalar !== undefined) {
        add(named.role, field, named.usPerUnit);
      }
    }
  } else {
    const [element] = header.fields;
    if (header.shape.length !== 2 || header.shape[1] !== 4 || element.scalar === undefined) {
      throw fail(
        `array of shape [${header.shape}], expected fields t, x, y, p or numbers of shape [N, 4]`,
      );
    }
    if (header.columnMajor) {
      throw fail('column-major array, which cannot be streamed; save it in row-major (C) order');
    }
    order.forEach((role, i) => add(role, { ...element, offset: i * element.length }));
  }
  const { t, x, y, p } = columns;
  if (t === undefined || x === undefined || y === undefined || p === undefined) {
    const found = header.fields.map((field) => `"${field.name}"`).join(', ');
    throw fail(`expected fields t, x, y, p (or usual names of them), found ${found}`);
  }
  return { t, x, y, p };
}

class NpyDecoder implements BlockDecoder {
  private readonly columns: Record<ColumnRole, Column>;
  private readonly recordLength: number;
  private readonly count: number;
  private done = 0;
  private readonly t = new Float64Array(runLength);
  private readonly x = new Float64Array(runLength);
  private readonly y = new Float64Array(runLength);
  private readonly p = new Float64Array(runLength);

  constructor(
    header: NpyHeader,
    order: readonly ColumnRole[],
    readonly sensor: SensorSize,
    file: string,
    private readonly report: DecodeReport,
  ) {
    this.columns = findColumns(header, order, file);
    this.recordLength = header.structured ? header.itemLength : 4 * header.itemLength;
    this.count = header.shape[0];
  }

  mark(input: ByteReader): DecodeMark {
    return { offset: input.offset, state: [this.done] };
  }

  resume([done]: readonly number[]): void {
    this.done = done;
  }

  decode(input: ByteReader, events: BatchBuilder, full: number): void {
    const { recordLength } = this;
    for (;;) {
      const run = Math.min(
        runLength,
        full - events.length,
        this.count - this.done,
        Math.floor(input.available / recordLength),
      );
      if (run <= 0) break;
      this.decodeRun(input, run, events);
      input.position += run * recordLength;
      this.done += run;
    }
    if (this.done >= this.count && events.length < full) this.passOverRest(input);
  }

  finish(input: ByteReader): void {
    if (this.done >= this.count) return;
    const message = `ends after ${this.done} of the ${this.count} events that the header states`;
    reportDamage(this.report, input.offset, message);
  }

  private restReported = false;

  private passOverRest(input: ByteReader): void {
    if (input.available > 0 && !this.restReported) {
      this.restReported = true;
      const message = `bytes behind the ${this.count} events that the header states`;
      reportDamage(this.report, input.offset, message);
    }
    input.position = input.end;
  }

  private decodeRun(input: ByteReader, run: number, events: BatchBuilder): void {
    const { columns, recordLength, t, x, y, p } = this;
    const { view, position } = input;
    for (const role of columnRoles) {
      const { field } = columns[role];
      readColumn(view, position + field.offset, recordLength, run, field, this[role]);
    }
    const { usPerUnit } = columns.t;
    pushRows({ t, x, y, p }, run, usPerUnit, events, this.report, (row) =>
      input.offsetOf(position + row * recordLength),
    );
  }
}

/** Reads one field of `count` records; the type is told once, outside the loops. */
export function readColumn(
  view: DataView,
  start: number,
  stride: number,
  count: number,
  field: NpyField,
  out: Float64Array,
): void {
  const little = field.littleEndian;
  let at = start;
  switch (field.scalar) {
    case 'i1':
      for (let i = 0; i < count; i++, at += stride) out[i] = view.getInt8(at);
      break;
    case 'u1':
      for (let i = 0; i < count; i++, at += stride) out[i] = view.getUint8(at);
      break;
    case 'b1':
      for (let i = 0; i < count; i++, at += stride) out[i] = view.getUint8(at) === 0 ? 0 : 1;
      break;
    case 'i2':
      for (let i = 0; i < count; i++, at += stride) out[i] = view.getInt16(at, little);
      break;
    case 'u2':
      for (let i = 0; i < count; i++, at += stride) out[i] = view.getUint16(at, little);
      break;
    case 'i4':
      for (let i = 0; i < count; i++, at += stride) out[i] = view.getInt32(at, little);
      break;
    case 'u4':
      for (let i = 0; i < count; i++, at += stride) out[i] = view.getUint32(at, little);
      break;
    case 'f4':
      for (let i = 0; i < count; i++, at += stride) out[i] = view.getFloat32(at, little);
      break;
    case 'f8':
      for (let i = 0; i < count; i++, at += stride) out[i] = view.getFloat64(at, little);
      break;
    case 'i8':
    case 'u8': {
      // Two halves are exact up to 2^53, and much faster than big integers.
      const high = little ? 4 : 0;
      const signed = field.scalar === 'i8';
      for (let i = 0; i < count; i++, at += stride) {
        const upper = signed ? view.getInt32(at + high, little) : view.getUint32(at + high, little);
        out[i] = upper * 2 ** 32 + view.getUint32(at + 4 - high, little);
      }
      break;
    }
  }
}

const recordEncoder: EventEncoder = {
  begin() {
    // The header goes in front once the events are counted.
  },

  write(output, tUs, x, y, polarity) {
    output.reserve(writtenRecordLength);
    const { view, length } = output;
    view.setUint32(length, tUs, true); // modulo 2^32
    view.setInt32(length + 4, Math.floor(tUs / 2 ** 32), true);
    view.setUint16(length + 8, x, true);
    view.setUint16(length + 10, y, true);
    view.setUint8(length + 12, polarity);
    output.length += writtenRecordLength;
    return undefined;
  },
};

async function* encodeNpy(
  batches: AsyncIterable<EventBatch>,
  options: EncodeOptions,
): AsyncGenerator<Uint8Array> {
  const spool = new Spool();
  try {
    let length = 0;
    for await (const chunk of encodeEvents(batches, { ...options, reuse: false }, recordEncoder)) {
      length += chunk.length;
      await spool.write(chunk);
    }
    yield npyFileHeader(writtenFields, length / writtenRecordLength);
    yield* spool.read();
  } finally {
    await spool.close();
  }
}

import { Readable } from 'node:stream';
import { createInflate } from 'node:zlib';
import { SaccadeError } from '../../engine/support/errors.js';
import { ByteReader, ByteWriter, throwIfAborted } from '../bytes.js';
import { BatchBuilder, type EventBatch, type SensorSize } from '../eventBatch.js';
import {
  checkVariant,
  type DecodeOptions,
  type EncodeOptions,
  type EventFormat,
  reportDamage,
} from '../format.js';
import { rebatch } from '../rebatch.js';
import { Spool } from '../spool.js';
import { spoolColumns } from '../spoolColumns.js';
import { type ColumnRole, columnRoles, namedColumn, pushRows } from './columns.js';
import { guessColumns } from './csvLayout.js';
import { encodeMat73 } from './mat73.js';
import { npy, readColumn } from './npy.js';
import type { NpyField, NpyScalar } from './npyHeader.js';

const magic = 'MATLAB 5.0 MAT-file';
const headerLength = 128;
const limits: SensorSize = npy.limits;
/** Rows that are read of all columns at a time. */
const runLength = 4_096;
/** Structures in structures, deeper than any recording has them. */
const maxDepth = 8;
/** Longest list of names or dimensions. */
const maxListLength = 1 << 20;

/** Types of data elements. */
const matrixType = 14;
const compressedType = 15;
const scalars: Readonly<Record<number, NpyScalar>> = {
  1: 'i1',
  2: 'u1',
  3: 'i2',
  4: 'u2',
  5: 'i4',
  6: 'u4',
  7: 'f4',
  9: 'f8',
  12: 'i8',
  13: 'u8',
};
/** Classes of arrays. */
const cellClass = 1;
const structClass = 2;
const firstNumberClass = 6;
const lastNumberClass = 15;

/**
 * MATLAB MAT-file of version 5 (v6) or 7 (compressed) with events as
 * - four vectors of numbers by their usual names (`ts, x, y, pol` of ASL-DVS), as variables or as fields of one
 *   structure (`TD.ts, TD.x, TD.y, TD.p`), or as `layout.columns` names them;
 * - a matrix of shape [N, 4], its columns told by their values ([x y p t], [t x y p], [x y t p] or [p x y t]).
 * The first of them in the file is read, or the variable or structure that `layout.path` names. Files of version
 * 7.3 are HDF5.
 *
 * Convention: x and y as stored, nothing is taken off for indices from 1; polarity 1 = ON, 0 and -1 = OFF. Times are
 * in µs, or in seconds where they have fractions, unless a name or `layout.usPerUnit` says the unit.
 *
 * A file holds one column behind the other, so these are kept in temporary files where they exceed 4 MB each.
 * Written are uncompressed variables x, y (uint16), pol (uint8) and ts (double, µs), of 4 GB at most each; as the
 * variant `7.3`, a file of that version (`mat73.ts`).
 *
 * Source: MathWorks, "MAT-File Format", Level 5.
 */
export const mat: EventFormat = {
  name: 'mat',
  title: 'MATLAB MAT-file 5 / 7 (.mat)',
  extensions: ['mat'],
  holdsSensorSize: false,
  variants: ['7.3'],
  finite: true,
  usualSensors: npy.usualSensors,
  limits,

  detect: ({ head }) => (hasMagic(head) ? 1 : 0),

  decode: (bytes, options) => rebatch(decodeMat(bytes, options), options.batchLength),

  encode(batches, options) {
    checkVariant(mat, options.variant);
    return options.variant === '7.3' ? encodeMat73(batches, options) : encodeMat(batches, options);
  },
};

function hasMagic(head: Uint8Array): boolean {
  return Buffer.from(head.subarray(0, magic.length)).toString('latin1') === magic;
}

/** One column of numbers, kept until all four are there. */
interface Column {
  readonly role: ColumnRole | undefined;
  readonly scalar: NpyScalar;
  readonly spool: Spool;
  readonly usPerUnit: number | undefined;
}

/** Columns that belong together: a structure's fields, the variables of the file, or a matrix. */
interface Table {
  readonly path: string;
  readonly columns: Column[];
}

interface Tag {
  readonly type: number;
  readonly length: number;
  /** Bytes in front of the data, and all bytes with the padding behind it. */
  readonly dataAt: number;
  readonly total: number;
}

class MatReader {
  readonly tables: Table[] = [];
  littleEndian = true;

  constructor(private readonly options: DecodeOptions) {}

  /** Whether what was read is enough: a complete table, or the one that was asked for. */
  get complete(): Table | undefined {
    const path = this.options.layout?.path;
    return this.tables.find(
      (table) =>
        table.columns.length === 4 && (path === undefined || table.path === path) && isWhole(table),
    );
  }

  async close(): Promise<void> {
    for (const { columns } of this.tables) for (const { spool } of columns) await spool.close();
  }

  /** Reads elements up to `end` (an offset in the stream), or until a table is complete. */
  async readElements(input: ByteReader, end: number, prefix: string, depth: number): Promise<void> {
    while (input.offset < end) {
      throwIfAborted(this.options.signal, this.options.file);
      const tag = await this.tag(input);
      if (tag === undefined) return;
      if (tag.type === compressedType) {
        await this.readCompressed(input, tag);
      } else if (tag.type === matrixType) {
        input.position += tag.dataAt;
        await this.readMatrix(input, tag.length, prefix, depth);
      } else {
        await skip(input, tag.total);
      }
      // Variables of the file may be columns of one table, a structure is whole at its end.
      if (depth === 0 && this.complete !== undefined) return;
    }
  }

  private async tag(input: ByteReader): Promise<Tag | undefined> {
    if (!(await input.require(8))) {
      if (input.available > 0) this.damage(input.offset, 'ends inside the tag of an element');
      input.position = input.end;
      return undefined;
    }
    const first = input.view.getUint32(input.position, this.littleEndian);
    const small = first >>> 16;
    if (small > 0) return { type: first & 0xffff, length: small, dataAt: 4, total: 8 };
    const length = input.view.getUint32(input.position + 4, this.littleEndian);
    const padded = first === compressedType ? length : Math.ceil(length / 8) * 8;
    return { type: first, length, dataAt: 8, total: 8 + padded };
  }

  private damage(offset: number, message: string): void {
    reportDamage(this.options.report, offset, message);
  }

  private async readCompressed(input: ByteReader, tag: Tag): Promise<void> {
    const { offset } = input;
    input.position += tag.dataAt;
    const taken = { left: tag.length };
    const inflate = Readable.from(takeBytes(input, taken)).pipe(createInflate());
    const inner = new ByteReader(inflate, this.options.file, this.options.signal);
    try {
      await this.readElements(inner, Infinity, '', 1);
    } catch (error) {
      if (error instanceof SaccadeError) throw error;
      const reason = error instanceof Error ? error.message : String(error);
      this.damage(offset, `compressed variable: ${reason}`);
    } finally {
      await inner.close();
      inflate.destroy();
    }
    if (this.complete === undefined) await skip(input, taken.left);
  }

  /** The data of a small part of a matrix, such as its name. */
  private async part(input: ByteReader): Promise<Uint8Array | undefined> {
    const tag = await this.tag(input);
    if (tag === undefined) return undefined;
    if (tag.total > maxListLength || !(await input.require(tag.total))) {
      this.damage(input.offset, 'ends inside the description of an array');
      return undefined;
    }
    const start = input.position + tag.dataAt;
    const data = input.bytes.slice(start, start + tag.length);
    input.position += tag.total;
    return data;
  }

  private async readMatrix(
    input: ByteReader,
    length: number,
    prefix: string,
    depth: number,
  ): Promise<void> {
    const end = input.offset + length;
    const flags = await this.part(input);
    const dimensions = await this.part(input);
    const name = await this.part(input);
    if (flags === undefined || dimensions === undefined || name === undefined) return;
    const view = new DataView(dimensions.buffer);
    const shape = Array.from({ length: dimensions.length >> 2 }, (_, i) =>
      view.getUint32(4 * i, this.littleEndian),
    );
    const arrayClass = flags[this.littleEndian ? 0 : 3];
    const own = Buffer.from(name).toString('latin1');
    const path = own === '' ? prefix : own;
    if (arrayClass === structClass && depth < maxDepth) {
      await this.readStructure(input, shape, path, depth);
    } else if (arrayClass === cellClass && depth < maxDepth) {
      const count = shape.reduce((all, size) => all * size, 1);
      for (let i = 1; i <= count && input.offset < end; i++) {
        const element = count === 1 ? path : `${path}(${i})`;
        if (!(await this.readMember(input, element, depth))) break;
      }
    } else if (arrayClass >= firstNumberClass && arrayClass <= lastNumberClass) {
      await this.readNumbers(input, shape, path);
    }
    await skip(input, end - input.offset);
  }

  private async readStructure(
    input: ByteReader,
    shape: readonly number[],
    path: string,
    depth: number,
  ): Promise<void> {
    const width = await this.part(input);
    const names = await this.part(input);
    if (width?.length !== 4 || names === undefined) return;
    const nameLength = new DataView(width.buffer).getUint32(0, this.littleEndian);
    if (nameLength < 1) return;
    const fields = Array.from({ length: Math.floor(names.length / nameLength) }, (_, i) =>
      Buffer.from(names.subarray(i * nameLength, (i + 1) * nameLength))
        .toString('latin1')
        .replace(/\0.*$/s, ''),
    );
    // Without fields, a structure of any number of elements has nothing to read.
    const count = fields.length === 0 ? 0 : shape.reduce((all, size) => all * size, 1);
    for (let i = 1; i <= count; i++) {
      const element = count === 1 ? path : `${path}(${i})`;
      for (const field of fields) {
        if (!(await this.readMember(input, `${element}.${field}`, depth))) return;
      }
    }
  }

  /** A matrix inside another one; false where it is not there. */
  private async readMember(input: ByteReader, path: string, depth: number): Promise<boolean> {
    const tag = await this.tag(input);
    if (tag?.type !== matrixType) return false;
    input.position += tag.dataAt;
    await this.readMatrix(input, tag.length, path, depth + 1);
    return true;
  }

  private async readNumbers(
    input: ByteReader,
    shape: readonly number[],
    path: string,
  ): Promise<void> {
    const dot = path.lastIndexOf('.');
    const owner = dot < 0 ? '' : path.slice(0, dot);
    const name = path.slice(dot + 1);
    const { layout } = this.options;
    const given = columnRoles.find((role) => layout?.columns?.[role] === path);
    const named = namedColumn(name);
    const role = given ?? (named && layout?.columns?.[named.role] ? undefined : named?.role);
    const isVector = shape.length === 2 && Math.min(...shape) <= 1;
    const isTable = shape.length === 2 && shape[1] === 4 && shape[0] > 1;
    if (isTable) {
      const table: Table = { path, columns: [] };
      this.tables.push(table);
      await this.keep(input, table, [undefined, undefined, undefined, undefined], shape[0]);
    } else if (isVector && role !== undefined) {
      const at = given === undefined ? owner : '';
      let table = this.tables.find((known) => known.path === at);
      if (table === undefined) this.tables.push((table = { path: at, columns: [] }));
      if (table.columns.some((column) => column.role === role)) return;
      const usPerUnit = given === undefined ? named?.usPerUnit : undefined;
      await this.keep(input, table, [role], shape[0] * shape[1], usPerUnit);
    }
  }

  /** Spools the columns of an array, one behind the other. */
  private async keep(
    input: ByteReader,
    table: Table,
    roles: readonly (ColumnRole | undefined)[],
    rows: number,
    usPerUnit?: number,
  ): Promise<void> {
    const tag = await this.tag(input);
    const scalar = tag === undefined ? undefined : scalars[tag.type];
    if (tag === undefined || scalar === undefined) return;
    input.position += tag.dataAt;
    const size = Number(scalar[1]);
    if (tag.length !== rows * size * roles.length) {
      this.damage(input.offset, `${tag.length} bytes, expected ${rows * size * roles.length}`);
    }
    let left = tag.length;
    for (const role of roles) {
      const spool = new Spool();
      table.columns.push({ role, scalar, spool, usPerUnit });
      const taken = { left: Math.min(left, rows * size) };
      left -= taken.left;
      for await (const bytes of takeBytes(input, taken)) await spool.write(bytes);
      if (taken.left > 0) {
        this.damage(input.offset, `ends inside an array, ${taken.left} bytes of a column missing`);
        return;
      }
    }
    await skip(input, left + tag.total - tag.dataAt - tag.length);
  }
}

function isWhole(table: Table): boolean {
  return (
    table.columns.every(({ role }) => role === undefined) ||
    columnRoles.every((role) => table.columns.some((column) => column.role === role))
  );
}

/** Takes up to `taken.left` bytes from the input, and counts down. */
async function* takeBytes(
  input: ByteReader,
  taken: { left: number },
): AsyncGenerator<Uint8Array, void> {
  while (taken.left > 0 && (input.available > 0 || (await input.fill()))) {
    const length = Math.min(taken.left, input.available);
    const bytes = input.bytes.slice(input.position, input.position + length);
    input.position += length;
    taken.left -= length;
    yield bytes;
  }
}

async function skip(input: ByteReader, length: number): Promise<void> {
  const taken = { left: length };
  for await (const bytes of takeBytes(input, taken)) void bytes;
}

async function* decodeMat(
  bytes: AsyncIterable<Uint8Array>,
  options: DecodeOptions,
): AsyncGenerator<EventBatch> {
  const { file, report, layout } = options;
  const input = new ByteReader(bytes, file, options.signal);
  const reader = new MatReader(options);
  try {
    if (!(await input.require(headerLength)) || !hasMagic(input.bytes)) {
      const message = input.end === 0 ? 'empty, ' : 'not a MAT-file of version 5 or 7: ';
      const wanted = `${message}expected a header of 128 bytes that begins with "${magic}"`;
      throw new SaccadeError('input', wanted, { file, offset: 0 });
    }
    reader.littleEndian = input.bytes[126] === 0x49; // "IM"
    input.position += headerLength;
    await reader.readElements(input, Infinity, '', 0);
    const { path } = layout ?? {};
    const table =
      reader.complete ??
      reader.tables.find(
        (known) => known.columns.length > 0 && known.path === (path ?? known.path),
      );
    if (table === undefined || table.columns.length < 4) {
      if (report.damageCount > 0 || (reader.tables.length === 0 && input.offset === headerLength)) {
        if (report.damageCount === 0) reportDamage(report, headerLength, 'there are no variables');
        return;
      }
      const wanted =
        path ?? 'vectors t, x, y, p (or usual names of them) or a matrix of shape [N, 4]';
      throw new SaccadeError('input', `expected ${wanted} of numbers`, { file });
    }
    yield* decodeTable(table, reader.littleEndian, options);
  } finally {
    await reader.close();
    await input.close();
  }
}

async function* decodeTable(
  table: Table,
  littleEndian: boolean,
  options: DecodeOptions,
): AsyncGenerator<EventBatch> {
  const { file, report, signal, layout } = options;
  const open = table.columns.map(({ role, scalar, spool, usPerUnit }) => {
    const length = Number(scalar[1]);
    const field: NpyField = { name: '', scalar, littleEndian, offset: 0, length };
    const input = new ByteReader(spool.read(), file, signal);
    return { role, field, input, usPerUnit, values: new Float64Array(runLength) };
  });
  const events = new BatchBuilder(options.sensor ?? limits, runLength);
  let order: Readonly<Record<ColumnRole, number>> | undefined;
  let usPerUnit = 1;
  for (;;) {
    throwIfAborted(signal, file);
    let run = runLength;
    for (const { input, field } of open) {
      await input.require(run * field.length);
      run = Math.min(run, Math.floor(input.available / field.length));
    }
    if (run === 0) return;
    for (const { input, field, values } of open) {
      readColumn(input.view, input.position, field.length, run, field, values);
      input.position += run * field.length;
    }
    if (order === undefined) {
      order = orderOf(open, run);
      if (order === undefined) {
        const message = `the columns of "${table.path}" do not look like t, x, y and p in a usual order`;
        throw new SaccadeError('input', message, { file });
      }
      const times = open[order.t];
      const fractions = times.values.subarray(0, run).some((value) => !Number.isInteger(value));
      usPerUnit = layout?.usPerUnit ?? times.usPerUnit ?? (fractions ? 1e6 : 1);
    }
    const { t, x, y, p } = order;
    const columns = { t: open[t].values, x: open[x].values, y: open[y].values, p: open[p].values };
    pushRows(columns, run, usPerUnit, events, report, () => headerLength);
    if (events.length > 0) yield events.take();
  }
}

function orderOf(
  columns: readonly { role: ColumnRole | undefined; values: Float64Array }[],
  rows: number,
): Readonly<Record<ColumnRole, number>> | undefined {
  const [t, x, y, p] = columnRoles.map((role) => columns.findIndex((one) => one.role === role));
  if (Math.min(t, x, y, p) >= 0) return { t, x, y, p };
  const sample = Array.from({ length: rows }, (_, i) =>
    columns.map(({ values }) => String(values[i])),
  );
  return guessColumns(sample);
}

/** Variables as they are written: their class, and the type and size of their elements. */
const written = [
  { role: 'x', name: 'x', arrayClass: 11, type: 4, size: 2 },
  { role: 'y', name: 'y', arrayClass: 11, type: 4, size: 2 },
  { role: 'p', name: 'pol', arrayClass: 9, type: 2, size: 1 },
  { role: 't', name: 'ts', arrayClass: 6, type: 9, size: 8 },
] as const;

async function* encodeMat(
  batches: AsyncIterable<EventBatch>,
  options: EncodeOptions,
): AsyncGenerator<Uint8Array> {
  const columns = await spoolColumns(batches, options, 'float64');
  try {
    if (8 * columns.count > 2 ** 32 - 1024) {
      const message = `${columns.count} events, but a MAT-file of version 5 holds 536 million at most`;
      throw new SaccadeError('input', message, { file: options.file });
    }
    yield fileHeader();
    for (const { role, name, arrayClass, type, size } of written) {
      const length = columns.count * size;
      const padding = (8 - (length % 8)) % 8;
      const output = new ByteWriter();
      const numbers = [
        [matrixType, 48 + length + padding],
        [6, 8, arrayClass, 0], // array flags, uint32
        [5, 8, columns.count, 1], // dimensions, int32
        [(name.length << 16) | 1], // name, int8, in the tag
      ];
      output.reserve(64);
      for (const number of numbers.flat()) {
        output.view.setUint32(output.length, number, true);
        output.length += 4;
      }
      output.bytes.fill(0, output.length, output.length + 4);
      output.bytes.set(Buffer.from(name), output.length);
      output.length += 4;
      output.view.setUint32(output.length, type, true);
      output.view.setUint32(output.length + 4, length, true);
      output.length += 8;
      yield output.take();
      yield* columns.spools[role].read();
      if (padding > 0) yield new Uint8Array(padding);
    }
  } finally {
    await columns.close();
  }
}

function fileHeader(): Uint8Array {
  const header = Buffer.alloc(headerLength, ' ');
  header.write(`${magic}, written by saccade`, 'latin1');
  header.fill(0, 116, 124);
  header.writeUInt16LE(0x0100, 124);
  header.write('IM', 126, 'latin1');
  return header;
}

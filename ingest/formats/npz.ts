import { open } from 'node:fs/promises';
import { Readable } from 'node:stream';
import yauzl from 'yauzl';
import yazl from 'yazl';
import { SaccadeError } from '../../engine/support/errors.js';
import { ByteReader, type ByteSource, throwIfAborted } from '../bytes.js';
import { BatchBuilder, type EventBatch, type SensorSize } from '../eventBatch.js';
import {
  type DecodeOptions,
  type EncodeOptions,
  type EventFormat,
  reportDamage,
} from '../format.js';
import { type MarkedBatch, markOfPart, rebatch, rebatchMarked } from '../rebatch.js';
import { spoolColumns } from '../spoolColumns.js';
import { throughFile } from '../temporaryFile.js';
import { type ColumnRole, columnRoles, namedColumn, pushRows } from './columns.js';
import { npy, readColumn, readNpyHeader } from './npy.js';
import { npyFileHeader } from './npyFileHeader.js';
import type { NpyField } from './npyHeader.js';

const limits: SensorSize = npy.limits;
/** Rows that are read of all columns at a time. */
const runLength = 4_096;
/** `PK`, and the code of an entry or of the end of an empty archive. */
const signatures = ['PK\x03\x04', 'PK\x05\x06'];
/** Arrays that hold whole events, where columns are not apart. */
const tableNames = ['events', 'event', 'data', 'arr_0'];

/**
 * NumPy archive (`.npz`, stored or deflated) in one of these layouts:
 * - one array each for t, x, y and p of any number type, by their usual names (SpikingJelly's `t, x, y, p`), or
 *   as `layout.columns` names them;
 * - one array of events as in `.npy` (structured, or of shape [N, 4]), named `events`, `event`, `data` or `arr_0`, the
 *   only one (as tonic and NumPy save it), or named by `layout.path`.
 *
 * The arrays are read side by side, a part at a time. Where they are stored as they are (`np.savez`), slices with a time index
 * read their own part; deflated ones (`np.savez_compressed`) have to be inflated up to there. Conventions are those of `.npy`: polarity 1 = ON, times in µs
 * in integers and seconds in floats, unless a name or `layout.usPerUnit` says the unit.
 *
 * Written are deflated arrays t `<i8` in µs, x and y `<u2`, p `|u1`. As their headers state how many events follow,
 * the columns are spooled, in temporary files above 4 MB each.
 *
 * Source: NumPy `numpy.lib.format`; SpikingJelly `datasets` (frames integrated from `t, x, y, p`).
 */
export const npz: EventFormat = {
  name: 'npz',
  title: 'NumPy archive (.npz)',
  extensions: ['npz'],
  holdsSensorSize: false,
  usualSensors: npy.usualSensors,
  limits,

  detect: ({ head }) => {
    if (!isZip(head)) return 0;
    // The name of the first entry stands behind 30 bytes.
    const name = Buffer.from(head.subarray(30, 30 + (head[26] ?? 0))).toString('latin1');
    return name.endsWith('.npy') ? 1 : 0.1;
  },

  decode: (bytes, options) => throughFile(bytes, options, (path) => npz.decodeFile!(path, options)),

  decodeFile: decodeNpz,

  encode: encodeNpz,
};

function isZip(head: Uint8Array): boolean {
  return signatures.includes(Buffer.from(head.subarray(0, 4)).toString('latin1'));
}

/** Opens the archive and lists its entries by name without `.npy`. */
async function openZip(
  path: string,
): Promise<{ zip: yauzl.ZipFile; entries: Map<string, yauzl.Entry> }> {
  const zip = await new Promise<yauzl.ZipFile>((done, fail) =>
    yauzl.open(path, { lazyEntries: true, autoClose: false }, (error, opened) =>
      error === null ? done(opened) : fail(error),
    ),
  );
  const entries = new Map<string, yauzl.Entry>();
  try {
    await new Promise<void>((done, fail) => {
      zip.on('entry', (entry: yauzl.Entry) => {
        entries.set(entry.fileName.replace(/\.npy$/, ''), entry);
        zip.readEntry();
      });
      zip.on('end', done);
      zip.on('error', fail);
      zip.readEntry();
    });
  } catch (error) {
    zip.close();
    throw error;
  }
  return { zip, entries };
}

async function* decodeNpz(path: string, options: DecodeOptions): AsyncGenerator<EventBatch> {
  const { file, report, layout } = options;
  const head = new ByteReader(fileHead(path), file);
  await head.require(4);
  const signed = isZip(head.bytes.subarray(0, head.end));
  await head.close();
  if (!signed) {
    const message = 'not an npz archive: expected it to begin with "PK"';
    throw new SaccadeError('input', message, { file, offset: 0 });
  }
  let opened: Awaited<ReturnType<typeof openZip>>;
  try {
    opened = await openZip(path);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    reportDamage(report, 0, `the list of arrays at its end cannot be read: ${reason}`);
    return;
  }
  const { zip, entries } = opened;
  try {
    const columns = layout?.path === undefined ? findColumns(entries, options) : undefined;
    if (columns !== undefined) {
      yield* rebatchMarked(decodeColumns(zip, columns, options), options);
      return;
    }
    const names = layout?.path === undefined ? tableNames : [layout.path];
    const name = names.find((known) => entries.has(known));
    const table = name === undefined ? onlyOne(entries, layout?.path) : entries.get(name);
    if (table === undefined) {
      const there = [...entries.keys()].map((entry) => `"${entry}"`).join(', ') || 'none';
      const message = `expected arrays t, x, y, p (or usual names of them) or one array of events, found ${there}`;
      throw new SaccadeError('input', message, { file });
    }
    yield* rebatch(npy.decode(entrySource(zip, table, options), options), options.batchLength);
  } finally {
    zip.close();
  }
}

async function* fileHead(path: string): AsyncGenerator<Uint8Array> {
  const file = await open(path, 'r');
  const bytes = new Uint8Array(4);
  const { bytesRead } = await file.read(bytes, 0, 4, 0).finally(() => file.close());
  yield bytes.subarray(0, bytesRead);
}

function onlyOne(
  entries: ReadonlyMap<string, yauzl.Entry>,
  path: string | undefined,
): yauzl.Entry | undefined {
  return path === undefined && entries.size === 1 ? [...entries.values()][0] : undefined;
}

interface Column {
  readonly entry: yauzl.Entry;
  readonly usPerUnit: number | undefined;
}

/** The arrays of the four columns; undefined where they are not all there. */
function findColumns(
  entries: ReadonlyMap<string, yauzl.Entry>,
  { layout }: DecodeOptions,
): Record<ColumnRole, Column> | undefined {
  const found: Partial<Record<ColumnRole, Column>> = {};
  for (const [name, entry] of entries) {
    const given = columnRoles.find((role) => layout?.columns?.[role] === name);
    const named = namedColumn(name);
    if (given !== undefined) found[given] = { entry, usPerUnit: layout?.usPerUnit };
    else if (named !== undefined && layout?.columns?.[named.role] === undefined) {
      found[named.role] ??= { entry, usPerUnit: layout?.usPerUnit ?? named.usPerUnit };
    }
  }
  const { t, x, y, p } = found;
  return t && x && y && p ? { t, x, y, p } : undefined;
}

/** @param start where in a stored entry to begin. */
function openEntry(zip: yauzl.ZipFile, entry: yauzl.Entry, start: number): Promise<Readable> {
  return new Promise((done, fail) => {
    const opened = (error: Error | null, stream: Readable): void =>
      error === null ? done(stream) : fail(error);
    if (start === 0) zip.openReadStream(entry, opened);
    else zip.openReadStream(entry, { start: Math.min(start, entry.uncompressedSize) }, opened);
  });
}

/** The bytes of an array. They end where the archive is damaged, which is reported with the place of the entry. */
function entrySource(zip: yauzl.ZipFile, entry: yauzl.Entry, options: DecodeOptions): ByteSource {
  return {
    [Symbol.asyncIterator]: () => entryBytes(zip, entry, options, 0),
    from: (offset) => ({
      [Symbol.asyncIterator]: () => entryBytes(zip, entry, options, offset),
    }),
  };
}

async function* entryBytes(
  zip: yauzl.ZipFile,
  entry: yauzl.Entry,
  { report }: DecodeOptions,
  start: number,
): AsyncGenerator<Uint8Array> {
  const stored = entry.compressionMethod === 0 && start > 0;
  let passed = stored ? 0 : start;
  try {
    const stream = await openEntry(zip, entry, stored ? start : 0);
    for await (const chunk of stream as AsyncIterable<Uint8Array>) {
      const rest = chunk.subarray(Math.min(passed, chunk.length));
      passed -= chunk.length - rest.length;
      if (rest.length > 0) yield rest;
    }
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    reportDamage(report, entry.relativeOffsetOfLocalHeader, `${entry.fileName}: ${reason}`);
  }
}

interface OpenColumn {
  readonly input: ByteReader;
  readonly field: NpyField;
  readonly count: number;
  readonly values: Float64Array;
}

async function* decodeColumns(
  zip: yauzl.ZipFile,
  columns: Record<ColumnRole, Column>,
  options: DecodeOptions,
): AsyncGenerator<MarkedBatch> {
  const { file, report, signal } = options;
  const first = markOfPart(options.resume)?.offset ?? 0;
  const inputs: ByteReader[] = [];
  const openColumn = async (role: ColumnRole): Promise<OpenColumn> => {
    const { entry } = columns[role];
    const place = `${file}, ${entry.fileName}`;
    const input = new ByteReader(entrySource(zip, entry, options), place, signal);
    inputs.push(input);
    const header = await readNpyHeader(input, place);
    const [field] = header.fields;
    if (header.structured || header.shape.length !== 1 || field.scalar === undefined) {
      const message = `array of shape [${header.shape}], expected numbers in one dimension`;
      throw new SaccadeError('input', message, { file: place });
    }
    return { input, field, count: header.shape[0], values: new Float64Array(runLength) };
  };
  try {
    const opened = {
      t: await openColumn('t'),
      x: await openColumn('x'),
      y: await openColumn('y'),
      p: await openColumn('p'),
    };
    const all = Object.values(opened);
    const count = Math.min(...all.map((column) => column.count));
    if (all.some((column) => column.count > count)) {
      const counts = columnRoles.map((role) => `${role} ${opened[role].count}`).join(', ');
      reportDamage(report, 0, `arrays of different lengths (${counts}), read to the shortest`);
    }
    const isFloat = opened.t.field.scalar?.startsWith('f') === true;
    const usPerUnit = columns.t.usPerUnit ?? (isFloat ? 1e6 : 1);
    const events = new BatchBuilder(options.sensor ?? limits, runLength);
    const { t, x, y, p } = opened;
    if (first > 0) {
      for (const { input, field } of all) await input.seek(input.offset + first * field.length);
    }
    for (let done = first; done < count;) {
      throwIfAborted(signal, file);
      let run = Math.min(runLength, count - done);
      for (const { input, field } of all) {
        await input.require(run * field.length);
        run = Math.min(run, Math.floor(input.available / field.length));
      }
      if (run === 0) {
        const message = `ends after ${done} of the ${count} events that its headers state`;
        reportDamage(report, columns.t.entry.relativeOffsetOfLocalHeader, message);
        return;
      }
      for (const { input, field, values } of all) {
        readColumn(input.view, input.position, field.length, run, field, values);
        input.position += run * field.length;
      }
      const read = { t: t.values, x: x.values, y: y.values, p: p.values };
      const { offset } = t.input;
      pushRows(read, run, usPerUnit, events, report, () => offset);
      const mark = { offset: done, state: [] };
      done += run;
      if (events.length > 0) yield { batch: events.take(), mark };
    }
  } finally {
    for (const input of inputs) await input.close();
  }
}

/** Arrays as they are written: their name, and their type as NumPy calls it. */
const written = { t: '<i8', x: '<u2', y: '<u2', p: '|u1' } as const;

async function* encodeNpz(
  batches: AsyncIterable<EventBatch>,
  options: EncodeOptions,
): AsyncGenerator<Uint8Array> {
  const columns = await spoolColumns(batches, options, 'int64');
  try {
    const zip = new yazl.ZipFile();
    for (const role of columnRoles) {
      const header = npyFileHeader(`'${written[role]}'`, columns.count);
      const bytes = (async function* () {
        yield header;
        yield* columns.spools[role].read();
      })();
      // One date for all, so that the same events give the same bytes.
      const entryOptions = { mtime: new Date(1980, 0, 1), forceDosTimestamp: true };
      zip.addReadStreamLazy(`${role}.npy`, entryOptions, (give) =>
        give(undefined, Readable.from(bytes)),
      );
    }
    zip.end();
    for await (const chunk of zip.outputStream) yield chunk as Buffer;
  } finally {
    await columns.close();
  }
}

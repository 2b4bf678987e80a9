import { open, stat } from 'node:fs/promises';
import type { Metadata } from 'h5wasm/node';
import { SaccadeError } from '../../engine/support/errors.js';
import { throwIfAborted } from '../bytes.js';
import { maxBlockLength } from '../decompress.js';
import { BatchBuilder, type SensorSize } from '../eventBatch.js';
import {
  checkVariant,
  type DecodeOptions,
  type DecodeReport,
  type EventFormat,
  reportDamage,
} from '../format.js';
import { type MarkedBatch, markOfPart, rebatchMarked } from '../rebatch.js';
import { bytesOfFile, throughFile } from '../temporaryFile.js';
import { type ColumnRole, columnRoles, namedColumn, pushRows } from './columns.js';
import { guessColumns } from './csvLayout.js';
import { decodeEcf, ecfFilter } from './ecf.js';
import { listChunks, type StoredChunk } from './hdf5Chunks.js';
import { type OwnTimeIndex, readOwnTimeIndex } from './hdf5Index.js';
import { type Hdf5Dataset, Hdf5File, type Hdf5Filter } from './hdf5Reader.js';
import { writeProphesee } from './hdf5Writer.js';
import { npy, readColumn } from './npy.js';
import { type NpyField, scalarOf } from './npyHeader.js';

const magic = [0x89, 0x48, 0x44, 0x46, 0x0d, 0x0a, 0x1a, 0x0a]; // \x89HDF\r\n\x1a\n
/** Places where an HDF5 file may begin behind a user block (MAT 7.3: 512 bytes). */
const starts = [0, 512, 1024, 2048, 4096];
const limits: SensorSize = npy.limits;
/** Rows that are read at a time: a chunk, within these bounds. */
const minRunLength = 16_384;
const maxRunLength = 1 << 20;
/** Longer than the record of an event can be, whatever else is in it. */
const maxRecordLength = 4_096;
/** Most bytes that a byte of deflated data gives. */
const maxDeflation = 1_032;
/** Bytes of a chunk of ECF: 65,535 events, each with the longest of steps, or 16 bytes of each where it was not used. */
const maxEcfLength = 65_535 * 24;
/** Filters that the library or its plugins have; it gives wrong values without a word where one is missing. */
const knownFilters = [1, 2, 3, 5, 6, 307, 32000, 32001, 32004, 32008, 32015, 32026];
const bloscFilter = 32001;
const filterNames: Readonly<Record<number, string>> = {
  4: 'szip',
  307: 'bzip2',
  32000: 'LZF',
  32001: 'Blosc',
  32004: 'LZ4',
  32008: 'bitshuffle',
  32013: 'ZFP',
  32015: 'Zstandard',
  32026: 'Blosc2',
  36559: 'ECF (Prophesee)',
};
/** Compressors in Blosc that its plugin does not have, by the seventh value of the filter. */
const missingInBlosc: Readonly<Record<number, string>> = { 3: 'Snappy', 4: 'zlib' };
/** Classes of HDF5 types. */
const integerClass = 0;
const floatClass = 1;
const compoundClass = 6;
const enumClass = 8;

/**
 * HDF5 (`.hdf5`, `.h5`; also MAT-files of version 7.3) with events as
 * - a dataset of records with fields t, x, y and p: Prophesee's `/CD/events`;
 * - one dataset each for t, x, y and p in one group: DSEC's `/events/{t,x,y,p}` with its `/t_offset` added, those at the
 *   root that e2calib writes, `/raw_events/…`, and others, or as `layout.columns` names them by their paths;
 * - a dataset of shape [N, 4], its columns told by their values: MVSEC's `/davis/left/events`; or of shape [4, N], which
 *   MATLAB makes of a matrix of four columns.
 * The first of them is read (in this order), or the dataset or group that `layout.path` names.
 *
 * Convention: x and y as stored (upper left in those layouts); polarity 1 = ON, 0 and -1 = OFF. Times are µs in
 * integers and seconds in floats, unless a name or `layout.usPerUnit` says the unit. Prophesee's files state the sensor
 * size in the attribute `geometry`.
 *
 * HDF5 reads a chunk at a time from the file; it is not loaded whole. Read are the filters deflate, shuffle, Fletcher32, nbit and
 * scale-offset; Blosc (BloscLZ, LZ4 and Zstandard inside, as in DSEC's files), Blosc2, bitshuffle, LZ4, LZF, Zstandard and bzip2; and
 * Prophesee's ECF (`ecf.ts`) where it is the only filter of a dataset. A dataset with another one (szip, ZFP, Blosc with zlib or
 * Snappy) is an error that names it: `h5repack -f GZIP=1`, where it has that filter, makes the file readable.
 *
 * Slices of the time use the index of the file itself where it has one: Prophesee's `/CD/indexes`, DSEC's `/ms_to_idx`
 * (`hdf5Index.ts`); it is taken at its word that times rise, and not used where the times of the rows that it names are others.
 *
 * A file on which HDF5's library does not come to an end is given up after 10 s.
 *
 * Written is Prophesee's layout with deflated chunks of 16,384 events and, where times rise, its time index; as the variant
 * `ecf`, with chunks of ECF, as Prophesee's own files have them.
 *
 * Source: OpenEB `hdf5_event_file_writer.cpp`; uzh-rpg/DSEC `eventslicer.py`; e2calib `h5writer`.
 */
export const hdf5: EventFormat = {
  name: 'hdf5',
  title: 'HDF5 (.hdf5, .h5)',
  extensions: ['hdf5', 'h5'],
  holdsSensorSize: true,
  variants: ['ecf'],
  // MVSEC, DSEC, Prophesee.
  usualSensors: [
    { width: 346, height: 260 },
    { width: 640, height: 480 },
    { width: 1280, height: 720 },
  ],
  limits,

  detect: ({ head }) => (hasMagic(head) ? 1 : 0),

  decode: (bytes, options) =>
    throughFile(bytes, options, (path) => hdf5.decodeFile!(path, options)),

  decodeFile: (path, options) => rebatchMarked(decodeHdf5(path, options), options),

  encode: (batches, options) => {
    checkVariant(hdf5, options.variant);
    return bytesOfFile((path) => writeProphesee(path, batches, options));
  },
};

function hasMagic(head: Uint8Array): boolean {
  return starts.some((start) => magic.every((byte, i) => head[start + i] === byte));
}

/** A column: a dataset, or a field or column of one. */
interface Column {
  readonly path: string;
  readonly metadata: Metadata;
  /** Where it is in a row of its dataset. */
  readonly field: NpyField;
  readonly usPerUnit: number | undefined;
  /** Its row, where the dataset is of shape [4, N]. */
  readonly line?: number;
  /** Whether the dataset is this column alone, also where its shape is [1, 4] or [4, 1]. */
  readonly alone?: boolean;
}

interface Table {
  /** In the order t, x, y, p; without roles where the values have to tell. */
  readonly columns: readonly Column[];
  readonly named: boolean;
}

function fieldOf(name: string, type: Metadata, offset: number): NpyField {
  const kind =
    type.type === floatClass
      ? 'f'
      : type.type === integerClass || type.type === enumClass
        ? type.signed
          ? 'i'
          : 'u'
        : '';
  const { size: length, littleEndian } = type;
  return { name, scalar: scalarOf(`${kind}${length}`), littleEndian, offset, length };
}

/** The events of one dataset: records, or rows of four numbers. */
function tableOfDataset(path: string, metadata: Metadata): Table | undefined {
  if (metadata.type === compoundClass && metadata.shape?.length === 1) {
    const columns: Partial<Record<ColumnRole, Column>> = {};
    for (const member of metadata.compound_type?.members ?? []) {
      const named = namedColumn(member.name);
      const field = fieldOf(member.name, member, member.offset);
      if (named === undefined || field.scalar === undefined) continue;
      columns[named.role] ??= { path, metadata, field, usPerUnit: named.usPerUnit };
    }
    return tableOfRoles(columns);
  }
  if (metadata.shape?.length === 2 && metadata.shape[1] === 4) {
    const columns = columnRoles.map((_, i): Column => {
      const field = fieldOf('', metadata, i * metadata.size);
      return { path, metadata, field, usPerUnit: undefined };
    });
    if (columns[0].field.scalar !== undefined) return { columns, named: false };
  }
  if (isTransposed(metadata)) {
    const field = fieldOf('', metadata, 0);
    const columns = columnRoles.map((_, line): Column => {
      return { path, metadata, field, usPerUnit: undefined, line };
    });
    if (field.scalar !== undefined) return { columns, named: false };
  }
  return undefined;
}

const isTransposed = ({ shape, type }: Metadata): boolean =>
  shape?.length === 2 && shape[0] === 4 && shape[1] !== 4 && type !== compoundClass;

function tableOfRoles(columns: Partial<Record<ColumnRole, Column>>): Table | undefined {
  const { t, x, y, p } = columns;
  return t && x && y && p ? { columns: [t, x, y, p], named: true } : undefined;
}

function findTable(
  listed: readonly [string, Hdf5Dataset][],
  { layout }: DecodeOptions,
): Table | undefined {
  const datasets = listed.map(([path, { metadata }]) => [path, metadata] as const);
  const wanted =
    layout?.path === undefined ? undefined : `/${layout.path.replace(/^\/+|\/+$/g, '')}`;
  const tables = datasets
    .filter(([path]) => wanted === undefined || path === wanted)
    .map(([path, metadata]) => tableOfDataset(path, metadata))
    .filter((table) => table !== undefined);
  const groups = new Map<string, Partial<Record<ColumnRole, Column>>>();
  for (const [path, metadata] of datasets) {
    const field = fieldOf(path, metadata, 0);
    // MATLAB has rows or columns instead of vectors.
    const isVector = (metadata.shape?.filter((size) => size !== 1).length ?? 0) <= 1;
    if (!isVector || metadata.type === compoundClass || field.scalar === undefined) continue;
    const slash = path.lastIndexOf('/');
    const given = columnRoles.find(
      (role) => layout?.columns?.[role]?.replace(/^\/*/, '/') === path,
    );
    const named = namedColumn(path.slice(slash + 1));
    if (given === undefined && (named === undefined || layout?.columns?.[named.role])) continue;
    const group = layout?.columns === undefined ? path.slice(0, slash) || '/' : '/';
    if (wanted !== undefined && group !== wanted && given === undefined) continue;
    const columns = groups.get(group) ?? {};
    groups.set(group, columns);
    const usPerUnit = named?.usPerUnit;
    columns[given ?? named!.role] ??= { path, metadata, field, usPerUnit, alone: true };
  }
  const records = tables.find((table) => table.named);
  const apart = [...groups.values()].map(tableOfRoles).find((table) => table !== undefined);
  return (layout?.columns ? apart : undefined) ?? records ?? apart ?? tables[0];
}

/** A mark is a row; its state is the order of the columns. */
async function* decodeHdf5(path: string, options: DecodeOptions): AsyncGenerator<MarkedBatch> {
  const { file: name, report, signal, layout } = options;
  await requireMagic(path, name);
  let file: Hdf5File;
  try {
    file = await Hdf5File.open(path);
  } catch (error) {
    reportDamage(report, 0, `HDF5 cannot open it: ${reasonOf(error)}`);
    return;
  }
  try {
    let table: Table | undefined;
    let paths: string[] = [];
    let tOffset = 0;
    let sensor: SensorSize | undefined;
    let listed: [string, Hdf5Dataset][];
    try {
      ({ paths, datasets: listed } = await file.list());
      table = findTable(listed, options);
      sensor = sensorOfGeometry(await file.attribute('geometry'));
      tOffset = table === undefined ? 0 : await timeOffset(file, listed, table.columns[0]);
    } catch (error) {
      reportDamage(report, 0, `HDF5 cannot list its datasets: ${reasonOf(error)}`);
      return;
    }
    if (table === undefined) {
      const wanted =
        layout?.path ??
        'datasets t, x, y, p (or usual names of them), records of them, or a dataset of shape [N, 4]';
      const there = paths.slice(0, 40).join(', ') || 'nothing';
      throw new SaccadeError('input', `expected ${wanted}; there is ${there}`, { file: name });
    }
    const datasets = new Map(listed);
    checkFilters(datasets, table, name);
    const rowCounts = table.columns.map(rowsOf);
    const rows = Math.min(...rowCounts);
    const { size } = await stat(path);
    if (rows > maxDeflation * size) {
      reportDamage(report, 0, `${rows} events stated, more than a file of ${size} bytes can hold`);
      return;
    }
    if (rowCounts.some((count) => count !== rows)) {
      const message = `datasets of different lengths (${rowCounts.join(', ')}), read to the shortest`;
      reportDamage(report, 0, message);
    }
    let readRows: RowReader;
    try {
      readRows = await rowReader(path, file, datasets, table);
    } catch (error) {
      reportDamage(report, 0, `the chunks of ${table.columns[0].path}: ${reasonOf(error)}`);
      return;
    }
    const chunk = Math.max(
      ...table.columns.map(
        ({ metadata: { chunks }, line, alone }) =>
          (alone ? Math.max(...(chunks ?? [0])) : chunks?.[line === undefined ? 0 : 1]) ?? 0,
      ),
    );
    // Whole chunks, so that none is unpacked twice.
    const wholeChunks = chunk * Math.ceil(minRunLength / Math.max(1, chunk));
    const runLength = chunk > 0 ? Math.min(maxRunLength, wholeChunks) : minRunLength;
    const values = table.columns.map(
      () => new Float64Array(Math.max(1, Math.min(runLength, rows))),
    );
    const events = new BatchBuilder(sensor ?? options.sensor ?? limits, values[0].length);
    let usPerUnit = layout?.usPerUnit ?? table.columns[0].usPerUnit;
    usPerUnit ??= table.columns[0].field.scalar?.startsWith('f') ? 1e6 : 1;
    const resume = markOfPart(options.resume);
    let order = resume?.state ?? (table.named ? [0, 1, 2, 3] : undefined);
    let first = resume?.offset ?? 0;
    let end = rows;
    if (options.wanted !== undefined && resume === undefined && usPerUnit === 1) {
      const index = await readOwnTimeIndex(file, datasets, table.columns[0].path, tOffset).catch(
        () => undefined,
      );
      if (index !== undefined) {
        [first, end] = await rowsWithin(index, options.wanted, rows, values, readRows, report);
        first -= first % runLength;
      }
    }
    for (let done = first; done < end; done += runLength) {
      throwIfAborted(signal, name);
      const run = Math.min(runLength, rows - done);
      try {
        await readRows(done, run, values);
      } catch (error) {
        const message = `events ${done} to ${done + run - 1} cannot be read: ${reasonOf(error)}`;
        reportDamage(report, 0, message);
        continue;
      }
      order ??= orderOf(values, run);
      if (order === undefined) {
        const message = `the columns of ${table.columns[0].path} do not look like t, x, y and p in a usual order`;
        throw new SaccadeError('input', message, { file: name });
      }
      const [t, x, y, p] = order.map((column) => values[column]);
      if (tOffset !== 0) for (let i = 0; i < run; i++) t[i] += tOffset;
      pushRows({ t, x, y, p }, run, usPerUnit, events, report, () => 0);
      const mark = { offset: done, state: order };
      if (events.length > 0) yield { batch: events.take(), mark };
    }
  } finally {
    await file.close();
  }
}

/**
 * The rows that hold the wanted times, by the file's own index: `[first, end)`. All of them where the times that the
 * index says of its rows are not theirs, which is reported.
 */
async function rowsWithin(
  index: OwnTimeIndex,
  { fromUs, toUs }: { readonly fromUs: number; readonly toUs: number },
  rows: number,
  values: readonly Float64Array[],
  readRows: RowReader,
  report: DecodeReport,
): Promise<[first: number, end: number]> {
  const found = await index.find(fromUs, toUs);
  const { first } = found;
  const end = Math.min(found.end, rows);
  const whole: [number, number] = [0, rows];
  const wrong = (): [number, number] => {
    reportDamage(report, 0, 'its own time index does not fit the events, so it is not used');
    return whole;
  };
  if (!(first >= 0 && first <= rows && end >= 0)) return wrong();
  try {
    // The event in front of the slice, and the first behind it.
    if (first > 0) {
      await readRows(first - 1, 1, values);
      if (values[0][0] + index.offsetUs >= fromUs) return wrong();
    }
    if (end < rows) {
      await readRows(end, 1, values);
      if (values[0][0] + index.offsetUs < toUs) return wrong();
    }
  } catch {
    return whole;
  }
  return [first, end];
}

function reasonOf(error: unknown): string {
  const [line] = (error instanceof Error ? error.message : String(error)).split('\n');
  return line.slice(0, 200);
}

async function requireMagic(path: string, name: string): Promise<void> {
  const head = new Uint8Array(starts[starts.length - 1] + magic.length);
  const file = await open(path, 'r');
  await file.read(head, 0, head.length, 0).finally(() => file.close());
  if (hasMagic(head)) return;
  const message = 'not an HDF5 file: expected it to begin with "\\x89HDF"';
  throw new SaccadeError('input', message, { file: name, offset: 0 });
}

function rowsOf({ metadata, line, alone }: Pick<Column, 'metadata' | 'line' | 'alone'>): number {
  const { shape, type } = metadata;
  if (line !== undefined) return shape![1];
  if (alone !== true && shape?.length === 2 && shape[1] === 4 && type !== compoundClass) {
    return shape[0];
  }
  return (shape ?? [0]).reduce((all, size) => all * size, 1);
}

function checkFilters(
  datasets: ReadonlyMap<string, Hdf5Dataset>,
  table: Table,
  name: string,
): void {
  for (const { path, metadata } of table.columns) {
    const { filters } = datasets.get(path)!;
    if (metadata.size > maxRecordLength) {
      const message = `${path} has elements of ${metadata.size} bytes, expected at most ${maxRecordLength}`;
      throw new SaccadeError('input', message, { file: name });
    }
    const chunkBytes = (metadata.chunks ?? []).reduce((all, count) => all * count, metadata.size);
    if (chunkBytes > maxBlockLength) {
      const message = `${path} has chunks of ${chunkBytes} bytes, expected at most ${maxBlockLength}`;
      throw new SaccadeError('input', message, { file: name });
    }
    if (isEcf(filters)) continue;
    const missing = filters.find(({ id }) => !knownFilters.includes(id));
    const blosc = filters.find(({ id }) => id === bloscFilter);
    const inside = blosc === undefined ? undefined : missingInBlosc[blosc.cd_values[6]];
    let filter: string | undefined;
    if (missing !== undefined) {
      filter = `${filterNames[missing.id] ?? missing.name} (filter ${missing.id})`;
    } else if (inside !== undefined) {
      filter = `Blosc with ${inside} (filter ${bloscFilter})`;
    }
    if (filter === undefined) continue;
    const message = `${path} is compressed with ${filter}, which cannot be read; repack it: h5repack -f GZIP=1`;
    throw new SaccadeError('input', message, { file: name });
  }
}

const isEcf = (filters: readonly Hdf5Filter[]): boolean =>
  filters.length === 1 && filters[0].id === ecfFilter;

/** Prophesee's files: `geometry` is `1280x720`. */
function sensorOfGeometry(geometry: string | undefined): SensorSize | undefined {
  const [, width, height] = /^(\d+)x(\d+)/.exec(geometry ?? '') ?? [];
  const sensor = { width: Number(width), height: Number(height) };
  const fits = sensor.width >= 1 && sensor.height >= 1 && sensor.width <= limits.width;
  return fits && sensor.height <= limits.height ? sensor : undefined;
}

/** DSEC keeps times in 32 bits, and what they count from beside them. */
async function timeOffset(
  file: Hdf5File,
  datasets: readonly [string, Hdf5Dataset][],
  { path }: Column,
): Promise<number> {
  const all = new Map(datasets);
  for (
    let at = path.lastIndexOf('/');
    at >= 0;
    at = at === 0 ? -1 : path.lastIndexOf('/', at - 1)
  ) {
    const place = `${path.slice(0, at)}/t_offset`;
    const metadata = all.get(place)?.metadata;
    if (metadata === undefined) continue;
    const field = fieldOf('', metadata, 0);
    if (
      field.scalar === undefined ||
      rowsOf({ metadata: { ...metadata, shape: metadata.shape ?? [] }, alone: true }) !== 1
    )
      continue;
    const ones = (metadata.shape ?? []).map(() => 1);
    const view = await file.read(
      place,
      ones,
      ones.map(() => 0),
      metadata.size,
    );
    const value = new Float64Array(1);
    readColumn(view, 0, metadata.size, 1, field, value);
    return value[0];
  }
  return 0;
}

/** Reads rows `start` to `start + count` into the front of an array for each column. */
type RowReader = (start: number, count: number, values: readonly Float64Array[]) => Promise<void>;

async function rowReader(
  path: string,
  file: Hdf5File,
  datasets: ReadonlyMap<string, Hdf5Dataset>,
  table: Table,
): Promise<RowReader> {
  const [first] = table.columns;
  if (!isEcf(datasets.get(first.path)!.filters)) {
    return (start, count, values) => readRun(file, table, start, count, values);
  }
  const chunks = await listChunks(path, first.path);
  const chunkRows = first.metadata.chunks?.[0] ?? 0;
  const byFirst = new Map(chunks.map((chunk) => [chunk.first, chunk]));
  return async (start, count, values) => {
    for (let done = 0; done < count;) {
      const inChunk = (start + done) % chunkRows;
      const chunk = byFirst.get(start + done - inChunk);
      if (chunk === undefined) throw new Error(`no chunk for event ${start + done}`);
      const columns = await readEcfChunk(path, chunk, table);
      const run = Math.min(count - done, columns[0].length - inChunk);
      if (run <= 0) throw new Error(`a chunk of ${columns[0].length} events, expected more`);
      columns.forEach((column, i) => {
        for (let row = 0; row < run; row++) values[i][done + row] = column[inChunk + row];
      });
      done += run;
    }
  };
}

/** Columns t, x, y and p of a chunk. */
async function readEcfChunk(
  path: string,
  { offset, length, unfiltered }: StoredChunk,
  { columns }: Table,
): Promise<ArrayLike<number>[]> {
  if (length > maxEcfLength) throw new Error(`a chunk of ${length} bytes, more than ECF makes`);
  const bytes = new Uint8Array(length);
  const file = await open(path, 'r');
  const { bytesRead } = await file.read(bytes, 0, length, offset).finally(() => file.close());
  if (bytesRead < length) throw new Error('a chunk ends behind the file');
  if ((unfiltered & 1) === 0) {
    const { tUs, x, y, polarity } = decodeEcf(bytes);
    return [tUs, x, y, polarity];
  }
  const view = new DataView(bytes.buffer);
  return columns.map(({ field, metadata: { size } }) => {
    const values = new Float64Array(Math.floor(length / size));
    readColumn(view, field.offset, size, values.length, field, values);
    return values;
  });
}

/** Reads rows `start` to `start + count` of all columns; each dataset once. */
async function readRun(
  file: Hdf5File,
  { columns }: Table,
  start: number,
  count: number,
  values: readonly Float64Array[],
): Promise<void> {
  const read = new Map<string, DataView>();
  for (const [i, { path, metadata, field, line, alone }] of columns.entries()) {
    const shape = metadata.shape ?? [];
    const { size } = metadata;
    const isTable =
      alone !== true && metadata.type !== compoundClass && shape.length === 2 && shape[1] === 4;
    const stride = size * (isTable ? 4 : 1);
    let view = read.get(path);
    if (view === undefined) {
      // Of MATLAB's rows and columns, the longer dimension counts.
      const axis = isTable ? 0 : line === undefined ? shape.indexOf(Math.max(...shape)) : 1;
      const wholeAxis = isTable || line !== undefined;
      const counts = shape.map((length, at) =>
        at === Math.max(0, axis) ? count : wholeAxis ? length : 1,
      );
      const offsets = shape.map((_, at) => (at === Math.max(0, axis) ? start : 0));
      view = await file.read(path, counts, offsets, count * size * (wholeAxis ? 4 : 1));
      read.set(path, view);
    }
    const first = line === undefined ? field.offset : count * size * line;
    readColumn(view, first, stride, count, field, values[i]);
  }
}

function orderOf(values: readonly Float64Array[], rows: number): number[] | undefined {
  const sample = Array.from({ length: Math.min(rows, 1_000) }, (_, i) =>
    values.map((column) => String(column[i])),
  );
  const columns = guessColumns(sample);
  return columns === undefined ? undefined : columnRoles.map((role) => columns[role]);
}

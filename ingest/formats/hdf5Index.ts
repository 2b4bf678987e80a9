import type { EventBatch } from '../eventBatch.js';
import type { Hdf5Dataset, Hdf5File } from './hdf5Reader.js';

/** The time index that some HDF5 files hold of their events. */
export interface OwnTimeIndex {
  /** What the times in the events' own column count from, µs. */
  readonly offsetUs: number;
  /**
   * Rows `[first, end)` that hold all events with `fromUs <= t < toUs`, and some more, where times rise; `end` may be
   * infinite.
   */
  find(fromUs: number, toUs: number): Promise<{ first: number; end: number }>;
}

/** Rows of an index that are read at a time, so that a search near its end needs one read. */
const pageLength = 512;

/**
 * Finds the index that belongs to the column of times:
 * - Prophesee's `indexes` beside `events`: rows of `id` and `ts`, one for each 2 ms: the event `id` has the time `ts` less the number in
 *   the text attribute `offset` (the first rows have -1);
 * - DSEC's `ms_to_idx` beside the events or above them: for each ms, the first event from it on.
 *
 * Source: OpenEB `hdf5_event_file_writer.cpp`; uzh-rpg/DSEC `eventslicer.py`.
 *
 * @param offsetUs what is added to the column's times to give those that are looked for.
 */
export async function readOwnTimeIndex(
  file: Hdf5File,
  datasets: ReadonlyMap<string, Hdf5Dataset>,
  timePath: string,
  offsetUs: number,
): Promise<OwnTimeIndex | undefined> {
  const folder = timePath.slice(0, timePath.lastIndexOf('/'));
  const own = `${folder}/indexes`;
  if (timePath.endsWith('/events') && datasets.has(own)) {
    const baseUs = -Number((await file.attribute('offset', own)) ?? NaN);
    const members = datasets.get(own)!.metadata.compound_type?.members ?? [];
    const id = members.find(({ name }) => name === 'id');
    const ts = members.find(({ name }) => name === 'ts');
    if (!Number.isSafeInteger(baseUs) || id?.size !== 8 || ts?.size !== 8) return undefined;
    const read = rowsOfDataset(file, own, datasets.get(own)!);
    const timeAt = async (row: number): Promise<number> => (await read(row, ts.offset)) + baseUs;
    return {
      offsetUs,
      async find(fromUs, toUs) {
        const count = lengthOf(datasets.get(own)!);
        // The first rows say no time; they count as earlier than all.
        const known = async (row: number): Promise<number> =>
          (await read(row, ts.offset)) < 0 ? -Infinity : timeAt(row);
        const behind = await firstWhere(count, async (row) => (await known(row)) > fromUs);
        const end = await firstWhere(count, async (row) => (await known(row)) >= toUs);
        return {
          first: behind === 0 ? 0 : await read(behind - 1, id.offset),
          end: end === count ? Infinity : await read(end, id.offset),
        };
      },
    };
  }
  const place = [folder, folder.slice(0, Math.max(0, folder.lastIndexOf('/')))]
    .map((at) => `${at}/ms_to_idx`)
    .find((at) => datasets.has(at));
  if (place === undefined || datasets.get(place)!.metadata.size !== 8) return undefined;
  const read = rowsOfDataset(file, place, datasets.get(place)!);
  return {
    offsetUs,
    async find(fromUs, toUs) {
      const count = lengthOf(datasets.get(place)!);
      const from = Math.floor((fromUs - offsetUs) / 1000);
      const to = Math.ceil((toUs - offsetUs) / 1000);
      return {
        first: from < 0 || count === 0 ? 0 : await read(Math.min(from, count - 1), 0),
        end: to < count ? await read(Math.max(to, 0), 0) : Infinity,
      };
    },
  };
}

/** µs for which Prophesee's index has one row. */
const periodUs = 2_000;
/** Rows beyond those of the events that pauses may add; with more, there is no index. */
const maxPauseRows = 1 << 20;

/**
 * Makes the rows of Prophesee's `indexes`, as OpenEB writes them: for each 2 ms after the first event, the first event of
 * the period in front (uint64 `id`) and its time after the first event (int64 `ts`), little-endian; -1 where there is none.
 * None where times go back.
 */
export class OwnTimeIndexWriter {
  /** Bytes of a row. */
  static readonly rowLength = 16;
  rows = 0;
  /** Whether the events written so far can have an index. */
  fits = true;
  firstUs = 0;
  private events = 0;
  private lastUs = -Infinity;
  private last: Row = { id: 0, us: -1 };
  private current: Row = { id: 0, us: 0 };

  /** The rows that so many more events add. */
  add({ length, tUs }: EventBatch): Uint8Array {
    if (this.events === 0 && length > 0) this.firstUs = tUs[0];
    const rows: Row[] = [];
    for (let i = 0; i < length && this.fits; i++) {
      const us = tUs[i] - this.firstUs;
      const id = this.events + i;
      const needed = Math.floor(us / periodUs) + 1;
      this.fits = tUs[i] >= this.lastUs && needed <= maxPauseRows + id;
      if (!this.fits) break;
      this.lastUs = tUs[i];
      while (needed > this.rows) {
        if (id !== this.current.id) this.last = this.current;
        rows.push(this.last);
        this.rows++;
        this.current = { id, us };
      }
    }
    this.events += length;
    return bytesOfRows(rows);
  }

  /** The row behind those of all events. */
  end(): Uint8Array {
    this.rows++;
    return bytesOfRows([this.current]);
  }
}

interface Row {
  readonly id: number;
  readonly us: number;
}

function bytesOfRows(rows: readonly Row[]): Uint8Array {
  const bytes = new BigInt64Array(rows.flatMap(({ id, us }) => [BigInt(id), BigInt(us)]));
  return new Uint8Array(bytes.buffer);
}

function lengthOf({ metadata: { shape } }: Hdf5Dataset): number {
  return shape?.length === 1 ? shape[0] : 0;
}

/** Reads 64-bit whole numbers at an offset in rows, a page at a time. */
function rowsOfDataset(
  file: Hdf5File,
  path: string,
  dataset: Hdf5Dataset,
): (row: number, offset: number) => Promise<number> {
  const { size } = dataset.metadata;
  let page: { start: number; view: DataView } | undefined;
  return async (row, offset) => {
    const start = row - (row % pageLength);
    if (page?.start !== start) {
      const count = Math.min(pageLength, lengthOf(dataset) - start);
      page = { start, view: await file.read(path, [count], [start], count * size) };
    }
    return Number(page.view.getBigInt64((row - start) * size + offset, true));
  };
}

async function firstWhere(
  count: number,
  holds: (index: number) => Promise<boolean>,
): Promise<number> {
  let low = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (await holds(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}

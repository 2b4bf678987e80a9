import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type CompoundDtype, File, type GuessableDataTypes, ready } from 'h5wasm/node';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { concatBatches } from '../../../ingest/eventBatch.js';
import { createReport, type LayoutOptions } from '../../../ingest/format.js';
import { hdf5 } from '../../../ingest/formats/hdf5.js';
import { describeFormat } from '../formatConformance.js';
import { batchOf, collect, encodeRows, type EventRow, rowsOf } from '../streams.js';

const epochUs = 1_744_227_144_732_712;
const sensor = { width: 1280, height: 720 };

describeFormat(hdf5, {
  sensor,
  firstUs: [-epochUs, epochUs],
  stepUs: [-(2 ** 40), 2 ** 40],
  lowestUs: -epochUs,
  headerLength: 8,
  mayRefuse: true,
  notesTime: true,
});

let folder = '';
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'saccade-test-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

interface Written {
  readonly data: GuessableDataTypes;
  readonly dtype?: string | CompoundDtype;
  readonly shape?: number[];
  readonly chunks?: number[];
  readonly compression?: number;
}

/** Makes an HDF5 file of the datasets at these paths. */
async function make(datasets: Readonly<Record<string, Written>>): Promise<string> {
  await ready;
  const path = join(folder, 'made.h5');
  const file = new File(path, 'w');
  for (const [at, written] of Object.entries(datasets)) {
    const names = at.split('/');
    let group = '';
    for (const name of names.slice(0, -1)) {
      group = `${group}/${name}`;
      if (!file.paths().includes(group.slice(1)) && file.get(group) === null)
        file.create_group(group);
    }
    file.create_dataset({ ...written, name: at });
  }
  file.close();
  return path;
}

async function read(
  path: string,
  layout?: LayoutOptions,
): Promise<{ rows: EventRow[]; damages: string[] }> {
  const report = createReport();
  const batches = await collect(hdf5.decodeFile!(path, { file: 'read', report, layout }));
  const rows = rowsOf(concatBatches([batchOf(sensor, []), ...batches]));
  return { rows, damages: report.damages.map(({ message }) => message) };
}

const rows: EventRow[] = Array.from({ length: 40_000 }, (_, i) => [
  1000 + 11 * i,
  (i * 7) % 640,
  (i * 5) % 480,
  i & 1,
]);
const column = (index: number): number[] => rows.map((row) => row[index]);
const [t, x, y, p] = [0, 1, 2, 3].map(column);

describe('hdf5', () => {
  it('reads DSEC’s layout with its time offset, in chunks', async () => {
    const chunks = [5_000];
    const path = await make({
      'events/p': { data: Uint8Array.from(p), chunks, compression: 4 },
      'events/t': { data: Uint32Array.from(t), chunks, compression: 4 },
      'events/x': { data: Uint16Array.from(x), chunks, compression: 4 },
      'events/y': { data: Uint16Array.from(y), chunks, compression: 4 },
      ms_to_idx: { data: BigUint64Array.of(0n, 5n) },
      t_offset: { data: BigInt64Array.of(51_000_000_000n), shape: [] },
    });
    const { rows: found, damages } = await read(path);
    expect(found).toEqual(rows.map(([tUs, ...rest]) => [tUs + 51_000_000_000, ...rest]));
    expect(damages).toEqual([]);
  });

  it('reads vectors at the root, and seconds in floats', async () => {
    const path = await make({
      x: { data: Uint16Array.from(x) },
      y: { data: Uint16Array.from(y) },
      p: { data: Int8Array.from(p, (value) => 2 * value - 1) },
      t: { data: Float64Array.from(t, (us) => us / 1e6) },
    });
    expect((await read(path)).rows).toEqual(rows);
  });

  it('reads MVSEC’s layout, one matrix of doubles for each camera', async () => {
    const matrix = rows.flatMap(([tUs, ...xyp]) => [xyp[0], xyp[1], tUs / 1e6, 2 * xyp[2] - 1]);
    const shape = [rows.length, 4];
    const path = await make({
      'davis/left/events': { data: Float64Array.from(matrix), shape },
      'davis/right/events': { data: Float64Array.from(matrix.slice(0, 40)), shape: [10, 4] },
    });
    expect((await read(path)).rows).toEqual(rows);
    const right = await read(path, { path: '/davis/right/events' });
    expect(right.rows).toEqual(rows.slice(0, 10));
  });

  it('reads columns wherever they are, in any unit', async () => {
    const path = await make({
      'a/when': { data: Uint32Array.from(t) },
      'b/col': { data: Uint16Array.from(x) },
      'b/row': { data: Uint16Array.from(y) },
      sign: { data: Uint8Array.from(p) },
    });
    const columns = { t: 'a/when', x: '/b/col', y: 'b/row', p: 'sign' };
    const { rows: found } = await read(path, { columns, usPerUnit: 10 });
    expect(found).toEqual(rows.map(([tUs, ...rest]) => [10 * tUs, ...rest]));
    await expect(read(path)).rejects.toThrow(/expected datasets t, x, y, p .*a\/when/);
  });

  it('writes Prophesee’s layout, with the sensor size', async () => {
    await ready;
    const path = join(folder, 'written.h5');
    await writeFile(path, await encodeRows(hdf5, sensor, rows.slice(0, 20)));
    const file = new File(path, 'r');
    const events = file.get('CD/events') as unknown as {
      metadata: { chunks: number[]; compound_type: { members: { name: string }[] } };
      value: unknown[][];
    };
    expect(file.attrs.geometry.value).toBe('1280x720');
    expect(events.metadata.chunks).toEqual([16_384]);
    const names = events.metadata.compound_type.members.map(({ name }) => name);
    expect(names).toEqual(['x', 'y', 'p', 't']);
    expect(events.value[1].map(Number)).toEqual([7, 5, 1, 1011]);
    file.close();
  });
});

import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import {
  type CompoundDtype,
  type Dataset,
  File,
  type Group,
  type GuessableDataTypes,
  ready,
} from 'h5wasm/node';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { concatBatches } from '../../../ingest/eventBatch.js';
import { createReport, type LayoutOptions } from '../../../ingest/format.js';
import { hdf5 } from '../../../ingest/formats/hdf5.js';
import { listChunks } from '../../../ingest/formats/hdf5Chunks.js';
import { openRecording, writeRecording } from '../../../ingest/recording.js';
import { describeFormat, withVariant } from '../formatConformance.js';
import { batchOf, collect, encodeRows, type EventRow, rowsOf, streamOf } from '../streams.js';
import { type EcfPacking, encodeEcf } from './ecfEncoder.js';

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
  // Each file is read by a library of its own in a thread.
  share: 0.4,
});

describeFormat(
  withVariant(hdf5, 'ecf'),
  {
    sensor,
    firstUs: [-epochUs, epochUs],
    // Where times go back, chunks are stored as they are.
    stepUs: [-5, 2 ** 40],
    lowestUs: -epochUs,
    headerLength: 8,
    mayRefuse: true,
    notesTime: true,
    share: 0.2,
  },
  'with ECF',
);

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
  readonly compression_opts?: number[];
  readonly attributes?: Readonly<Record<string, string>>;
}

const plugins = fileURLToPath(new URL('plugins', import.meta.resolve('h5wasm-plugins')));

/** Makes an HDF5 file of the datasets at these paths, as older and as newer libraries do. */
async function make(
  datasets: Readonly<Record<string, Written>>,
  oldest: 'earliest' | 'v108' = 'earliest',
): Promise<string> {
  const module = await ready;
  module.insert_plugin_search_path(plugins, 0);
  const path = join(folder, 'made.h5');
  const file = new File(path, 'w', { libver: [oldest, 'latest'] });
  for (const [at, { attributes = {}, ...written }] of Object.entries(datasets)) {
    const names = at.split('/');
    let group = '';
    for (const name of names.slice(0, -1)) {
      group = `${group}/${name}`;
      if (!file.paths().includes(group.slice(1)) && file.get(group) === null)
        file.create_group(group);
    }
    const dataset = file.create_dataset({ ...written, name: at });
    for (const [name, text] of Object.entries(attributes)) dataset.create_attribute(name, text);
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

  describe('MATLAB 7.3', () => {
    /** As MATLAB has them: behind a header of 512 bytes, and rows for columns. */
    async function makeMat(datasets: Readonly<Record<string, Written>>): Promise<string> {
      const path = await make(datasets);
      const header = Buffer.alloc(512, ' ');
      header.write('MATLAB 7.3 MAT-file, Platform: GLNXA64');
      await writeFile(path, Buffer.concat([header, await readFile(path)]));
      return path;
    }

    const matrix = (values: Iterable<number>): Written => {
      const data = Float64Array.from(values);
      return { data, shape: [1, data.length] };
    };

    it('reads the fields of a structure, in seconds and with signs', async () => {
      const path = await makeMat({
        'other/x': matrix([1, 2]),
        'TD/p': matrix(p.map((value) => 2 * value - 1)),
        'TD/ts': matrix(t.map((us) => us / 1e6)),
        'TD/x': matrix(x),
        'TD/y': matrix(y),
      });
      const options = { layout: { usPerUnit: 1e6 } };
      expect(await read(path, options.layout)).toEqual({ rows, damages: [] });
    });

    it('reads variables, and a matrix of which each is a column', async () => {
      const [ts, pol] = [matrix(t), matrix(p)];
      const path = await makeMat({ ts, x: matrix(x), y: matrix(y), pol });
      expect(await read(path, { usPerUnit: 1 })).toEqual({ rows, damages: [] });
      const columns = [x, y, p, t].flatMap((column) => [...column]);
      for (const chunks of [undefined, [4, 5_000]]) {
        const data = Float64Array.from(columns);
        const whole = await makeMat({ events: { data, shape: [4, rows.length], chunks } });
        expect(await read(whole, { usPerUnit: 1 })).toEqual({ rows, damages: [] });
        const recording = await openRecording(whole, { layout: { usPerUnit: 1 } });
        expect(recording.format.name).toBe('hdf5');
      }
    });
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

  it('writes chunks of ECF, and those that it cannot hold as they are', async () => {
    await ready;
    const path = join(folder, 'written.h5');
    const events = rows.map(([tUs, ...rest], i): EventRow => [
      tUs - (i === 20_000 ? 50 : 0),
      ...rest,
    ]);
    const written = [
      batchOf(sensor, events.slice(0, 17_000)),
      batchOf(sensor, events.slice(17_000)),
    ];
    await writeRecording(path, streamOf(written), { sensor, variant: 'ecf' });
    expect(await read(path)).toEqual({ rows: events, damages: [] });
    const chunks = await listChunks(path, '/CD/events');
    expect(chunks.map(({ unfiltered }) => unfiltered)).toEqual([0, 1, 0]);
    const bytes = await readFile(path);
    const { offset, length } = chunks[0];
    // As the naive encoder does it, of the three layouts the shortest.
    const candidates = (['all', 'xAndPolarity', 'runs'] as const)
      .map((packing) => encodeEcf(events.slice(0, 16_384), packing))
      .sort((a, b) => a.length - b.length);
    expect(bytes.subarray(offset, offset + length)).toEqual(Buffer.from(candidates[0]));
    const file = new File(path, 'r');
    const dataset = file.get('CD/events') as Dataset;
    expect(dataset.filters).toMatchObject([{ id: 36_559, cd_values: [] }]);
    expect(dataset.metadata.size).toBe(16);
    expect(dataset.shape).toEqual([rows.length]);
    file.close();
    const deflated = join(folder, 'deflated.h5');
    await writeRecording(deflated, streamOf(written), { sensor });
    expect((await read(deflated)).rows).toEqual(events);
  });

  it.each([
    ['BloscLZ, shuffle', 32001, [2, 2, 4, 0, 5, 1, 0]],
    ['LZ4, bitshuffle', 32001, [2, 2, 4, 0, 5, 2, 1]],
    ['Zstandard, shuffle', 32001, [2, 2, 4, 0, 5, 1, 5]],
    ['Zstandard', 32015, [3]],
    ['LZ4', 32004, [0]],
    ['bitshuffle', 32008, [0, 2]],
  ])('reads DSEC’s layout with the filter %s', async (_, compression, compression_opts) => {
    const filter = { chunks: [7_000], compression, compression_opts };
    const path = await make({
      'events/p': { data: Uint8Array.from(p), ...filter },
      'events/t': { data: Uint32Array.from(t), ...filter },
      'events/x': { data: Uint16Array.from(x), ...filter },
      'events/y': { data: Uint16Array.from(y), ...filter },
    });
    expect(await read(path)).toEqual({ rows, damages: [] });
  });

  it('names the filter that cannot be read, and how to convert', async () => {
    const data = Uint16Array.from(x);
    const path = await make({
      x: { data },
      y: { data: Uint16Array.from(y) },
      t: { data: Uint32Array.from(t) },
      p: { data: Uint8Array.from(p), chunks: [7_000], compression: 1, compression_opts: [1] },
    });
    const bytes = await readFile(path);
    bytes.writeUInt16LE(4242, bytes.indexOf('deflate') - 8);
    await writeFile(path, bytes);
    await expect(read(path)).rejects.toThrow(/\/p is compressed with .*4242.*h5repack/);
  });

  it.each(['earliest', 'v108'] as const)('finds chunks as they are stored (%s)', async (oldest) => {
    const many = Object.fromEntries(
      Array.from({ length: 40 }, (_, i) => [`g/d${i}`, { data: Uint8Array.of(i) }]),
    );
    const data = Uint16Array.from(x);
    // In the oldest layout, any number of members; in the newer one, links that fit into the header.
    const others = oldest === 'earliest' ? many : {};
    const path = await make({ ...others, 'g/x': { data, chunks: [60] } }, oldest);
    const chunks = await listChunks(path, '/g/x');
    expect(chunks.map(({ first }) => first)).toEqual(
      Array.from({ length: Math.ceil(x.length / 60) }, (_, i) => 60 * i),
    );
    const bytes = await readFile(path);
    const stored = chunks.map(({ offset, length }) => bytes.subarray(offset, offset + length));
    const values = Buffer.concat(stored);
    expect(Buffer.from(data.buffer).equals(values.subarray(0, 2 * x.length))).toBe(true);
    await expect(listChunks(path, '/g/y')).rejects.toThrow(/no "y"/);
  });

  /** Prophesee's layout with chunks of ECF, and its time index. */
  async function makeEcf(recorded: readonly EventRow[], chunkLength = 5_000): Promise<string> {
    const count = recorded.length;
    const ids: bigint[] = [];
    const times: bigint[] = [];
    const [[firstUs]] = recorded;
    // As OpenEB writes it: each row has the start of the period in front of its own.
    let [last, current]: [number, number][] = [
      [0, -1],
      [0, 0],
    ];
    const add = ([id, time]: [number, number]): void => {
      ids.push(BigInt(id));
      times.push(BigInt(time));
    };
    for (const [id, [tUs]] of recorded.entries()) {
      const time = tUs - firstUs;
      while (Math.floor(time / 2000) + 1 > ids.length) {
        if (id !== current[0]) last = current;
        add(last);
        current = [id, time];
      }
    }
    add(current);
    const path = await make({
      'CD/events': {
        data: new Map<string, GuessableDataTypes>([
          ['x', new Uint16Array(count)],
          ['y', new Uint16Array(count)],
          ['p', new Int16Array(count)],
          ['t', new BigInt64Array(count)],
        ]),
        dtype: [
          ['x', '<H'],
          ['y', '<H'],
          ['p', '<h'],
          ['t', '<q'],
        ],
        shape: [count],
        chunks: [chunkLength],
        compression: 1,
        compression_opts: [0],
      },
      'CD/indexes': {
        data: new Map<string, GuessableDataTypes>([
          ['id', BigUint64Array.from(ids)],
          ['ts', BigInt64Array.from(times)],
        ]),
        dtype: [
          ['id', '<Q'],
          ['ts', '<q'],
        ],
        shape: [ids.length],
        attributes: { offset: String(-firstUs) },
      },
    });
    // No library here writes ECF: its bytes take the place of those that deflate stored, and its number that of deflate.
    const bytes = await readFile(path);
    const packings: EcfPacking[] = ['all', 'xAndPolarity', 'runs'];
    for (const { first, offset, length } of await listChunks(path, '/CD/events')) {
      const packing = packings[(first / chunkLength) % 3];
      const encoded = encodeEcf(recorded.slice(first, first + chunkLength), packing);
      expect(encoded.length).toBeLessThanOrEqual(length);
      bytes.set(encoded, offset);
    }
    bytes.writeUInt16LE(36_559, bytes.indexOf('deflate') - 8);
    await writeFile(path, bytes);
    return path;
  }

  it('reads Prophesee’s layout with ECF', async () => {
    expect(await read(await makeEcf(rows))).toEqual({ rows, damages: [] });
  });

  it('reads around damaged chunks of ECF', async () => {
    const path = await makeEcf(rows, 20_000);
    const bytes = await readFile(path);
    const [{ offset }] = await listChunks(path, '/CD/events');
    bytes.fill(0xff, offset, offset + 64);
    await writeFile(path, bytes);
    const { rows: found, damages } = await read(path);
    expect(found).toEqual(rows.slice(20_000));
    expect(damages).toEqual([expect.stringMatching(/events 0 to 19999 cannot be read/)]);
  });

  it('reads other files on where HDF5 aborts or fails on a damaged one', async () => {
    // A file with a changed number in its heap of names, packed.
    const packed =
      'H4sIAAAAAAACA+2Yz2sTQRTHv282P9b8qGusYBWkAQ+5tNlgLVYvgWxrQCFSvBWKQjcllCaShLKFHsSL6Klgr0qu' +
      'Kh689ORBQcjf4D8gFelF8EcPoszObrLELFaEHtL3gWXyJu/Ny/vmzSzMo7K1kE6cSwhdh88vjzumsr0Bu/mDJ5Wy' +
      'tSgm35/X14LPJ8MAuqTc8p57QoCAMxlE+kv6pOYADTrG5ZcbdrNVa9QxkSUYgPuotXQISEf3o4ucT12Rc3EVXG00' +
      '1++2Q2MjgVhpp67K2BMqdtVurNvt5mZodDQQ7f4KPN3r7A7XwBGZoHg+SoXYKblwzN6w6+3WN0+oWEZOxmv1Fdux' +
      'WxnN020K/8br3JvpSql8Y3j+WFomESVrxsv6ZefDY7eC7GAFIBoHBBHRQCdoFmg2AowBcJRMwnUwsAkRNO8hYuh9' +
      's42YNJWERUQFSEsmUyDh5iD3/9FPA5oQOOtlLapEaOCoufVse+9v2ohBbXKgWaFEqa2o0a+33YJ+6PrNXL9+uUjI' +
      'zgk2f6NabdnhzS8C7etuhLn/0OZj+nsGDMOMENdLlZsE7+zoHR/+2w4oTJu9d2fvGAFQthYuB/2ivr/pFMyAnx83' +
      'VVDjfc/ePsnaMwzDMAzDMAzDMMxRcXtxfp5Af1wz/gjxNycHJopqGGMpGYZhGGZkcZb331Ea0LXOy5/XPlfTnUvP' +
      'kyNd8dsl2oHuLO93C+TW/TX/6uFaduvi6ovosW6FC0sPuvED3hIMwzDH+r5ggob757LD7wsMlpJhGIZhRpbfl0Hq' +
      'SmAwAAA=';
    const bytes = gunzipSync(Buffer.from(packed, 'base64'));
    const aborting = join(folder, 'aborting.h5');
    await writeFile(aborting, bytes);
    const path = join(folder, 'written.h5');
    const few = rows.slice(0, 50);
    await writeRecording(path, streamOf([batchOf(sensor, few)]), { sensor });
    // Whether it aborts or only fails depends on what is in its memory, so it is tried several times.
    for (let i = 0; i < 30; i++) {
      const [damaged, whole, again] = await Promise.all([read(aborting), read(path), read(path)]);
      expect(damaged.damages).toEqual([expect.stringMatching(/cannot list its datasets: /)]);
      expect(whole).toEqual({ rows: few, damages: [] });
      expect(again).toEqual(whole);
    }
  });

  describe('slices by the time index of the file itself', () => {
    const pauses = rows.map(([tUs, ...rest], i): EventRow => [
      5_000_000 + tUs + 9_000 * Math.floor(i / 7_000),
      ...rest,
    ]);

    async function slices(path: string, all: readonly EventRow[]): Promise<void> {
      const recording = await openRecording(path);
      const [from, to] = [all[0][0], all[all.length - 1][0]];
      for (const [first, length] of [
        [-0.1, 0.2],
        [0, 0.001],
        [0.17, 0.01],
        [0.5, 0.25],
        [0.99, 0.5],
        [2, 1],
      ]) {
        const fromUs = Math.round(from + first * (to - from));
        const toUs = Math.round(fromUs + length * (to - from));
        const batches = await collect(recording.batches({ fromUs, toUs }));
        const found = rowsOf(concatBatches([batchOf(recording.sensor, []), ...batches]));
        expect(found).toEqual(all.filter(([tUs]) => tUs >= fromUs && tUs < toUs));
        expect(recording.report.damages).toEqual([]);
      }
      const wanted = { fromUs: from + 100_000, toUs: from + 101_000 };
      const options = { file: 'read', report: createReport(), wanted };
      const decoded = await collect(hdf5.decodeFile!(path, options));
      const count = decoded.reduce((sum, { length }) => sum + length, 0);
      expect(count).toBeLessThan(all.length / 1.9);
    }

    it('Prophesee’s indexes', async () => {
      await slices(await makeEcf(pauses), pauses);
    });

    it('the same as written', async () => {
      const path = join(folder, 'written.h5');
      await writeRecording(path, streamOf([batchOf(sensor, pauses)]), { sensor });
      await slices(path, pauses);
      // As one made row by row says of the same events.
      const rowsIn = async (of: string): Promise<unknown> => {
        const file = new File(of, 'r');
        const index = file.get('CD/indexes') as Dataset;
        const content = [index.value, index.attrs.offset.value];
        file.close();
        return content;
      };
      expect(await rowsIn(path)).toEqual(await rowsIn(await makeEcf(pauses)));
    });

    it('none is written where times go back or pauses are very long', async () => {
      for (const last of [-1, 1e15]) {
        const events: EventRow[] = [...rows.slice(0, 10), [rows[9][0] + last, 1, 1, 1]];
        const path = join(folder, 'written.h5');
        await writeRecording(path, streamOf([batchOf(sensor, events)]), { sensor });
        const file = new File(path, 'r');
        expect((file.get('CD') as Group).keys()).toEqual(['events']);
        file.close();
        expect((await read(path)).rows).toEqual(events);
      }
    });

    it('DSEC’s ms_to_idx', async () => {
      const relative = pauses.map(([tUs]) => tUs - 4_000_000);
      const milliseconds = Math.ceil(relative[relative.length - 1] / 1000) + 1;
      const index = new BigUint64Array(milliseconds);
      for (let ms = 0, i = 0; ms < milliseconds; ms++) {
        while (i < relative.length && relative[i] < 1000 * ms) i++;
        index[ms] = BigInt(i);
      }
      const chunks = [5_000];
      const path = await make({
        'events/p': { data: Uint8Array.from(p), chunks },
        'events/t': { data: Uint32Array.from(relative), chunks },
        'events/x': { data: Uint16Array.from(x), chunks },
        'events/y': { data: Uint16Array.from(y), chunks },
        ms_to_idx: { data: index },
        t_offset: { data: BigInt64Array.of(4_000_000n), shape: [] },
      });
      await slices(path, pauses);
    });

    it('is not used where it is not that of the events', async () => {
      const path = await makeEcf(pauses);
      const wrong = pauses.map(([tUs, ...rest], i): EventRow => [
        tUs + (i > 9e3 ? 1e6 : 0),
        ...rest,
      ]);
      const bytes = await readFile(path);
      for (const { first, offset } of await listChunks(path, '/CD/events')) {
        bytes.set(encodeEcf(wrong.slice(first, first + 5_000), 'all'), offset);
      }
      await writeFile(path, bytes);
      const recording = await openRecording(path);
      const [fromUs, toUs] = [wrong[20_000][0], wrong[20_500][0]];
      const batches = await collect(recording.batches({ fromUs, toUs }));
      expect(batches.flatMap(rowsOf)).toEqual(wrong.slice(20_000, 20_500));
      expect(recording.report.damages[0].message).toMatch(/time index does not fit/);
    });
  });
});

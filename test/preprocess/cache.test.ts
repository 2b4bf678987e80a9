import { cp, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { writeRecording } from '../../ingest/recording.js';
import { parseAugmentation } from '../../preprocess/augmentations/index.js';
import { cachedWindows, type ClipPipeline, type Shard } from '../../preprocess/cache/index.js';
import { parseFilter } from '../../preprocess/filters/index.js';
import {
  batchesInOrder,
  batchesPerEpoch,
  type Clip,
  shuffledBatches,
} from '../../preprocess/loader.js';
import { parseRepresentation, representWindow } from '../../preprocess/representations/index.js';
import { batchOf, type EventRow, rowsOf, streamOf } from '../ingest/streams.js';

const sensor = { width: 16, height: 16 };
const rows: EventRow[] = Array.from({ length: 500 }, (_, i) => [
  i * 10,
  i % 16,
  (i * 7) % 16,
  i % 3 === 0 ? 1 : 0,
]);
const plain: ClipPipeline = {
  filters: [],
  window: { kind: 'time', windowUs: 1000, incomplete: 'pad' },
};

let folder: string;
let cache: string;
let path: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'saccade-'));
  cache = join(folder, 'cache');
  path = join(folder, 'a.es');
  await writeRecording(path, streamOf([batchOf(sensor, rows)]), { sensor });
});

afterEach(() => rm(folder, { recursive: true }));

function contents(shard: Shard) {
  return Array.from({ length: shard.length }, (_, i) => {
    const { index, startUs, endUs, events } = shard.read(i);
    return { index, startUs, endUs, rows: rowsOf(events) };
  });
}

async function shardFiles(): Promise<string[]> {
  const names = await readdir(cache, { recursive: true });
  return names.filter((name) => name.endsWith('.shard')).map((name) => join(cache, name));
}

describe('cachedWindows', () => {
  it('keeps the windows of a recording, and gives the same ones again', async () => {
    const first = await cachedWindows(cache, { path }, plain);
    expect(first.made).toBe(true);
    expect(first.shard.events).toBe(500);
    const expected = [0, 1, 2, 3, 4].map((k) => ({
      index: k,
      startUs: k * 1000,
      endUs: (k + 1) * 1000,
      rows: rows.slice(k * 100, (k + 1) * 100),
    }));
    expect(contents(first.shard)).toEqual(expected);
    const again = await cachedWindows(cache, { path }, plain);
    expect(again.made).toBe(false);
    expect(contents(again.shard)).toEqual(expected);
  });

  it('makes new windows for a changed file or setting, not for a changed name', async () => {
    await cachedWindows(cache, { path }, plain);
    const other = join(folder, 'b.es');
    await cp(path, other);
    expect((await cachedWindows(cache, { path: other }, plain)).made).toBe(false);
    const changes: [Parameters<typeof cachedWindows>[1], ClipPipeline][] = [
      [{ path }, { ...plain, filters: [parseFilter('refractory:100')] }],
      [{ path }, { ...plain, filters: [parseFilter('refractory:101')] }],
      [{ path }, { ...plain, window: { kind: 'time', windowUs: 999, incomplete: 'keep' } }],
      [{ path }, { ...plain, window: { kind: 'time', windowUs: 1000, incomplete: 'drop' } }],
      [{ path, part: [0, 0.5] }, plain],
    ];
    for (const [source, pipeline] of changes) {
      expect((await cachedWindows(cache, source, pipeline)).made).toBe(true);
      expect((await cachedWindows(cache, source, pipeline)).made).toBe(false);
    }
    const changed = rows.map(([t, x, y, p]): EventRow => [t, x, y, 1 - p]);
    await writeRecording(path, streamOf([batchOf(sensor, changed)]), { sensor });
    const { shard, made } = await cachedWindows(cache, { path }, plain);
    expect(made).toBe(true);
    expect(contents(shard)[0].rows).toEqual(changed.slice(0, 100));
  });

  it('takes a part of the time', async () => {
    const { shard } = await cachedWindows(cache, { path, part: [0.5, 1] }, plain);
    const half = Math.round(0.5 * 4990);
    expect(contents(shard).flatMap(({ rows }) => rows)).toEqual(rows.filter(([t]) => t >= half));
  });

  it('takes the range that is labelled, and a part of that', async () => {
    const range = { fromUs: 1000, toUs: 3000 };
    const labelled = rows.filter(([t]) => t >= 1000 && t < 3000);
    const { shard } = await cachedWindows(cache, { path, range }, plain);
    expect(contents(shard).flatMap(({ rows }) => rows)).toEqual(labelled);
    const second = await cachedWindows(cache, { path, range, part: [0.5, 1] }, plain);
    expect(second.made).toBe(true);
    const half = Math.round(1000 + 0.5 * 1990);
    expect(contents(second.shard).flatMap(({ rows }) => rows)).toEqual(
      labelled.filter(([t]) => t >= half),
    );
  });

  it('makes a damaged or unfinished shard anew', async () => {
    const { shard } = await cachedWindows(cache, { path }, plain);
    const expected = contents(shard);
    const [file] = await shardFiles();
    const bytes = await readFile(file);
    for (const damaged of [
      bytes.subarray(0, bytes.length - 3),
      bytes.subarray(0, 10),
      new Uint8Array(0),
      Buffer.concat([bytes.subarray(0, 50), bytes.subarray(58)]),
    ]) {
      await writeFile(file, damaged);
      const again = await cachedWindows(cache, { path }, plain);
      expect(again.made).toBe(true);
      expect(contents(again.shard)).toEqual(expected);
    }
  });

  it('is safe with several at once, and leaves no temporary files', async () => {
    const all = await Promise.all(
      Array.from({ length: 6 }, () => cachedWindows(cache, { path }, plain)),
    );
    for (const { shard } of all) expect(contents(shard)).toEqual(contents(all[0].shard));
    const names = (await readdir(cache, { recursive: true })).filter((name) =>
      name.includes('.tmp'),
    );
    expect(names).toEqual([]);
    expect((await shardFiles()).length).toBe(1);
  });

  it('names a missing recording, and keeps nothing of an interrupted one', async () => {
    const missing = join(folder, 'none.es');
    await expect(cachedWindows(cache, { path: missing }, plain)).rejects.toThrow(/none\.es/);
    const signal = AbortSignal.abort();
    await expect(cachedWindows(cache, { path }, plain, { signal })).rejects.toMatchObject({
      kind: 'interrupted',
    });
    await expect(stat(cache)).rejects.toThrow();
  });
});

describe('loader', () => {
  const representation = parseRepresentation('histogram');
  const size = { bins: 3, height: 8, width: 8 };

  async function clips(): Promise<Clip[]> {
    const { shard } = await cachedWindows(
      cache,
      { path },
      {
        ...plain,
        window: { kind: 'count', count: 20, incomplete: 'keep' },
      },
    );
    return Array.from({ length: shard.length }, (_, position) => ({
      shard,
      position,
      label: position % 3,
      recording: 'a',
    }));
  }

  it('gives every clip once and in order', async () => {
    const all = await clips();
    const options = { clips: all, representation, size, batchSize: 7 };
    const batches = [...batchesInOrder(options)];
    expect(batches.map(({ shape }) => shape[0])).toEqual([7, 7, 7, 4]);
    expect(batches.flatMap(({ labels }) => [...labels])).toEqual(all.map(({ label }) => label));
    const values = batches.flatMap(({ inputs }) => [...inputs]);
    const expected = all.flatMap(({ shard, position }) => [
      ...representWindow(shard.read(position), representation, size),
    ]);
    expect(values).toEqual(expected);
  });

  it('shuffles by seed and epoch, every clip once, and resumes at any batch', async () => {
    const all = await clips();
    const options = {
      clips: all.map((clip, i) => ({ ...clip, label: i })),
      representation,
      size,
      batchSize: 7,
      seed: 3,
      augmentations: [parseAugmentation('translate:2'), parseAugmentation('dropEvents:0.5')],
    };
    const epoch = [...shuffledBatches(options, 5)];
    expect(epoch.length).toBe(batchesPerEpoch(options));
    const order = epoch.flatMap(({ labels }) => [...labels]);
    expect([...order].sort((a, b) => a - b)).toEqual(all.map((_, i) => i));
    expect(order).not.toEqual(all.map((_, i) => i));
    expect([...shuffledBatches(options, 5, 2)]).toEqual(epoch.slice(2));
    expect([...shuffledBatches(options, 5)]).toEqual(epoch);
    expect([...shuffledBatches(options, 6)]).not.toEqual(epoch);
    expect([...shuffledBatches({ ...options, seed: 4 }, 5)]).not.toEqual(epoch);
  });
});

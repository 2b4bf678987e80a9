import { link, mkdir, mkdtemp, readdir, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { writeRecording } from '../../ingest/recording.js';
import {
  cachedWindows,
  cacheLimit,
  clearCache,
  type ClipPipeline,
  enforceLimit,
  holdCache,
  listCache,
  setCacheLimit,
  type Shard,
} from '../../preprocess/cache/index.js';
import { batchOf, type EventRow, rowsOf, streamOf } from '../ingest/streams.js';

const sensor = { width: 16, height: 16 };
const clipPipeline: ClipPipeline = {
  filters: [],
  window: { kind: 'time', windowUs: 1000, incomplete: 'pad' },
};

let folder: string;
let cache: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'saccade-'));
  cache = join(folder, 'cache');
});

afterEach(() => rm(folder, { recursive: true }));

/** Brings a recording of its own content into the cache. */
async function prepared(name: string, hold?: ReturnType<typeof holdCache>) {
  const path = join(folder, `${name}.es`);
  const rows = Array.from(name.repeat(100), (letter, i): EventRow => [
    i * 10,
    letter.charCodeAt(0) % 16,
    i % 16,
    1,
  ]);
  await writeRecording(path, streamOf([batchOf(sensor, rows)]), { sensor });
  return cachedWindows(cache, { path }, clipPipeline, { hold });
}

/** Says of a file that it was used so many seconds ago. */
async function usedAgo({ path }: Pick<Shard, 'path'>, seconds: number): Promise<void> {
  const then = new Date(Date.now() - 1000 * seconds);
  await utimes(path, then, then);
}

const firstRows = (shard: Shard): EventRow[] => rowsOf(shard.read(0).events);

describe('a limit', () => {
  it('evicts what was used longest ago', async () => {
    const [a, b, c] = [await prepared('a'), await prepared('b'), await prepared('c')];
    await usedAgo(a.shard, 10);
    await usedAgo(b.shard, 30);
    await usedAgo(c.shard, 20);
    const { size } = await stat(a.shard.path);
    expect(await setCacheLimit(cache, 2 * size)).toMatchObject({ removed: 1, bytes: 2 * size });
    expect(await cacheLimit(cache)).toBe(2 * size);
    expect((await prepared('c')).made).toBe(false);
    expect((await prepared('a')).made).toBe(false);
    expect((await prepared('b')).made).toBe(true);
    // Opening counts as use: now c was used before a and b.
    await usedAgo(c.shard, 5);
    await enforceLimit(cache);
    expect((await listCache(cache)).map(({ path }) => path).sort()).toEqual(
      [a.shard.path, b.shard.path].sort(),
    );
    await setCacheLimit(cache, undefined);
    expect(await cacheLimit(cache)).toBeUndefined();
    expect(await enforceLimit(cache)).toBeUndefined();
  });

  it('never evicts what is held, and what is held can be read whatever happens', async () => {
    const hold = holdCache(cache);
    const { shard } = await prepared('a', hold);
    const expected = firstRows(shard);
    await prepared('b');
    expect((await listCache(cache)).map(({ inUse }) => inUse).sort()).toEqual([false, true]);
    expect(await setCacheLimit(cache, 0)).toMatchObject({ removed: 1 });
    const [left, ...others] = await listCache(cache);
    expect(others).toEqual([]);
    await rm(left.path);
    expect(firstRows(shard)).toEqual(expected);
    await hold.release();
    expect((await prepared('a')).made).toBe(true);
    expect(await clearCache(cache)).toMatchObject({ removed: 1, bytes: 0 });
  });

  it('holds each file once, and makes a damaged one anew under a hold', async () => {
    const hold = holdCache(cache);
    const { shard } = await prepared('a', hold);
    const again = await prepared('a', hold);
    expect(again).toMatchObject({ made: false, shard: { path: shard.path } });
    await hold.release();
    const [{ path }] = await listCache(cache);
    await writeFile(path, 'damaged');
    const other = holdCache(cache);
    const { shard: anew, made } = await prepared('a', other);
    expect(made).toBe(true);
    expect(firstRows(anew).length).toBe(100);
    await other.release();
    expect(await readdir(join(cache, 'in-use'))).toEqual([]);
  });
});

describe('what killed processes leave', () => {
  // No process has this number: it is above what systems give.
  const dead = 2 ** 30;

  it('is no hold any more', async () => {
    const { shard } = await prepared('a');
    const names = [`${hostname()}-${dead}-0a1b2c3d`, `${hostname()}-${process.pid}-0a1b2c3d`];
    for (const name of [...names, 'elsewhere-1-0a1b2c3d']) {
      await mkdir(join(cache, 'in-use', name), { recursive: true });
      await link(shard.path, join(cache, 'in-use', name, 'a'));
    }
    expect((await listCache(cache))[0].inUse).toBe(true);
    expect((await readdir(join(cache, 'in-use'))).sort()).toEqual(
      [names[1], 'elsewhere-1-0a1b2c3d'].sort(),
    );
  });

  it('is removed where it was being written, but not what may still be', async () => {
    const { shard } = await prepared('a');
    const old = `${shard.path}.${dead}-0a1b2c3d.tmp`;
    const fresh = `${shard.path}.${dead}-0a1b2c3e.tmp`;
    const alive = `${shard.path}.${process.pid}-0a1b2c3d.tmp`;
    for (const path of [old, fresh, alive]) await writeFile(path, 'half');
    await usedAgo({ path: old }, 3600);
    await usedAgo({ path: alive }, 3600);
    await clearCache(cache);
    await expect(stat(old)).rejects.toThrow();
    await stat(fresh);
    await stat(alive);
    expect(await listCache(cache)).toEqual([]);
  });
});

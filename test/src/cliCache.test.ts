import { spawn } from 'node:child_process';
import { readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';

import sharp from 'sharp';
import { beforeAll, describe, expect, it } from 'vitest';

import { writeTinySet, tinyWindowUs } from '../workers/tinySet.js';
import { Workplace } from './cliProcess.js';

const place = new Workplace({ processes: true });
const cli = resolve('dist/src/cli.js');
const recordings = 60;

const configuration = (windowUs: number): string => `
name: dots
seed: 5
dataset: { path: dots, validation: 0.25, test: 0.25 }
preprocess:
  window: { kind: time, windowUs: ${windowUs} }
  bins: 4
  height: 8
  width: 8
  augmentations: ['dropEvents:0.2']
model: { kind: linear }
training: { epochs: 2, batchSize: 8 }
`;

beforeAll(async () => {
  await writeTinySet(place.path('dots'), recordings / 2);
  await writeFile(place.path('long.yaml'), configuration(tinyWindowUs));
  await writeFile(place.path('short.yaml'), configuration(tinyWindowUs / 2));
});

const prepare = (config: string, cache: string) =>
  place.json('dataset', 'prepare', config, '--cache', place.path(cache));

/** The finished files of a cache by name, and what they hold. */
async function contents(cache: string): Promise<Map<string, Buffer>> {
  const found = new Map<string, Buffer>();
  for (const name of (await readdir(place.path(cache), { recursive: true })).sort()) {
    if (!/\.(shard|tensors)$/.test(name) || name.startsWith('in-use')) continue;
    found.set(name, await readFile(join(place.path(cache), name)));
  }
  return found;
}

/** Prepares, and kills the process without warning once so many files are there, and some are not yet. */
async function killedPrepare(config: string, cache: string, files: number): Promise<void> {
  await rm(place.path(cache), { recursive: true, force: true });
  const args = ['dataset', 'prepare', config, '--cache', place.path(cache)];
  const child = spawn(process.execPath, [cli, ...args], {
    cwd: place.folder,
    stdio: 'ignore',
  });
  const closed = new Promise((done) => child.on('close', done));
  while (child.exitCode === null && child.signalCode === null) {
    const names = await readdir(place.path(cache), { recursive: true }).catch(() => []);
    if (names.length >= files) child.kill('SIGKILL');
    await new Promise((done) => setTimeout(done, 2));
  }
  await closed;
  // It may be done before anybody has looked.
  const { size } = await contents(cache);
  if (size >= (await contents('alone')).size) await killedPrepare(config, cache, files);
}

describe('a cache that several processes use', () => {
  it('is the same whether one prepares it or three at once', async () => {
    const alone = await prepare('long.yaml', 'alone');
    expect(alone.made).toBe(recordings);
    const together = await Promise.all([1, 2, 3].map(() => prepare('long.yaml', 'together')));
    for (const prepared of together) {
      expect({ ...prepared, made: recordings }).toEqual(alone);
    }
    const expected = await contents('alone');
    expect(expected.size).toBeGreaterThan(recordings);
    expect(await contents('together')).toEqual(expected);
    expect(await readdir(join(place.path('together'), 'in-use'))).toEqual([]);
  });

  it('serves two settings at once, each with its own clips', async () => {
    const [long, short] = await Promise.all([
      prepare('long.yaml', 'both'),
      prepare('short.yaml', 'both'),
    ]);
    const clips = (prepared: Record<string, unknown>) => prepared.clips as { train: number };
    expect(clips(short).train).toBe(2 * clips(long).train);
    const expected = new Map([...(await contents('alone'))]);
    const both = await contents('both');
    expect(both.size).toBe(2 * expected.size);
    for (const [name, bytes] of expected) expect(both.get(name)).toEqual(bytes);
  });

  it('is whole after a process was killed in the middle, and the work goes on where it was', async () => {
    await killedPrepare('long.yaml', 'killed', 30);
    const half = await contents('killed');
    const expected = await contents('alone');
    expect(half.size).toBeGreaterThan(0);
    expect(half.size).toBeLessThan(expected.size);
    for (const [name, bytes] of half) expect(expected.get(name)).toEqual(bytes);
    const { made } = await prepare('long.yaml', 'killed');
    expect(made).toBeGreaterThan(0);
    expect(made).toBeLessThan(recordings);
    expect(await contents('killed')).toEqual(expected);
    // The hold that the killed process has left is nobody's.
    const listed = await place.json('cache', 'list', '--cache', place.path('killed'));
    expect(listed).toMatchObject({ windows: recordings, inUse: 0 });
  });

  it('loses nothing of a run that trains while all is evicted', async () => {
    const job = place.run(['train', 'long.yaml', '--epochs', '60', '--cache', place.path('busy')]);
    let cleared = 0;
    let done = false;
    void job.then(() => (done = true));
    while (!done) {
      await place.run(['cache', 'clear', '--cache', place.path('busy')]);
      cleared++;
    }
    const { exitCode, stderr } = await job;
    expect(exitCode, stderr).toBe(0);
    expect(cleared).toBeGreaterThan(0);
  });
});

describe('saccade cache', () => {
  it('lists, limits and clears', async () => {
    const at = ['--cache', place.path('listed')];
    expect(await place.json('cache', 'list', ...at)).toMatchObject({ bytes: 0, limit: null });
    await prepare('long.yaml', 'listed');
    const full = await place.json('cache', 'list', ...at);
    expect(full).toMatchObject({ windows: recordings, inUse: 0 });
    const files = full.files as { path: string; bytes: number }[];
    for (const { path, bytes } of files) expect((await stat(path)).size).toBe(bytes);
    expect(files.reduce((sum, { bytes }) => sum + bytes, 0)).toBe(full.bytes);

    const half = Math.ceil((full.bytes as number) / 2);
    const limited = await place.json('cache', 'limit', String(half), ...at);
    expect(limited.bytes).toBeLessThanOrEqual(half);
    expect(limited.removedBytes).toBeGreaterThan(0);
    expect(await place.print('cache', 'list', ...at)).toMatch(/limit +\d+(\.\d)? kB/);
    // Preparing needs more than the limit; what it holds is evicted when it is done.
    const { notes } = await prepare('long.yaml', 'listed');
    expect((notes as string[]).join('\n')).toMatch(/more than its limit/);
    const after = await place.json('cache', 'limit', '0.5GB', ...at);
    expect(after).toMatchObject({ removed: 0 });
    expect(await place.json('cache', 'clear', ...at)).toMatchObject({ bytes: 0 });
    expect(await place.print('cache', 'limit', 'none', ...at)).toMatch(/0 files removed/);
    await place.fails('usage', ['cache', 'limit', 'much'], [/size such as 500MB/]);
  });
});

describe('saccade cache sheet', () => {
  it('draws clips, augmented or not, and refuses what is no picture', async () => {
    const draw = (name: string, ...more: string[]) =>
      place.json('cache', 'sheet', 'long.yaml', name, '--clips', '3', ...more);
    expect(await draw('a.png')).toEqual({
      ...{ file: 'a.png', part: 'train', clips: 3, augmented: false },
    });
    await draw('b.png', '--augmented');
    await draw('c.png', '--part', 'test');
    const [a, b, c] = await Promise.all(
      ['a.png', 'b.png', 'c.png'].map((name) => sharp(place.path(name)).raw().toBuffer()),
    );
    const { width, height } = await sharp(place.path('a.png')).metadata();
    // Four bins in a row of pictures of 128 pixels or wider, three rows.
    expect(width).toBeGreaterThan(4 * 128);
    expect(height).toBeGreaterThan(3 * 128);
    expect(b.equals(a)).toBe(false);
    expect(c.equals(a)).toBe(false);
    await place.fails('usage', ['cache', 'sheet', 'long.yaml', 'a.jpg'], [/a\.jpg/, /\.png/]);
  });
});

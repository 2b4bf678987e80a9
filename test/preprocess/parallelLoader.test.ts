import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { createRandom } from '../../engine/support/random.js';
import { writeRecording } from '../../ingest/recording.js';
import { parseAugmentation } from '../../preprocess/augmentations/index.js';
import { cachedTensors, cachedWindows } from '../../preprocess/cache/index.js';
import {
  batchesInOrder,
  batchesPerEpoch,
  type Clip,
  type ClipBatch,
  type EpochOptions,
  shuffledBatches,
} from '../../preprocess/loader.js';
import {
  openLoader,
  type ParallelLoader,
  type ParallelOptions,
} from '../../preprocess/parallelLoader.js';
import {
  parseRepresentation,
  type Representation,
} from '../../preprocess/representations/index.js';
import { batchOf, collect, type EventRow, streamOf } from '../ingest/streams.js';
import { buildLoaderThread } from './buildThread.js';

const sensor = { width: 16, height: 16 };
const size = { bins: 3, height: 8, width: 8 };
const loaders: ParallelLoader[] = [];
let folder: string;
let entry: URL;
let clips: Clip[];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'saccade-'));
  entry = await buildLoaderThread('parallelLoader');
  clips = [];
  for (const [label, name] of ['a', 'b', 'c'].entries()) {
    const random = createRandom(1, name);
    const rows = Array.from({ length: 400 }, (_, i): EventRow => [
      i * 10,
      random.integer(16),
      random.integer(16),
      random.integer(2),
    ]);
    const path = join(folder, `${name}.es`);
    await writeRecording(path, streamOf([batchOf(sensor, rows)]), { sensor });
    const { shard } = await cachedWindows(
      join(folder, 'cache'),
      { path },
      { filters: [], window: { kind: 'count', count: 40, incomplete: 'keep' } },
    );
    for (let position = 0; position < shard.length; position++) {
      clips.push({ shard, position, label, recording: name });
    }
  }
});

afterAll(async () => {
  await Promise.all(loaders.map((loader) => loader.close()));
  await rm(folder, { recursive: true });
});

function epochOptions(changes: Partial<EpochOptions> = {}): EpochOptions {
  return {
    clips,
    representation: parseRepresentation('histogram'),
    size,
    batchSize: 4,
    seed: 3,
    augmentations: ['translate:2', 'eventMix:0.7', 'dropEvents:0.4'].map(parseAugmentation),
    ...changes,
  };
}

function open(
  workers: number,
  changes: Partial<ParallelOptions> = {},
  prefetch = 2,
): ParallelLoader {
  const loader = openLoader({ ...epochOptions(changes), prefetch, entry, ...changes, workers });
  loaders.push(loader);
  return loader;
}

/** A clip of a shard that cannot be read. */
function withLostClip(): Clip[] {
  const lost = { ...clips[7].shard, path: join(folder, 'lost.shard') };
  const read = (): never => {
    throw new Error('is read by path');
  };
  return clips.map((clip, i) => (i === 7 ? { ...clip, shard: { ...lost, read } } : clip));
}

describe('openLoader', () => {
  it.each([0, 1, 3])(
    'gives the same batches in the same order with %i threads',
    async (workers) => {
      const loader = open(workers);
      expect(loader.workers).toBe(workers);
      for (const epoch of [0, 4]) {
        const expected = [...shuffledBatches(epochOptions(), epoch)];
        expect(await collect(loader.epoch(epoch))).toEqual(expected);
        expect(await collect(loader.epoch(epoch, 5))).toEqual(expected.slice(5));
      }
    },
  );

  it.each([0, 1, 3])('uses memory again, if told so, with %i threads', async (workers) => {
    const loader = open(workers, { reuse: true, validation: clips.slice(3, 8) });
    const expected = [0, 4].flatMap((epoch) => [...shuffledBatches(epochOptions(), epoch)]);
    const kept: ClipBatch[] = [];
    const seen: ClipBatch[] = [];
    /** Looks at each batch when the next has come: until then it may be in use. */
    async function look(batches: AsyncIterable<ClipBatch>): Promise<void> {
      let before: ClipBatch | undefined;
      for await (const batch of batches) {
        kept.push(batch);
        if (before !== undefined) seen.push(structuredClone(before));
        before = batch;
      }
      if (before !== undefined) seen.push(structuredClone(before));
    }
    for (const epoch of [0, 4]) await look(loader.epoch(epoch));
    const trained = kept.length;
    await look(loader.validation());
    const plain = { ...epochOptions(), clips: clips.slice(3, 8) };
    expect(seen).toEqual([...expected, ...batchesInOrder(plain)]);
    // Memory that went back to a thread is gone from here.
    const gone = kept.filter(({ inputs }) => inputs.length === 0).length;
    // Of each epoch one is never given back.
    const least = workers === 0 ? 0 : trained - 2 * workers - 2;
    expect(gone).toBeGreaterThanOrEqual(least);
  });

  it.each([0, 2])('gives the clips of validation in order, with %i threads', async (workers) => {
    const representation = parseRepresentation('voxel');
    const loader = open(workers, { representation, validation: clips.slice(5) });
    const plain = { ...epochOptions({ representation }), clips: clips.slice(5) };
    expect(await collect(loader.validation())).toEqual([...batchesInOrder(plain)]);
    expect(await collect(open(workers).validation())).toEqual([]);
  });

  it('goes on after an epoch that was left early', async () => {
    const loader = open(2);
    for await (const batch of loader.epoch(0)) {
      expect(batch.shape[0]).toBeGreaterThan(0);
      break;
    }
    const expected = [...shuffledBatches(epochOptions(), 1)];
    expect(await collect(loader.epoch(1))).toEqual(expected);
  });

  it.each([1, 2])('names the clip that cannot be read, with %i threads', async (workers) => {
    const loader = open(workers, { clips: withLostClip(), augmentations: [] });
    await expect(collect(loader.epoch(0))).rejects.toMatchObject({
      kind: 'input',
      message: expect.stringMatching(/a, window 7: .*lost\.shard/) as string,
    });
  });

  it('gives the batches before the clip that cannot be read', async () => {
    const options = { clips: withLostClip(), augmentations: [], batchSize: 1 };
    const loader = open(2, options, 4);
    const batches: ClipBatch[] = [];
    const read = async (): Promise<void> => {
      for await (const batch of loader.epoch(0)) batches.push(batch);
    };
    await expect(read()).rejects.toThrow(/window 7/);
    const whole = [...shuffledBatches({ ...epochOptions(options), clips }, 0)];
    expect(batches.length).toBeGreaterThan(0);
    expect(batches).toEqual(whole.slice(0, batches.length));
  });

  it('fails at once when it is closed meanwhile, and then asks for nothing', async () => {
    const loader = open(1);
    const running = collect(loader.epoch(0));
    const failed = expect(running).rejects.toMatchObject({ kind: 'interrupted' });
    await loader.close();
    await failed;
    await expect(collect(loader.epoch(1))).rejects.toMatchObject({ kind: 'interrupted' });
    await loader.close();
  });

  it('says that a thread died', async () => {
    const path = join(folder, 'dies.mjs');
    await writeFile(
      path,
      'import { parentPort } from "node:worker_threads";\n' +
        'parentPort.on("message", () => process.exit(9));\n',
    );
    const loader = openLoader({
      ...epochOptions(),
      workers: 2,
      prefetch: 1,
      entry: pathToFileURL(path),
    });
    loaders.push(loader);
    await expect(collect(loader.epoch(0))).rejects.toMatchObject({
      kind: 'environment',
      message: expect.stringMatching(/exit code 9/) as string,
    });
  });

  it('makes batches itself where the thread’s code was not compiled', async () => {
    const loader = openLoader({ ...epochOptions(), workers: 2, prefetch: 1 });
    expect(loader.workers).toBe(0);
    expect(await collect(loader.epoch(0))).toEqual([...shuffledBatches(epochOptions(), 0)]);
  });
});

describe('shuffledBatches', () => {
  it('shares the labels of mixed clips, and only of those', () => {
    const classes = 5;
    let mixed = 0;
    for (const { targets, labels } of shuffledBatches(epochOptions({ classes }), 0)) {
      labels.forEach((label, i) => {
        const shares = targets!.subarray(i * classes, (i + 1) * classes);
        expect(shares.reduce((a, b) => a + b)).toBeCloseTo(1, 6);
        if (shares[label] < 1) mixed++;
      });
    }
    expect(mixed).toBeGreaterThan(3);
    const plain = epochOptions({ augmentations: [parseAugmentation('flipX')] });
    for (const { targets } of shuffledBatches(plain, 0)) expect(targets).toBeUndefined();
  });

  it('names the clip whose tensor is not finite', () => {
    const histogram = parseRepresentation('histogram');
    const broken: Representation = {
      ...histogram,
      start: (grid, out) => {
        out[2] = NaN;
        return histogram.start(grid, out);
      },
    };
    const options = epochOptions({ representation: broken, augmentations: [] });
    expect(() => [...batchesInOrder(options)]).toThrow(
      /a, window 0: value 2 of the tensor is NaN, expected a number/,
    );
  });
});

describe('cachedTensors', () => {
  it.each([
    ['spikes', 'bits'],
    ['histogram', 'bytes'],
    ['voxel', 'floats'],
  ])('keeps %s as %s, made once, and reads the same values', async (name, packing) => {
    const representation = parseRepresentation(name);
    const { shard } = await cachedWindows(
      join(folder, 'cache'),
      { path: join(folder, 'a.es') },
      { filters: [], window: { kind: 'count', count: 40, incomplete: 'keep' } },
    );
    // Three pixels of the sensor share one of the tensor, so counts exceed 1.
    const small = { bins: 2, height: 3, width: 3 };
    const first = await cachedTensors(join(folder, 'cache'), shard, representation, small);
    expect(first.made).toBe(true);
    expect(new Set(first.tensors.packings)).toEqual(new Set([packing]));
    const { tensors, made } = await cachedTensors(
      join(folder, 'cache'),
      shard,
      representation,
      small,
    );
    expect(made).toBe(false);
    const own = clips.slice(0, shard.length);
    const options = { representation, size: small, batchSize: 3 };
    const plain = [...batchesInOrder({ ...options, clips: own })];
    const kept = [
      ...batchesInOrder({ ...options, clips: own.map((clip) => ({ ...clip, tensors })) }),
    ];
    expect(kept).toEqual(plain);
    const other = await cachedTensors(join(folder, 'cache'), shard, representation, {
      ...small,
      bins: 3,
    });
    expect(other.made).toBe(true);
  });

  it('is read by threads, where nothing is augmented', async () => {
    const representation = parseRepresentation('spikes');
    const cache = join(folder, 'cache');
    const withTensors: Clip[] = [];
    for (const name of ['a', 'b', 'c']) {
      const { shard } = await cachedWindows(
        cache,
        { path: join(folder, `${name}.es`) },
        { filters: [], window: { kind: 'count', count: 40, incomplete: 'keep' } },
      );
      const { tensors } = await cachedTensors(cache, shard, representation, size);
      for (const clip of clips.filter(({ recording }) => recording === name)) {
        // Threads would fail if they read events.
        withTensors.push({ ...clip, tensors, shard: { ...clip.shard, path: 'nowhere' } });
      }
    }
    const changes = { representation, augmentations: [] };
    const loader = open(2, { ...changes, clips: withTensors });
    const batches = await collect(loader.epoch(2));
    expect(batches).toEqual([...shuffledBatches(epochOptions(changes), 2)]);
    expect(batches.length).toBe(batchesPerEpoch(epochOptions()));
  });
});

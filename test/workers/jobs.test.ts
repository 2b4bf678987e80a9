import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { writeRecording } from '../../ingest/recording.js';
import { batchesInOrder } from '../../preprocess/loader.js';
import { compareJob } from '../../workers/compare.js';
import { evaluateJob } from '../../workers/evaluate.js';
import { loaderOptions, prepareData } from '../../workers/prepare.js';
import { trainJob } from '../../workers/train.js';
import { batchOf, streamOf } from '../ingest/streams.js';
import { dotEvents, tinyExperiment, tinyWindowUs, writeTinySet } from './tinySet.js';

let folder: string;
let data: string;
let cacheFolder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'saccade-'));
  data = join(folder, 'data');
  cacheFolder = join(folder, 'cache');
  await writeTinySet(data);
});

afterAll(() => rm(folder, { recursive: true }));

describe('prepareData', () => {
  it('gives each part its own recordings, all windows of each, and makes them once', async () => {
    const phases: string[] = [];
    const first = await prepareData(tinyExperiment(data), cacheFolder, {
      onProgress: ({ phase, done, total }) => phases.push(`${phase} ${done}/${total}`),
    });
    expect(first.classes).toEqual(['left', 'right']);
    expect(first.made).toBe(16);
    expect(phases.at(-1)).toBe('prepare 16/16');
    const { train, validation, test } = first.clips;
    expect([train.length, validation.length, test.length]).toEqual([16, 8, 8]);
    const names = [train, validation, test].map(
      (clips) => new Set(clips.map(({ recording }) => recording)),
    );
    expect(names.reduce((sum, set) => sum + set.size, 0)).toBe(16);
    expect(new Set(names.flatMap((set) => [...set])).size).toBe(16);
    expect((await prepareData(tinyExperiment(data), cacheFolder)).made).toBe(0);
  });

  it('passes over what cannot be read, and says so', async () => {
    const other = join(folder, 'damaged');
    await writeTinySet(other, 5);
    await writeFile(join(other, 'left', '0.es'), 'this is no recording at all');
    const { notes, clips } = await prepareData(tinyExperiment(other), cacheFolder);
    expect(notes.join('\n')).toContain('left/0.es is passed over');
    const all = Object.values(clips).flat();
    expect(all.some(({ recording }) => recording === 'left/0.es')).toBe(false);
    expect(new Set(all.map(({ recording }) => recording)).size).toBe(9);
  });

  it('says that recordings are of different sensors, and scales them all', async () => {
    const other = join(folder, 'sensors');
    await writeTinySet(other);
    const sensor = { width: 40, height: 30 };
    const path = join(other, 'left', '0.es');
    await writeRecording(path, streamOf([batchOf(sensor, dotEvents(false, 1))]), { sensor });
    const experiment = tinyExperiment(other);
    const prepared = await prepareData(experiment, cacheFolder);
    expect(prepared.notes.join('\n')).toMatch(
      /different sensors.*: (16x16 \(15\), 40x30 \(1\)|40x30 \(1\), 16x16 \(15\))/,
    );
    const clips = Object.values(prepared.clips).flat();
    for (const { shape } of batchesInOrder(loaderOptions(experiment, clips))) {
      expect(shape.slice(1)).toEqual([4, 2, 8, 8]);
    }
    await prepared.release();
  });

  it('keeps tensors of the parts that nothing is augmented of, where it is told to', async () => {
    const kept = async (changes: Record<string, unknown>) => {
      const prepared = await prepareData(tinyExperiment(data, changes), cacheFolder);
      await prepared.release();
      const { train, validation, test } = prepared.clips;
      return [train, validation, test].map((clips) =>
        clips.every(({ tensors }) => tensors !== undefined),
      );
    };
    const { preprocess } = tinyExperiment(data);
    expect(await kept({})).toEqual([false, true, true]);
    expect(await kept({ preprocess: { ...preprocess, augmentations: [] } })).toEqual([
      true,
      true,
      true,
    ]);
    expect(await kept({ loader: { tensors: false } })).toEqual([false, false, false]);
  });

  it('refuses a set with a class that has nothing to train on', async () => {
    const other = join(folder, 'empty');
    await writeTinySet(other, 1);
    await writeFile(join(other, 'left', '0.es'), '');
    await expect(prepareData(tinyExperiment(other), cacheFolder)).rejects.toThrow(
      /no clips to train on for left/,
    );
  });
});

describe('trainJob and evaluateJob', () => {
  it('resumes an interrupted run to the same weights as an undisturbed one', async () => {
    const experiment = tinyExperiment(data);
    const whole = join(folder, 'whole');
    await trainJob({ experiment, folder: whole, cacheFolder });
    const broken = join(folder, 'broken');
    for (const stopAt of [1, 3]) {
      const controller = new AbortController();
      await expect(
        trainJob(
          { experiment, folder: broken, cacheFolder },
          {
            signal: controller.signal,
            onProgress: ({ phase, done }) => {
              if (phase === 'train' && done >= stopAt) controller.abort();
            },
          },
        ),
      ).rejects.toMatchObject({ kind: 'interrupted' });
    }
    await trainJob({ experiment, folder: broken, cacheFolder });
    for (const name of ['last.safetensors', 'best.safetensors']) {
      expect(await readFile(join(broken, name))).toEqual(await readFile(join(whole, name)));
    }
  });

  it('refuses the folder of another experiment, unless it starts over', async () => {
    const run = join(folder, 'other');
    await trainJob({ experiment: tinyExperiment(data), folder: run, cacheFolder });
    const experiment = tinyExperiment(data, { seed: 6 });
    await expect(trainJob({ experiment, folder: run, cacheFolder })).rejects.toMatchObject({
      kind: 'config',
      place: { file: run },
    });
    await trainJob({ experiment, folder: run, cacheFolder, fresh: true });
  });

  it('learns to tell two kinds of dots apart, and says how well on recordings it has not seen', async () => {
    const run = join(folder, 'learned');
    const experiment = tinyExperiment(data, {
      preprocess: {
        window: { kind: 'time', windowUs: tinyWindowUs },
        representation: 'histogram',
        bins: 4,
        height: 8,
        width: 8,
      },
      model: { kind: 'linear' },
      training: { epochs: 15, batchSize: 4, learningRate: 0.03 },
    });
    const outcome = await trainJob({ experiment, folder: run, cacheFolder });
    expect(outcome.clips).toEqual({ train: 16, validation: 8 });
    const evaluation = await evaluateJob({ path: run, cacheFolder, part: 'test' });
    expect(evaluation.selected.accuracy.total).toBe(8);
    expect(evaluation.selected.accuracy.value).toBeGreaterThanOrEqual(0.75);
    expect(evaluation.selected.recordingAccuracy.total).toBe(4);
    expect(evaluation.last?.accuracy.total).toBe(8);
    expect(evaluation.looks).toBe(1);
    expect((await sharp(evaluation.picture).metadata()).format).toBe('png');
    const stored: unknown = JSON.parse(await readFile(evaluation.file, 'utf8'));
    expect(stored).toMatchObject({ part: 'test', looks: 1, groupedBy: 'recording' });

    const again = await evaluateJob({ path: run, cacheFolder, part: 'test' });
    expect(again.looks).toBe(2);
    expect(again.notes.join()).toContain('look 2');
    expect(again.selected).toEqual(evaluation.selected);
    await stat(join(run, 'metrics.jsonl'));
  });

  it('names a checkpoint that is none', async () => {
    const job = { cacheFolder, part: 'test' } as const;
    await expect(evaluateJob({ ...job, path: join(folder, 'nothing') })).rejects.toMatchObject({
      kind: 'input',
    });
    const fake = join(folder, 'fake.safetensors');
    await writeFile(fake, 'not a checkpoint');
    await expect(evaluateJob({ ...job, path: fake })).rejects.toThrow(/fake\.safetensors/);
  });
});

describe('compareJob', () => {
  it('trains each model with each seed once, and looks at each test part once', async () => {
    const job = {
      experiment: tinyExperiment(data, { training: { epochs: 1, batchSize: 8 } }),
      models: ['linear'],
      seeds: [1, 2],
      folder: join(folder, 'compared'),
      cacheFolder,
    };
    const [linear] = await compareJob(job);
    expect(linear.seeds.map(({ seed, testClips }) => [seed, testClips])).toEqual([
      [1, 8],
      [2, 8],
    ]);
    const mean = (linear.seeds[0].selected + linear.seeds[1].selected) / 2;
    expect(linear.selected.mean).toBeCloseTo(mean, 10);
    expect(await compareJob(job)).toEqual([linear]);
    const stored = await readFile(join(job.folder, 'linear-2', 'evaluation-test.json'), 'utf8');
    expect(JSON.parse(stored)).toMatchObject({ looks: 1 });
    await expect(compareJob({ ...job, models: ['liner'] })).rejects.toThrow(
      /unknown model 'liner'/,
    );
  });
});

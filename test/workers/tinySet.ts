import { mkdir, mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { createRandom } from '../../engine/support/random.js';
import { writeRecording } from '../../ingest/recording.js';
import { parseExperiment, type Experiment } from '../../workers/experiment.js';
import { trainJob } from '../../workers/train.js';
import { batchOf, type EventRow, streamOf } from '../ingest/streams.js';

export const tinySensor = { width: 16, height: 16 };
export const tinyWindowUs = 40_000;

/** Events of a dot for two windows, with noise: a bright one that moves right, or a dark one that moves left. */
export function dotEvents(rightwards: boolean, seed: number): EventRow[] {
  const random = createRandom(seed, 'dot');
  const row = 2 + random.integer(11);
  const rows: EventRow[] = [];
  for (let i = 0; i < 800; i++) {
    const tUs = i * 100;
    const place = Math.floor((16 * (tUs % tinyWindowUs)) / tinyWindowUs);
    const noise = random.uniform() < 0.2;
    const x = noise ? random.integer(16) : rightwards ? place : 15 - place;
    const y = noise ? random.integer(16) : row + random.integer(2);
    rows.push([tUs, x, y, noise ? random.integer(2) : Number(rightwards)]);
  }
  return rows;
}

/** Writes `<folder>/<left|right>/<n>.es`. */
export async function writeTinySet(folder: string, perClass = 8): Promise<void> {
  for (const [label, name] of ['left', 'right'].entries()) {
    await mkdir(join(folder, name), { recursive: true });
    for (let i = 0; i < perClass; i++) {
      const rows = dotEvents(label === 1, 100 * label + i);
      const stream = streamOf([batchOf(tinySensor, rows)]);
      await writeRecording(join(folder, name, `${i}.es`), stream, { sensor: tinySensor });
    }
  }
}

/** An experiment on that set that trains in seconds. */
export function tinyExperiment(path: string, changes: Record<string, unknown> = {}): Experiment {
  return parseExperiment(
    {
      name: 'tiny',
      seed: 5,
      dataset: { path, validation: 0.25, test: 0.25 },
      preprocess: {
        window: { kind: 'time', windowUs: tinyWindowUs },
        bins: 4,
        height: 8,
        width: 8,
        augmentations: ['dropEvents:0.2'],
      },
      model: {
        kind: 'spikmamba',
        patch: 4,
        embedding: 16,
        stateChannels: 16,
        states: 4,
        feedForward: 16,
      },
      training: { epochs: 2, batchSize: 8, learningRate: 0.01 },
      ...changes,
    },
    'tiny.yaml',
  );
}

/** A folder to be removed after the test, and in it that set, a cache and a network that learned to tell the two dots apart. */
export async function trainTinyRun(): Promise<
  Readonly<Record<'folder' | 'data' | 'cacheFolder' | 'run', string>>
> {
  const folder = await mkdtemp(join(tmpdir(), 'saccade-'));
  const [data, cacheFolder, run] = ['data', 'cache', 'run'].map((name) => join(folder, name));
  await writeTinySet(data);
  const training = { epochs: 8, batchSize: 8, learningRate: 0.01 };
  await trainJob({ experiment: tinyExperiment(data, { training }), folder: run, cacheFolder });
  return { folder, data, cacheFolder, run };
}

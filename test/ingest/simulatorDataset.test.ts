import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openFolderDataset, splitDataset } from '../../ingest/datasets/index.js';
import { concatBatches, type EventBatch } from '../../ingest/eventBatch.js';
import { openRecording } from '../../ingest/recording.js';
import {
  simulateDataset,
  type SimulateDatasetOptions,
  simulateGesture,
} from '../../ingest/simulator/index.js';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'saccade-simulator-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

const options = (): SimulateDatasetOptions => ({
  folder,
  gestures: ['hand_clapping', 'right_hand_wave'],
  subjects: 3,
  repetitions: 2,
  seed: 4,
  sensor: { width: 32, height: 32 },
  durationUs: 100_000,
});

async function read(path: string): Promise<EventBatch> {
  const recording = await openRecording(path);
  const batches: EventBatch[] = [];
  for await (const batch of recording.batches()) batches.push(batch);
  return concatBatches(batches, recording.sensor);
}

async function contents(): Promise<Map<string, string>> {
  const files = await readdir(folder, { recursive: true, withFileTypes: true });
  const entries = files
    .filter((file) => file.isFile())
    .map(async (file): Promise<[string, string]> => {
      const path = join(file.parentPath, file.name);
      return [path, (await readFile(path)).toString('base64')];
    });
  return new Map((await Promise.all(entries)).sort());
}

describe('simulateDataset', () => {
  it('writes a data set that opens with classes and subjects', async () => {
    const progress: number[] = [];
    const result = await simulateDataset(options(), {
      onProgress: (done, total) => {
        expect(total).toBe(12);
        progress.push(done);
      },
    });
    expect(result).toEqual({ recordings: 12, written: 12 });
    expect(progress).toEqual(Array.from({ length: 13 }, (_, done) => done));

    const dataset = await openFolderDataset(folder);
    expect(dataset.synthetic).toBe(true);
    expect(dataset.name).toContain('synthetic');
    expect(dataset.classes).toEqual(['hand_clapping', 'right_hand_wave']);
    expect(dataset.recordings.map(({ id }) => id)).toContain('right_hand_wave/subject02_1.es');
    const split = splitDataset(dataset, { seed: 1 });
    expect(split.groupedBy).toBe('subject');
    expect([split.train.length, split.validation.length, split.test.length]).toEqual([4, 4, 4]);

    const stored = await read(join(folder, 'right_hand_wave/subject02_1.es'));
    const { sensor, durationUs, seed } = options();
    const gesture = { gesture: 'right_hand_wave', subjectSeed: 2, repetition: 1 };
    const simulated = concatBatches([...simulateGesture({ ...gesture, sensor, durationUs, seed })]);
    expect(stored).toEqual(simulated);
  });

  it('goes on where it was interrupted, to the same files', async () => {
    await simulateDataset(options());
    const uninterrupted = await contents();
    await rm(folder, { recursive: true });

    const abort = new AbortController();
    const onProgress = (done: number): void => {
      if (done === 5) abort.abort();
    };
    await expect(
      simulateDataset(options(), { signal: abort.signal, onProgress }),
    ).rejects.toMatchObject({ kind: 'interrupted' });
    await expect(openFolderDataset(folder)).rejects.toThrow(
      /7 of 12 listed recordings are missing/,
    );
    const kept = join(folder, 'hand_clapping/subject01_1.es');
    const before = await stat(kept);

    expect(await simulateDataset(options())).toEqual({ recordings: 12, written: 7 });
    expect((await stat(kept)).mtimeMs).toBe(before.mtimeMs);
    expect(await contents()).toEqual(uninterrupted);
  });

  it('does not mix recordings of different options', async () => {
    await simulateDataset({ ...options(), subjects: 1, repetitions: 1 });
    await expect(
      simulateDataset({ ...options(), subjects: 1, repetitions: 1, seed: 5 }),
    ).rejects.toThrow(
      /dataset\.json: the folder holds a set of other options \(seed is 4, not 5\)/,
    );
    await writeFile(join(folder, 'dataset.json'), '{');
    await expect(simulateDataset(options())).rejects.toThrow(/dataset\.json: not readable as JSON/);
  });

  it('writes the format it is told', async () => {
    await simulateDataset({ ...options(), subjects: 1, repetitions: 1, format: 'csv' });
    expect((await read(join(folder, 'hand_clapping/subject01_1.csv'))).length).toBeGreaterThan(10);
  });

  it.each([
    [{ subjects: 0 }, /subjects: expected a whole number/],
    [{ repetitions: 1.5 }, /repetitions: expected a whole number/],
    [{ gestures: ['juggling'] }, /unknown gesture "juggling"/],
    [{ gestures: ['arm_roll', 'arm_roll'] }, /each once/],
    [{ format: 'mp4' }, /unknown format "mp4"/],
    [{ durationUs: 5 }, /durationUs/],
  ])('names a wrong option before it writes: %o', async (change, message) => {
    await expect(simulateDataset({ ...options(), ...change })).rejects.toThrow(message);
    expect(await readdir(folder)).toEqual([]);
  });
});

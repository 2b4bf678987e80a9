import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { openDataset } from '../../ingest/datasets/index.js';
import { openRecording } from '../../ingest/recording.js';
import { disposeTree } from '../../models/parameters.js';
import { evaluateJob } from '../../workers/evaluate.js';
import { calibrateJob, readExit, testExit } from '../../workers/exit.js';
import { inferRecording, inferWindows } from '../../workers/infer.js';
import { splitOf } from '../../workers/prepare.js';
import { type LoadedModel, loadModel } from '../../workers/runs.js';
import { streamPredictions } from '../../workers/stream.js';
import { trainJob } from '../../workers/train.js';
import { collect } from '../ingest/streams.js';
import { tinyExperiment, writeTinySet } from './tinySet.js';

const bins = 4;
let folder: string;
let data: string;
let cacheFolder: string;
let run: string;
let loaded: LoadedModel;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'saccade-'));
  data = join(folder, 'data');
  cacheFolder = join(folder, 'cache');
  run = join(folder, 'run');
  await writeTinySet(data);
  const training = { epochs: 8, batchSize: 8, learningRate: 0.01 };
  await trainJob({ experiment: tinyExperiment(data, { training }), folder: run, cacheFolder });
  loaded = await loadModel(run);
});
afterAll(async () => {
  disposeTree(loaded.parameters);
  await rm(folder, { recursive: true });
});

describe('calibrateJob', () => {
  it('loses no accuracy on the validation part, and leaves the curve beside the checkpoint', async () => {
    const { file, notes, ...calibration } = await calibrateJob({ path: run, cacheFolder });
    expect(notes).toEqual([]);
    expect(file).toBe(join(run, 'exit.json'));
    expect(JSON.parse(await readFile(file, 'utf8'))).toEqual(calibration);
    expect(await readExit(loaded)).toEqual(calibration);
    const { whole, chosen, oracle, curve, clips } = calibration;
    expect(calibration).toMatchObject({ bins, temperature: bins, loss: 0 });
    expect(whole.meanBins).toBe(bins);
    expect(chosen.accuracy).toBeGreaterThanOrEqual(whole.accuracy);
    expect(chosen.meanBins).toBeLessThanOrEqual(bins);
    expect(oracle.accuracy).toBeGreaterThanOrEqual(chosen.accuracy);
    expect(curve.map(({ meanBins }) => meanBins)).toEqual(
      curve.map(({ meanBins }) => meanBins).sort((a, b) => a - b),
    );
    expect(curve.at(-1)).toMatchObject(whole);
    // Eight clips, all of the validation part.
    expect(new Set(clips).size).toBe(8);
    const { selected } = await evaluateJob({ path: run, cacheFolder, part: 'validation' });
    expect(whole.accuracy).toBe(selected.accuracy.value);
  });

  it('takes fewer bins where accuracy may be lost', async () => {
    const strict = await calibrateJob({ path: run, cacheFolder });
    const lax = await calibrateJob({ path: run, cacheFolder, loss: 1 });
    expect(lax.chosen.meanBins).toBe(1);
    expect(lax.chosen.meanBins).toBeLessThanOrEqual(strict.chosen.meanBins);
  });

  it('refuses a model that sees whole clips only', async () => {
    const { model } = tinyExperiment(data);
    const experiment = tinyExperiment(data, {
      model: { ...model, mode: 'bidirectional' },
      training: { epochs: 1 },
    });
    const whole = join(folder, 'whole');
    await trainJob({ experiment, folder: whole, cacheFolder });
    await expect(calibrateJob({ path: whole, cacheFolder })).rejects.toMatchObject({
      kind: 'usage',
      place: { file: join(whole, 'best.safetensors') },
    });
  });
});

describe('early exit', () => {
  it('decides alike in evaluation, inference and streaming, and stops the model there', async () => {
    await calibrateJob({ path: run, cacheFolder, loss: 0.3 });
    const exit = await readExit(loaded);
    const outcome = await evaluateJob({ path: run, cacheFolder, part: 'test', exit: true });
    const found = outcome.selected.exit!;
    expect(found).toMatchObject({ bins, threshold: exit.threshold, accuracy: { total: 8 } });
    expect(outcome.last?.exit).toBeUndefined();

    const { test } = splitOf(loaded.experiment, await openDataset(data));
    const tests = test.map(({ recording }) => recording.path);
    let [correct, spent, tested] = [0, 0, 0];
    for (const [label, name] of ['left', 'right'].entries()) {
      for (let i = 0; i < 8; i++) {
        const path = join(data, name, `${i}.es`);
        const open = () => openRecording(path);
        const whole = await collect(inferWindows(loaded, await open()));
        const windows = await collect(inferWindows(loaded, await open(), { exit }));
        const streamed = await collect(
          streamPredictions(loaded, (await open()).batches(), { exit }),
        );
        expect(windows.map(({ startUs }) => startUs)).toEqual(whole.map(({ startUs }) => startUs));
        windows.forEach(({ decidedBins, prediction, probabilities }, w) => {
          const own = streamed.slice(bins * w, bins * (w + 1));
          expect(own.map((bin) => bin.decidedBins)).toEqual(
            own.map((_, b) => (b + 1 < decidedBins! ? undefined : decidedBins)),
          );
          expect(own.at(-1)!.prediction).toBe(prediction);
          // The model stood still behind the decision.
          expect(own.at(-1)!.frames).toBe(decidedBins);
          expect(own.at(-1)!.probabilities[0]).toBeCloseTo(probabilities[0], 6);
          if (decidedBins === bins) expect(prediction).toBe(whole[w].prediction);
        });
        if (!tests.includes(path)) continue;
        tested += windows.length;
        for (const { decidedBins, prediction } of windows) {
          spent += decidedBins!;
          if (prediction === label) correct++;
        }
      }
    }
    expect(tested).toBe(8);
    expect(found.accuracy.correct).toBe(correct);
    expect(found.meanBins).toBeCloseTo(spent / tested, 10);
  });

  it('runs each clip to its end at threshold 1', async () => {
    const recording = await openRecording(join(data, 'left', '0.es'));
    const exit = { temperature: bins, threshold: 1 };
    const { windows } = await inferRecording(loaded, recording, { exit });
    expect(windows.map(({ decidedBins }) => decidedBins)).toEqual([bins, bins]);
  });

  it('refuses to test on clips that it was calibrated on', async () => {
    const calibration = await calibrateJob({ path: run, cacheFolder });
    const [clip] = calibration.clips;
    const trace = { clip, label: 0, logits: [[1, 0]] };
    expect(() => testExit(calibration, [trace], 2)).toThrow(/calibrates early exit/);
    await expect(
      evaluateJob({ path: run, cacheFolder, part: 'validation', exit: true }),
    ).rejects.toMatchObject({ kind: 'usage', place: { field: '--part' } });
  });

  it('refuses a policy that is missing, damaged or of other weights', async () => {
    const file = join(run, 'exit.json');
    const text = await readFile(file, 'utf8');
    const refused = async (content: string, message: RegExp): Promise<void> => {
      await writeFile(file, content);
      await expect(readExit(loaded)).rejects.toThrow(message);
    };
    await refused('{', /exit\.json.*JSON/);
    await refused(text.replace(/"threshold": [\d.]+/, '"threshold": 3'), /exit\.json.*threshold/);
    const last = await loadModel(join(run, 'last.safetensors'));
    await writeFile(file, text);
    await expect(readExit(last)).rejects.toThrow(/other weights.*calibrate/);
    disposeTree(last.parameters);
    await rm(file);
    await expect(readExit(loaded)).rejects.toThrow(/exit\.json.*calibrate/);
  });
});

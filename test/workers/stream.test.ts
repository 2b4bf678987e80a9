import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { selectBackend } from '../../engine/backend.js';
import type { EventBatch } from '../../ingest/eventBatch.js';
import { openRecording, writeRecording } from '../../ingest/recording.js';
import { inference, totalWork } from '../../models/context.js';
import { createModel } from '../../models/networks/index.js';
import { Initialiser } from '../../models/parameters.js';
import type { DeltaConfig } from '../../models/runtime/deltaModel.js';
import { parseRepresentation, representWindow } from '../../preprocess/representations/index.js';
import type { StreamReport } from '../../workers/binning.js';
import { inferWindows, meanProbabilities } from '../../workers/infer.js';
import { inputShape, type LoadedModel } from '../../workers/runs.js';
import { streamPredictions } from '../../workers/stream.js';
import { batchOf, collect, type EventRow, streamOf } from '../ingest/streams.js';
import { dotEvents, tinyExperiment, tinySensor, tinyWindowUs } from './tinySet.js';

/** A model with first weights: what it says means nothing, but it must say it consistently. */
function freshModel(changes: Record<string, unknown> = {}): LoadedModel {
  const experiment = tinyExperiment('nowhere', changes);
  const classes = ['left', 'right'];
  const model = createModel(experiment.model, inputShape(experiment), classes.length);
  const parameters = model.initialise(new Initialiser(1));
  return { experiment, classes, synthetic: true, path: 'fresh', model, parameters };
}

const rows = dotEvents(true, 1);
const bins = 4;

function batches(all: readonly EventRow[], length: number): AsyncGenerator<EventBatch> {
  const parts: EventBatch[] = [];
  for (let i = 0; i < all.length; i += length) {
    parts.push(batchOf(tinySensor, all.slice(i, i + length)));
  }
  return streamOf(parts);
}

let folder: string;

beforeAll(async () => {
  await selectBackend();
  folder = await mkdtemp(join(tmpdir(), 'saccade-'));
});

afterAll(() => rm(folder, { recursive: true }));

describe('streamPredictions', () => {
  it('says after each bin what the whole clip says there', async () => {
    const loaded = freshModel();
    const inside = rows.filter(([t]) => t < tinyWindowUs);
    const predictions = await collect(streamPredictions(loaded, batches(inside, 7)));
    expect(predictions.map(({ bin }) => bin)).toEqual([0, 1, 2, 3]);
    expect(predictions.reduce((sum, { events }) => sum + events, 0)).toBe(inside.length);

    const window = {
      index: 0,
      startUs: 0,
      endUs: tinyWindowUs,
      events: batchOf(tinySensor, inside),
    };
    const size = { bins, height: 8, width: 8 };
    const values = representWindow(window, parseRepresentation('spikes'), size);
    const expected = tf.tidy(() => {
      const input = tf.tensor(values, [1, bins, 2, 8, 8]);
      const { logits } = loaded.model.apply(loaded.parameters, input, undefined, inference);
      return tf.softmax(logits).arraySync() as number[][][];
    })[0];
    predictions.forEach(({ probabilities }, bin) =>
      probabilities.forEach((p, c) => expect(Math.abs(p - expected[bin][c])).toBeLessThan(1e-4)),
    );
  });

  it('by deltas says the same at threshold 0, and counts what it saved', async () => {
    const quiet = rows.filter(([, x]) => x < 4);
    const loaded = freshModel({
      model: { ...freshModel().experiment.model, temporalPosition: false },
    });
    const before = tf.memory().numTensors;
    const whole = await collect(streamPredictions(loaded, batches(quiet, 50)));
    const spent = async (delta: DeltaConfig): Promise<[macs: number, dense: number]> => {
      const found = await collect(streamPredictions(loaded, batches(quiet, 50), { delta }));
      if (delta.threshold === 0) {
        found.forEach(({ probabilities }, i) =>
          expect(probabilities[0]).toBeCloseTo(whole[i].probabilities[0], 5),
        );
      }
      const { macs, denseMacs } = totalWork(found.map(({ work }) => work!));
      return [macs, denseMacs];
    };
    const [exact, dense] = await spent({ threshold: 0 });
    const [byValue] = await spent({ threshold: 0, unit: 'value' });
    const [rough] = await spent({ threshold: 1 });
    expect(exact).toBeLessThan(dense);
    expect(byValue).toBeLessThan(exact);
    expect(rough).toBeLessThan(exact);
    expect(whole.every(({ work }) => work === undefined)).toBe(true);
    expect(tf.memory().numTensors).toBe(before);
  });

  it('does not depend on how the events arrive, and leaves no tensors behind', async () => {
    const loaded = freshModel();
    const whole = await collect(streamPredictions(loaded, batches(rows, 10_000)));
    const before = tf.memory().numTensors;
    for (const length of [1, 13, 200]) {
      expect(await collect(streamPredictions(loaded, batches(rows, length)))).toEqual(whole);
    }
    // Also where the reader stops in the middle.
    for await (const { bin } of streamPredictions(loaded, batches(rows, 50))) if (bin === 2) break;
    expect(tf.memory().numTensors).toBe(before);
  });

  it('runs empty bins too, and starts anew after a jump of the clock', async () => {
    const loaded = freshModel();
    const report: StreamReport = { lateEvents: 0, jumps: 0 };
    const binUs = tinyWindowUs / bins;
    const gaps: EventRow[] = [0, 5 * binUs + 1, 2 * binUs, 4e15, 4e15 + binUs].map((t) => [
      t,
      3,
      3,
      1,
    ]);
    const predictions = await collect(streamPredictions(loaded, batches(gaps, 2), { report }));
    expect(predictions.map(({ frames }) => frames)).toEqual([1, 2, 3, 4, 5, 6, 1, 2]);
    expect(predictions.map(({ events }) => events)).toEqual([1, 0, 0, 0, 0, 1, 1, 1]);
    expect(report).toEqual({ lateEvents: 1, jumps: 1 });
  });

  it('forgets after as many bins as it is told', async () => {
    const loaded = freshModel();
    const all = await collect(streamPredictions(loaded, batches(rows, 99), { restartBins: 3 }));
    expect(all.map(({ frames }) => frames)).toEqual([1, 2, 3, 1, 2, 3, 1, 2]);
  });

  it.each([
    [
      'whole clips only',
      { model: { kind: 'spikmamba', mode: 'bidirectional', patch: 4, embedding: 16 } },
    ],
    ['count events', { preprocess: { window: { kind: 'count', count: 9 }, height: 8, width: 8 } }],
    [
      'mixes neighbouring bins',
      {
        preprocess: {
          window: { kind: 'time', windowUs: 9 },
          representation: 'voxel',
          height: 8,
          width: 8,
        },
      },
    ],
  ])('refuses what cannot be streamed: %s', async (reason, changes) => {
    const loaded = freshModel(changes);
    await expect(collect(streamPredictions(loaded, batches(rows, 9)))).rejects.toThrow(reason);
  });
});

describe('inferWindows', () => {
  it('recognises window by window, as the stream does at the end of each', async () => {
    const loaded = freshModel();
    const path = join(folder, 'a.es');
    await writeRecording(path, batches(rows, 100), { sensor: tinySensor });
    const recording = await openRecording(path);
    const windows = await collect(inferWindows(loaded, recording));
    expect(windows.map(({ startUs, endUs }) => [startUs, endUs])).toEqual([
      [0, tinyWindowUs],
      [tinyWindowUs, 2 * tinyWindowUs],
    ]);
    const streamed = await collect(
      streamPredictions(loaded, recording.batches(), { restartBins: bins }),
    );
    windows.forEach(({ probabilities }, i) =>
      probabilities.forEach((p, c) =>
        expect(Math.abs(p - streamed[(i + 1) * bins - 1].probabilities[c])).toBeLessThan(1e-4),
      ),
    );
    const mean = meanProbabilities(windows)!;
    expect(mean[0] + mean[1]).toBeCloseTo(1, 5);
    expect(meanProbabilities([])).toBeUndefined();
  });
});

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { describe, expect, it } from 'vitest';

import { openRecording, type Recording } from '../../ingest/recording.js';
import {
  fitHots,
  type HotsDictionary,
  hotsWith,
  type KernelLayer,
  learnedSpikeTensor,
  parseRepresentation,
  type Representation,
  representRecording,
} from '../../preprocess/representations/index.js';

interface Digest {
  readonly shape: readonly number[];
  readonly sum: number;
  readonly sumOfSquares: number;
  readonly samples: readonly (readonly [index: number, value: number])[];
}

/** What fitted representations are given, and the recording that the dictionary was learned from. */
interface Given {
  readonly fittedTo: string;
  readonly hotsFitted: HotsDictionary;
  readonly estLearned: readonly KernelLayer[];
}

// Made by representations.py, which knows the papers' equations and nothing of this project.
const { given, ...golden } = JSON.parse(
  readFileSync(join(import.meta.dirname, '../golden/representations.json'), 'utf8'),
) as { given: Given } & Record<string, Record<string, Digest>>;

const folder = process.env.SACCADE_TEST_DATA ?? '';
const recordings = Object.keys(golden).filter((name) => existsSync(join(folder, name)));
const available = folder !== '' && recordings.length > 0;
if (!available)
  console.warn('golden values are not compared: no SACCADE_TEST_DATA with such recordings');

/** Equal to one part in 100,000, which float32 sums keep. */
function expectNear(actual: number, expected: number): void {
  expect(Math.abs(actual - expected)).toBeLessThanOrEqual(1e-5 * Math.max(1, Math.abs(expected)));
}

function representationOf(call: string): Representation {
  if (call === 'hotsFitted') return hotsWith(given.hotsFitted);
  if (call === 'estLearned') return learnedSpikeTensor(given.estLearned);
  return parseRepresentation(call);
}

/** The recordings of N-MNIST do not state their sensor. */
function open(name: string): Promise<Recording> {
  const side = name.startsWith('nmnist') ? 34 : 128;
  return openRecording(join(folder, name), { sensor: { width: side, height: side } });
}

describe.runIf(available)('values of the independent NumPy implementation', () => {
  it.each(
    recordings.flatMap((name) => Object.keys(golden[name]).map((call) => [name, call] as const)),
  )('%s as %s', async (name, call) => {
    const { shape, sum, sumOfSquares, samples } = golden[name][call];
    const recording = await open(name);
    const [height, width] = shape.slice(-2);
    const tensor = await representRecording(recording, {
      representation: representationOf(call),
      store: 'f32',
      bins: 4,
      height,
      width,
    });
    expect(tensor.shape).toEqual(shape);
    const values = Array.from(tensor.data);
    for (const [index, value] of samples) expectNear(values[index], value);
    expectNear(
      values.reduce((a, b) => a + b, 0),
      sum,
    );
    expectNear(
      values.reduce((a, b) => a + b * b, 0),
      sumOfSquares,
    );
  });

  it.runIf(recordings.includes(given.fittedTo))('the prototypes that fitHots learns', async () => {
    const recording = await open(given.fittedTo);
    const { radius, tauUs, prototypes } = given.hotsFitted;
    const options = { radius, tauUs, prototypes: prototypes.length };
    const fitted = await fitHots([recording.batches()], options);
    expect(fitted).toMatchObject({ radius, tauUs });
    for (const [i, prototype] of fitted.prototypes.entries()) {
      for (const [j, value] of prototype.entries()) expectNear(value, prototypes[i][j]);
    }
  });
});

import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';

import { selectBackend } from '../../engine/backend.js';
import { createRandom } from '../../engine/support/random.js';
import { createModel, modelSchema } from '../../models/networks/index.js';
import { flatten, Initialiser } from '../../models/parameters.js';
import { smoothTargets } from '../../models/training/loss.js';
import { disposeTraining, startTraining, trainingStep } from '../../models/training/step.js';
import { askAll, Members } from '../engine/transport/members.js';

interface Found {
  readonly loss: number;
  readonly gradientNorm: number;
  /** First moments of AdamW: after one step, a tenth of the clipped gradient. */
  readonly moments: Readonly<Record<string, number[]>>;
  /** Weights and running statistics. */
  readonly leaves: Readonly<Record<string, number[]>>;
}

const input = { bins: 3, channels: 2, height: 8, width: 8 };
const classes = 3;
const config = { kind: 'spikmamba', patch: 4, embedding: 8, heads: 2, feedForward: 8, stateChannels: 8, states: 2 }; // prettier-ignore
const settings = {
  learningRate: 0.01,
  weightDecay: 0.01,
  gradientClip: 1,
  perStepLoss: 0.5,
  statisticsMomentum: 0.9,
};
const pixels = input.bins * input.channels * input.height * input.width;
const random = createRandom(4, 'clips');
const clips = Array.from({ length: 5 }, () =>
  Array.from({ length: pixels }, () => (random.uniform() < 0.2 ? 1 : 0)),
);
const targets = Array.from({ length: 5 }, (_, i) => [
  ...smoothTargets([i % classes], classes, 0.1),
]);

/** The step of one process on all clips. */
function wholeStep(): Found {
  const model = createModel(modelSchema.parse(config), input, classes);
  const start = startTraining(flatten(model.initialise(new Initialiser(2)) as never));
  const x = tf.tensor(clips.flat(), [5, 3, 2, 8, 8]);
  const y = tf.tensor2d(targets);
  const { state, loss, gradientNorm } = trainingStep(model, start, x, y, settings);
  const valuesOf = (map: ReadonlyMap<string, tf.Tensor>): Record<string, number[]> =>
    Object.fromEntries([...map].map(([path, tensor]) => [path, [...tensor.dataSync()]]));
  const found = { moments: valuesOf(state.optimiser.m), leaves: valuesOf(state.leaves) };
  disposeTraining(state);
  tf.dispose([x, y]);
  return { loss, gradientNorm, ...found };
}

/** Steps of processes that have so many of the clips each. */
async function partSteps(
  processes: Members,
  counts: readonly number[],
  synchroniseStatistics: boolean,
): Promise<Found[]> {
  const members = await processes.start(counts.length);
  const from = counts.map((_, rank) => counts.slice(0, rank).reduce((a, b) => a + b, 0));
  return (await askAll(members, (rank) => {
    const part = <T>(all: T[]): T[] => all.slice(from[rank], from[rank] + counts[rank]);
    const weight = (counts[rank] * counts.length) / clips.length;
    return {
      call: 'step',
      value: {
        config,
        input,
        classes,
        x: part(clips),
        targets: part(targets).map((row) => row.map((share) => share * weight)),
        settings: { ...settings, synchroniseStatistics },
      },
    };
  })) as Found[];
}

/** ‖a - b‖ / ‖b‖ over the tensors whose names match. */
function difference(a: Found['leaves'], b: Found['leaves'], name = /./): number {
  expect(Object.keys(a)).toEqual(Object.keys(b));
  let [square, norm] = [0, 0];
  for (const [path, values] of Object.entries(b)) {
    if (!name.test(path)) continue;
    values.forEach((value, i) => {
      square += (a[path][i] - value) ** 2;
      norm += value ** 2;
    });
  }
  return Math.sqrt(square / norm);
}

// The clips, the weights and the arithmetic are the same at every run, so no spike is near its threshold by chance.
describe(
  'a step of a spiking network with the statistics of the whole batch',
  { timeout: 120_000 },
  () => {
    const processes = new Members();
    let whole: Found;
    beforeAll(async () => {
      await selectBackend('cpu');
      whole = wholeStep();
      expect(tf.memory().numTensors).toBe(0);
    });

    it.each([[[3, 2]], [[1, 4]], [[2, 1, 2]]])(
      'is that of one process: parts of %j clips',
      async (counts) => {
        const found = await partSteps(processes, counts, true);
        for (const { loss, gradientNorm, moments, leaves } of found) {
          expect(Math.abs(loss / whole.loss - 1)).toBeLessThan(1e-5);
          expect(Math.abs(gradientNorm / whole.gradientNorm - 1)).toBeLessThan(1e-4);
          expect(difference(moments, whole.moments)).toBeLessThan(1e-4);
          expect(difference(leaves, whole.leaves, /running(Mean|Variance)$/)).toBeLessThan(1e-5);
          // All have the same bits.
          expect(leaves).toEqual(found[0].leaves);
        }
      },
    );

    it('is another one with the statistics of each part', async () => {
      const [{ moments }] = await partSteps(processes, [3, 2], false);
      expect(difference(moments, whole.moments)).toBeGreaterThan(1e-2);
    });
  },
);

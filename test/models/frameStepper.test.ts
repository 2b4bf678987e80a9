import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { selectBackend } from '../../engine/backend.js';
import { createRandom } from '../../engine/support/random.js';
import { inference } from '../../models/context.js';
import { createModel } from '../../models/networks/index.js';
import { modelSchema } from '../../models/networks/schema.js';
import { disposeTree, Initialiser } from '../../models/parameters.js';
import { createFrameStepper } from '../../models/runtime/frameStepper.js';
import { withRecording } from './recordingBackend.js';

const size = 16;
const bins = 4;
const frames = 11;

function setUp(settings: object) {
  const input = { bins, channels: 2, height: size, width: size };
  const model = createModel(modelSchema.parse(settings), input as never, 4);
  return { model, parameters: model.initialise(new Initialiser(3)) };
}

function drawFrames(): Float32Array[] {
  const random = createRandom(5, 'frames');
  return Array.from({ length: frames }, () =>
    Float32Array.from({ length: 2 * size * size }, () => (random.uniform() < 0.3 ? 1 : 0)),
  );
}

const nano = { kind: 'spikmamba', preset: 'nano' };

/** Models, and why their steps cannot be recorded. */
const models = [
  { settings: nano },
  { settings: { ...nano, classToken: true, kernelFrames: 3, scanOrder: 'tube' } },
  { settings: { ...nano, window: { frames: 0 } } },
  { settings: { kind: 'spikingConvNet' } },
  { settings: { ...nano, window: { frames: 3 } }, reason: /depends on the number of frames/ },
];

describe('frame stepper', () => {
  beforeAll(async () => {
    await selectBackend('native');
  });
  afterAll(() => {
    expect(tf.memory().numTensors).toBe(0);
  });

  it.each(models)('gives what whole clips give, recorded or not: %j', ({ settings, reason }) => {
    const { model, parameters } = setUp(settings);
    const clip = drawFrames();
    const whole = tf.tidy(() => {
      const x = tf.tensor(Float32Array.from(clip.flatMap((frame) => [...frame])), [
        ...[1, frames, 2, size, size],
      ]);
      const { logits } = model.apply(parameters, x, undefined, inference);
      return tf.softmax(tf.reshape(logits, [frames, 4])).arraySync() as number[][];
    });
    const run = (): { first: Float32Array[]; second: Float32Array[]; why?: string } => {
      const stepper = createFrameStepper(model, parameters);
      const first = clip.map((frame) => stepper.step(frame).slice());
      expect(stepper.frame).toBe(frames);
      stepper.restart();
      const second = clip.slice(0, 5).map((frame) => stepper.step(frame).slice());
      stepper.dispose();
      return { first, second, why: stepper.notRecorded };
    };
    const plain = run();
    plain.first.forEach((probabilities, t) =>
      probabilities.forEach((p, k) => expect(p).toBeCloseTo(whole[t][k], 5)),
    );
    expect(plain.second).toEqual(plain.first.slice(0, 5));
    expect(plain.why).toBeUndefined();
    withRecording((recordings) => {
      const recorded = run();
      expect(recorded.first).toEqual(plain.first);
      expect(recorded.second).toEqual(plain.second);
      if (reason === undefined) {
        expect(recorded.why).toBeUndefined();
        expect(recordings).toEqual({ graphs: 1, replays: frames - 2 + 5, live: 0 });
      } else {
        expect(recorded.why).toMatch(reason);
        expect(recordings.replays).toBe(0);
      }
    });
    disposeTree(parameters);
  });

  it('goes on with the same state where recording fails', () => {
    const { model, parameters } = setUp(nano);
    const clip = drawFrames();
    const run = (): Float32Array[] => {
      const stepper = createFrameStepper(model, parameters);
      const found = clip.map((frame) => stepper.step(frame).slice());
      stepper.dispose();
      return found;
    };
    const plain = run();
    withRecording(
      () => expect(run()).toEqual(plain),
      () => {
        throw new Error('no room');
      },
    );
    disposeTree(parameters);
  });
});

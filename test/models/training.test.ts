import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import * as tf from '@tensorflow/tfjs-core';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';

import { selectBackend } from '../../engine/backend.js';
import { readCheckpoint, writeCheckpoint } from '../../models/checkpoints/checkpoint.js';
import { mixerSchema } from '../../models/mixers/registry.js';
import { spikMambaPresets } from '../../models/networks/presets.js';
import { createSpikMamba } from '../../models/networks/spikMamba.js';
import { disposeTree, flatten, Initialiser, unflatten } from '../../models/parameters.js';
import { trainingSchema, type TrainingConfig } from '../../models/training/config.js';
import type { StepProgress } from '../../models/training/loop.js';
import { train, type TrainingOptions } from '../../models/training/train.js';
import { bestBackend } from '../engine/backends.js';
import { movingDotsData, movingDotsInput } from './movingDots.js';
import { startRecording } from './recordingBackend.js';

const tiny = {
  ...spikMambaPresets.nano,
  patch: 4,
  embedding: 16,
  depth: 1,
  heads: 2,
  stateChannels: 16,
  states: 4,
  feedForward: 32,
};
const model = createSpikMamba(tiny, movingDotsInput, 2);

const config = (overrides: Partial<TrainingConfig> = {}): TrainingConfig =>
  trainingSchema.parse({ epochs: 3, batchSize: 8, learningRate: 5e-3, ...overrides });

let folder: string;
beforeAll(async () => {
  await selectBackend(bestBackend);
});
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'saccade-training-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

async function run(
  name: string,
  overrides: Partial<TrainingOptions> = {},
): Promise<{ losses: number[]; path: string }> {
  const losses: number[] = [];
  const { onStep, ...rest } = overrides;
  const result = await train({
    model,
    data: movingDotsData(6),
    config: config(),
    seed: 1,
    folder: join(folder, name),
    experiment: { name },
    ...rest,
    onStep: (progress) => {
      losses.push(progress.loss);
      onStep?.(progress);
    },
  });
  return { losses, path: result.lastPath };
}

async function weights(path: string): Promise<Record<string, number[]>> {
  const { parameters, optimiser } = await readCheckpoint(path);
  const values = Object.fromEntries(
    [...flatten(parameters)].map(([name, tensor]) => [name, Array.from(tensor.dataSync())]),
  );
  disposeTree(parameters);
  tf.dispose([...(optimiser?.m.values() ?? []), ...(optimiser?.v.values() ?? [])]);
  return values;
}

/** Runs until `steps` steps are done, then interrupts. */
async function interrupted(name: string, steps: number, rest: Partial<TrainingOptions> = {}) {
  const controller = new AbortController();
  await expect(
    run(name, {
      ...rest,
      signal: controller.signal,
      onStep: ({ step }: StepProgress) => {
        if (step === steps) controller.abort();
      },
    }),
  ).rejects.toMatchObject({ kind: 'interrupted' });
}

describe('training', () => {
  it('learns the direction of a moving dot', async () => {
    const accuracies: number[] = [];
    await run('learns', {
      data: movingDotsData(40, 16),
      config: config({ epochs: 6, learningRate: 1e-2, labelSmoothing: 0 }),
      onEpoch: ({ validationAccuracy }) => accuracies.push(validationAccuracy),
    });
    expect(Math.max(...accuracies)).toBeGreaterThan(0.9);
  });

  it('gives the same loss curve for the same seed, another for another', async () => {
    const first = await run('a', { config: config({ mixup: 0.5, perStepLoss: 0.3 }) });
    const second = await run('b', { config: config({ mixup: 0.5, perStepLoss: 0.3 }) });
    const third = await run('c', { config: config({ mixup: 0.5, perStepLoss: 0.3 }), seed: 2 });
    expect(second.losses).toEqual(first.losses);
    expect(third.losses).not.toEqual(first.losses);
    expect(await weights(second.path)).toEqual(await weights(first.path));
  });

  it.skipIf(bestBackend !== 'native')(
    'gives the same where steps are recorded and batches sent ahead, interrupted or not',
    async () => {
      const settings = { config: config({ mixup: 0.5 }) };
      const plain = await run('plain', settings);
      const wanted = await weights(plain.path);
      const { numTensors } = tf.memory();
      const { recordings, stop } = startRecording();
      try {
        const recorded = await run('recorded', settings);
        expect(recorded.losses).toEqual(plain.losses);
        expect(await weights(recorded.path)).toEqual(wanted);
        await interrupted('again', 4, settings);
        expect(await weights((await run('again', settings)).path)).toEqual(wanted);
      } finally {
        stop();
      }
      expect(recordings.replays).toBeGreaterThan(0);
      expect(recordings.live).toBe(0);
      expect(tf.memory().numTensors).toBe(numTensors);
    },
  );

  it('narrows delays step by step, the same when interrupted, and moves them faster than weights', async () => {
    const delayed = createSpikMamba(
      { ...tiny, stem: 'delayed', delays: { maxDelay: 3, motions: 1, size: 1 } },
      movingDotsInput,
      2,
    );
    const seen: number[] = [];
    const noting: typeof delayed = {
      ...delayed,
      apply: (parameters, input, state, context) => {
        if (context.training) seen.push((context.progress as tf.Tensor).dataSync()[0]);
        return delayed.apply(parameters, input, state, context);
      },
    };
    const whole = await run('whole', { model: noting });
    const steps = whole.losses.length;
    expect(seen).toEqual(whole.losses.map((_, step) => Math.fround(step / steps)));
    await interrupted('cut', 7, { model: delayed });
    const resumed = await run('cut', { model: delayed });
    expect(resumed.losses).toEqual(whole.losses.slice(7));

    // Adam's steps are about as long as the learning rate, whatever the gradient.
    const path = 'embedding.synapses.delay';
    const first = flatten(delayed.initialise(new Initialiser(1)));
    const start = Array.from(first.get(path)!.dataSync());
    for (const tensor of first.values()) tensor.dispose();
    const moved = async (delayRate: number): Promise<number> => {
      const slow = config({ delayRate, epochs: 1, learningRate: 1e-3 });
      const result = await run(`rate ${delayRate}`, { model: delayed, config: slow });
      const end = (await weights(result.path))[path];
      return Math.max(...end.map((delay, i) => Math.abs(delay - start[i])));
    };
    expect((await moved(50)) / (await moved(1))).toBeGreaterThan(20);
  });

  it.each([1, 6, 9, 17])(
    'ends with the same weights when interrupted after step %d',
    async (step) => {
      const whole = await run('whole', { config: config({ mixup: 0.4 }) });
      await interrupted('cut', step, { config: config({ mixup: 0.4 }) });
      const resumed = await run('cut', { config: config({ mixup: 0.4 }) });
      expect(resumed.losses).toEqual(whole.losses.slice(step));
      expect(await weights(resumed.path)).toEqual(await weights(whole.path));
    },
  );

  it.each([
    ['every fourth step', { checkpointSteps: 4 }, 8],
    ['after a time that each step lasts', { checkpointSeconds: 1e-6 }, 10],
    ['after no step of this short run', {}, 6],
  ])('loses only the steps since the last checkpoint in a crash: %s', async (_, changes, at) => {
    const whole = await run('whole');
    const overrides = { config: config(changes) };
    const name = `crashed${at}`;
    await expect(
      run(name, {
        ...overrides,
        onStep: ({ step }: StepProgress) => {
          if (step === 11) throw new Error('power cut');
        },
      }),
    ).rejects.toThrow('power cut');
    const resumed = await run(name, overrides);
    expect(resumed.losses).toEqual(whole.losses.slice(at));
    expect(await weights(resumed.path)).toEqual(await weights(whole.path));
  });

  it('lets be what the loss does not depend on, such as queries of one key', async () => {
    const mixer = mixerSchema.parse({ name: 'rat' });
    const single = createSpikMamba({ ...tiny, mixer, mixerOver: 'time' }, movingDotsInput, 2);
    const { path } = await run('single', { model: single, config: config({ epochs: 1 }) });
    const { parameters } = await readCheckpoint(path);
    const [before, after] = [single.initialise(new Initialiser(1)), parameters].map(flatten);
    const moved = [...after].filter(([leaf, now]) => {
      const first = before.get(leaf)!.dataSync();
      return now.dataSync().some((value, i) => value !== first[i]);
    });
    // Those that nothing reaches only decay.
    expect(moved.length).toBeGreaterThan(0.8 * after.size);
    disposeTree(parameters);
  });

  it('notes each epoch once, also one that comes again after a crash', async () => {
    await run('noted');
    const path = join(folder, 'noted', 'metrics.jsonl');
    const whole = await readFile(path, 'utf8');
    const cut = join(folder, 'notedTwice');
    await interrupted('notedTwice', 7);
    // As if the process had been killed between the second epoch's line, half of it, and its checkpoint.
    await writeFile(join(cut, 'metrics.jsonl'), whole.slice(0, whole.indexOf('\n') + 30));
    await run('notedTwice');
    expect(await readFile(join(cut, 'metrics.jsonl'), 'utf8')).toBe(whole);
  });

  it('does nothing more where the run is finished', async () => {
    const done = await run('done');
    const again = await run('done');
    expect(again.losses).toEqual([]);
    expect(await weights(again.path)).toEqual(await weights(done.path));
  });

  it('stops with a diagnosis where the loss is not finite', async () => {
    const data = movingDotsData(6);
    const poisoned = {
      ...data,
      async *train(epoch: number, start: number) {
        let index = start;
        for await (const batch of data.train(epoch, start)) {
          if (epoch === 1 && index++ === 2) batch.inputs[0] = NaN;
          yield batch;
        }
      },
    };
    await expect(run('nan', { data: poisoned })).rejects.toMatchObject({
      kind: 'diverged',
      message: expect.stringMatching(/step 9 \(epoch 2\).*learningRate/s) as string,
    });
    const before = await weights(join(folder, 'nan', 'diverged.safetensors'));
    expect(Object.values(before).flat().every(Number.isFinite)).toBe(true);
  });

  it('stops with a diagnosis where the loss runs away', async () => {
    await expect(
      run('away', { config: config({ learningRate: 10, warmupEpochs: 0, gradientClip: 0 }) }),
    ).rejects.toMatchObject({
      kind: 'diverged',
      message: expect.stringMatching(
        /mean loss .* where guessing has 0\.69.*learningRate/s,
      ) as string,
    });
  });

  it('writes metrics, TensorBoard events, the selected and the last epoch', async () => {
    await run('files');
    const lines = (await readFile(join(folder, 'files', 'metrics.jsonl'), 'utf8'))
      .trim()
      .split('\n');
    const metrics = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(metrics.map(({ epoch }) => epoch)).toEqual([1, 2, 3]);
    expect(Object.keys(metrics[0].firingRates as object)).toContain(
      'blocks.0.attention.queryNeurons',
    );
    expect(existsSync(join(folder, 'files', 'best.safetensors'))).toBe(true);
    const { metadata, optimiser, parameters } = await readCheckpoint(
      join(folder, 'files', 'best.safetensors'),
    );
    expect(metadata.experiment).toEqual({ name: 'files' });
    expect(optimiser).toBeUndefined();
    disposeTree(parameters);
  });

  it('names dead layers', async () => {
    const warnings: string[] = [];
    const silent = createSpikMamba(
      {
        ...spikMambaPresets.nano,
        patch: 4,
        embedding: 16,
        stateChannels: 16,
        feedForward: 16,
        neuron: { ...spikMambaPresets.nano.neuron, threshold: 1e6 },
      },
      movingDotsInput,
      2,
    );
    await run('dead', {
      model: silent,
      config: config({ epochs: 1 }),
      onWarning: (warning) => warnings.push(warning),
    });
    expect(warnings.join('\n')).toMatch(/embedding\.neurons is dead/);
  });

  it('leaks no tensors', async () => {
    const before = tf.memory().numTensors;
    await run('leak-1', { config: config({ epochs: 1 }) });
    const after = tf.memory().numTensors;
    await run('leak-2', { config: config({ epochs: 2 }) });
    expect(tf.memory().numTensors).toBe(after);
    expect(after).toBe(before);
  });
});

describe('checkpoint files', () => {
  it('round-trip parameters and metadata', async () => {
    const path = join(folder, 'x.safetensors');
    const parameters = { a: { b: tf.tensor([[1, 2, 3]]) }, c: tf.scalar(4) };
    await writeCheckpoint(path, { parameters, metadata: { note: { n: [1, 'two'] } } });
    const read = await readCheckpoint(path);
    expect(read.metadata).toEqual({ note: { n: [1, 'two'] } });
    expect([...flatten(read.parameters)].map(([name, t]) => [name, t.shape])).toEqual([
      ['a.b', [1, 3]],
      ['c', []],
    ]);
    expect(flatten(unflatten(flatten(read.parameters)))).toEqual(flatten(read.parameters));
    disposeTree(parameters);
    disposeTree(read.parameters);
  });

  it('name the file where it is missing or no checkpoint', async () => {
    await expect(readCheckpoint(join(folder, 'none'))).rejects.toMatchObject({ kind: 'input' });
    const path = join(folder, 'text.safetensors');
    await writeFile(path, 'this is no checkpoint, whatever its name says');
    await expect(readCheckpoint(path)).rejects.toMatchObject({
      kind: 'input',
      message: expect.stringContaining('text.safetensors') as string,
    });
  });
});

import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { readCheckpoint } from '../../models/checkpoints/checkpoint.js';
import { flatten } from '../../models/parameters.js';
import { pretrainJob } from '../../workers/pretrain.js';
import { kindByName } from '../../workers/queue/kinds/index.js';
import { loadModel } from '../../workers/runs.js';
import { trainJob } from '../../workers/train.js';
import { tinyExperiment, writeTinySet } from './tinySet.js';

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

const experiment = (changes: Record<string, unknown> = {}) =>
  tinyExperiment(data, {
    pretraining: { epochs: 2, batchSize: 4, learningRate: 0.01 },
    ...changes,
  });

async function weights(path: string): Promise<Map<string, string>> {
  const { parameters, optimiser } = await readCheckpoint(path);
  const leaves = flatten(parameters);
  const values = new Map([...leaves].map(([name, x]) => [name, x.dataSync().join()]));
  tf.dispose([...leaves.values(), ...(optimiser?.m.values() ?? []), ...(optimiser?.v.values() ?? [])]); // prettier-ignore
  return values;
}

describe('pretrainJob', () => {
  it('resumes an interrupted run to the same weights', async () => {
    const whole = join(folder, 'whole');
    const outcome = await pretrainJob({ experiment: experiment(), folder: whole, cacheFolder });
    expect(outcome).toMatchObject({ steps: 8, clips: { train: 16, validation: 8 } });
    const broken = join(folder, 'broken');
    const controller = new AbortController();
    await expect(
      pretrainJob(
        { experiment: experiment(), folder: broken, cacheFolder },
        {
          signal: controller.signal,
          onProgress: ({ phase, done }) => {
            if (phase === 'pretrain' && done >= 3) controller.abort();
          },
        },
      ),
    ).rejects.toMatchObject({ kind: 'interrupted' });
    // How training goes is no matter of pretraining: the run is the same.
    const training = { epochs: 7, batchSize: 2 };
    await pretrainJob({ experiment: experiment({ training }), folder: broken, cacheFolder });
    expect(await weights(join(broken, 'best.safetensors'))).toEqual(
      await weights(join(whole, 'best.safetensors')),
    );
  });

  it('gives weights that training starts from, and says which', async () => {
    const pretrained = join(folder, 'pretrained');
    await pretrainJob({ experiment: experiment(), folder: pretrained, cacheFolder });
    const training = { epochs: 1, batchSize: 8, learningRate: 1e-12, weightDecay: 0 };
    const tuned = experiment({ training: { ...training, initialise: pretrained } });
    const run = join(folder, 'tuned');
    const messages: string[] = [];
    const onMessage = (message: string) => messages.push(message);
    const { initialised } = await trainJob({ experiment: tuned, folder: run, cacheFolder }, { onMessage }); // prettier-ignore
    expect(initialised).toMatchObject({
      from: join(pretrained, 'best.safetensors'),
      fresh: ['head.bias', 'head.weight'],
      unused: ['reconstruction.bias', 'reconstruction.weight'],
    });
    const [before, after] = await Promise.all(
      [pretrained, run].map((path) => weights(join(path, 'best.safetensors'))),
    );
    expect(initialised!.taken).toHaveLength(after.size - 2);
    for (const path of initialised!.taken) {
      if (!path.includes('running')) expect(after.get(path)!.slice(0, 5), path).toBe(before.get(path)!.slice(0, 5)); // prettier-ignore
    }
    expect(messages.join('\n')).toMatch(/fresh: head\.bias, head\.weight/);
    // The run that it started from is part of what the run is.
    await expect(
      trainJob({ experiment: experiment({ training }), folder: run, cacheFolder }),
    ).rejects.toMatchObject({ kind: 'config' });
    // A resumed run has its own weights: the other one may be gone.
    await rm(pretrained, { recursive: true });
    const again = await trainJob({ experiment: tuned, folder: run, cacheFolder });
    expect(again.initialised).toBeUndefined();
  });

  it('starts from a run of other sizes with what fits, and refuses one of which nothing does', async () => {
    const model = { kind: 'spikformer', patch: 4, embedding: 16, heads: 2, feedForward: 16 };
    const source = join(folder, 'source');
    await trainJob({ experiment: experiment({ model }), folder: source, cacheFolder });
    const wider = { ...model, feedForward: 24 };
    const training = { epochs: 1, batchSize: 8, initialise: source };
    const { initialised } = await trainJob({
      experiment: experiment({ model: wider, training }),
      folder: join(folder, 'wider'),
      cacheFolder,
    });
    expect(initialised!.taken).toContain('head.weight');
    expect(initialised!.fresh.join()).toMatch(/feedForward\S* \(there \[16, 16\]\)/);
    const headless = { ...training, initialise: join(folder, 'whole') };
    const linear = experiment({ model: { kind: 'linear' }, training: headless });
    await expect(
      trainJob({ experiment: linear, folder: join(folder, 'linear'), cacheFolder }),
    ).rejects.toMatchObject({ kind: 'config', place: { field: 'training.initialise' } });
  });

  it('gives a layer of motions its kernel, from textures alone', async () => {
    const delays = { maxDelay: 2, motions: 4, size: 5 };
    const model = { kind: 'spikformer', patch: 4, embedding: 8, feedForward: 8, stem: 'motion', delays }; // prettier-ignore
    const pretraining = { task: 'motions', epochs: 1, batchSize: 8, texturesPerEpoch: 16, learningRate: 0.05 }; // prettier-ignore
    const training = { epochs: 1, batchSize: 8, learningRate: 1e-12, weightDecay: 0 };
    const motions = join(folder, 'motions');
    // No recordings are asked for.
    const job = experiment({ model, pretraining, dataset: { path: join(folder, 'nowhere') } });
    const outcome = await pretrainJob({ experiment: job, folder: motions, cacheFolder });
    expect(outcome).toMatchObject({ steps: 2, parameters: 4 * (1 + 2 * 25 * 3), notes: [] });
    expect(outcome.accuracy).toBeGreaterThan(0.25);
    const tuned = experiment({ model, training: { ...training, initialise: motions } });
    const run = join(folder, 'moving');
    const { initialised } = await trainJob({ experiment: tuned, folder: run, cacheFolder });
    expect(initialised).toMatchObject({ taken: ['embedding.kernel'], unused: ['motion.bias'] });
    const [before, after] = await Promise.all(
      [motions, run].map((path) => weights(join(path, 'best.safetensors'))),
    );
    expect(after.get('embedding.kernel')!.slice(0, 5)).toBe(before.get('embedding.kernel')!.slice(0, 5)); // prettier-ignore
    await expect(loadModel(motions)).rejects.toThrow(/pretrained.*--init/);
    const process = { rank: 1, world: 2, host: '127.0.0.1', port: 1 };
    await expect(
      pretrainJob({ experiment: job, folder: motions, cacheFolder, process }),
    ).rejects.toMatchObject({ kind: 'usage', place: { field: '--processes' } });
    const patches = experiment({ pretraining });
    await expect(
      pretrainJob({ experiment: patches, folder: join(folder, 'still'), cacheFolder }),
    ).rejects.toMatchObject({ kind: 'config', place: { field: 'model.stem' } });
  });

  it('refuses what cannot be pretrained, started from or classified with', async () => {
    const run = join(folder, 'refused');
    const linear = experiment({ model: { kind: 'linear' } });
    await expect(
      pretrainJob({ experiment: linear, folder: run, cacheFolder }),
    ).rejects.toMatchObject({ kind: 'config', place: { field: 'model.kind' } });
    const gone = experiment({ training: { initialise: join(folder, 'gone') } });
    await expect(trainJob({ experiment: gone, folder: run, cacheFolder })).rejects.toMatchObject({
      kind: 'input',
      place: { file: join(folder, 'gone') },
    });
    const pretrained = join(folder, 'whole');
    await expect(loadModel(pretrained)).rejects.toThrow(/pretrained.*--init/);
    await expect(
      trainJob({ experiment: experiment(), folder: pretrained, cacheFolder }),
    ).rejects.toMatchObject({ kind: 'config', place: { file: pretrained } });
  });

  it('is a kind of job for queues', async () => {
    const kind = kindByName('pretrain');
    const run = join(folder, 'queued');
    const job = kind.schema.parse({ experiment: experiment(), folder: run, cacheFolder });
    expect(kind.resource!(job)).toBe(run);
    const result = await kind.run(job, { jobId: '1', children: [] });
    expect(result).toMatchObject({ folder: run, steps: 8 });
    expect(await weights(join(run, 'best.safetensors'))).toEqual(
      await weights(join(folder, 'whole', 'best.safetensors')),
    );
    expect(await readFile(join(run, 'experiment.json'), 'utf8')).toContain('"pretraining"');
  });
});

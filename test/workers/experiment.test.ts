import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

import { describe, expect, it } from 'vitest';

import { readBenchModels } from '../../workers/benchModels.js';
import { readBenchRecall } from '../../workers/benchRecall.js';
import { parseExperiment, readExperiment } from '../../workers/experiment.js';
import { inputShape } from '../../workers/runs.js';

const minimal = {
  dataset: { path: 'recordings' },
  preprocess: { window: { kind: 'time', windowUs: 1000 } },
  model: { kind: 'spikmamba' },
  training: {},
};

describe('parseExperiment', () => {
  it('fills in what is left out', () => {
    const experiment = parseExperiment(minimal, 'a.yaml');
    expect(experiment.preprocess).toMatchObject({ representation: 'spikes', filters: [] });
    expect(experiment.training.epochs).toBeGreaterThan(0);
  });

  it.each([
    ['dataset.path', { ...minimal, dataset: {} }],
    [
      'preprocess.window.windowUs',
      { ...minimal, preprocess: { window: { kind: 'time', windowUs: -1 } } },
    ],
    ['preprocess.window.kind', { ...minimal, preprocess: { window: { kind: 'frames' } } }],
    ['preprocess.filters.0', withPreprocess({ filters: ['refractry:1'] })],
    ['preprocess.augmentations.1', withPreprocess({ augmentations: ['flipX', 'crop:7'] })],
    ['preprocess.representation', withPreprocess({ representation: 'frames' })],
    ['model.kind', { ...minimal, model: { kind: 'transformer' } }],
    ['model.neuron.tau', { ...minimal, model: { kind: 'spikmamba', neuron: { tau: 0.5 } } }],
    ['training.epochs', { ...minimal, training: { epochs: 0 } }],
    ['training.learnignRate', { ...minimal, training: { learnignRate: 1 } }],
  ])('names %s', (field, value) => {
    const error = caught(() => parseExperiment(value, 'a.yaml'));
    expect(error).toMatchObject({ kind: 'config', place: { file: 'a.yaml', field } });
  });
});

function withPreprocess(changes: object): object {
  return { ...minimal, preprocess: { ...minimal.preprocess, ...changes } };
}

function caught(action: () => unknown): unknown {
  try {
    action();
  } catch (error) {
    return error;
  }
  throw new Error('expected an error');
}

describe('readExperiment', () => {
  it('takes the data path from the file’s folder, and says what is wrong with the file', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'saccade-'));
    try {
      const path = join(folder, 'a.yaml');
      await writeFile(path, JSON.stringify(minimal));
      expect((await readExperiment(path)).dataset.path).toBe(join(folder, 'recordings'));
      await writeFile(path, 'a: [1,');
      await expect(readExperiment(path)).rejects.toThrow(/a\.yaml: not valid YAML/);
      await expect(readExperiment(join(folder, 'b.yaml'))).rejects.toMatchObject({ kind: 'input' });
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it('reads every configuration that comes with Saccade', async () => {
    const folder = resolve(import.meta.dirname, '../../configs');
    const names = (await readdir(folder)).filter((name) => name.endsWith('.yaml'));
    expect(names.length).toBeGreaterThan(0);
    for (const name of names) {
      const read = name.startsWith('bench-recall')
        ? readBenchRecall
        : name.startsWith('bench-')
          ? readBenchModels
          : readExperiment;
      await read(join(folder, name));
    }
  });
});

describe('configs', () => {
  it('paper.yaml reads the adaptive frames, and its model takes their channels', async () => {
    const experiment = await readExperiment(resolve('configs/paper.yaml'));
    expect(experiment.preprocess.representation).toMatch(/^afe:/);
    expect(inputShape(experiment)).toEqual({ bins: 16, channels: 3, height: 128, width: 128 });
  });
});

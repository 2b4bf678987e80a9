import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import {
  benchModelsJob,
  parseBenchModels,
  type BenchModelsConfig,
} from '../../workers/benchModels.js';
import type { BenchModelsResult } from '../../workers/benchModelsResult.js';
import { benchAccuracyPlot, benchReport } from '../../workers/benchModelsReport.js';
import { tinyExperiment, writeTinySet } from './tinySet.js';

let folder: string;
let config: BenchModelsConfig;
let result: BenchModelsResult;

const recall = {
  steps: 3,
  batch: 4,
  width: 8,
  symbols: { keys: 4, values: 4, pairs: 2, length: 8 },
  motions: { side: 8, cell: 4, symbolUs: 4000, bins: 2, values: 4, pairs: 2, length: 8 },
};

function tinyBench(
  bench: Record<string, unknown>,
  changes: Record<string, unknown> = {},
): BenchModelsConfig {
  const experiment = tinyExperiment(join(folder, 'dots'), {
    training: { epochs: 1, batchSize: 8, learningRate: 0.01 },
    ...changes,
  });
  return parseBenchModels({ ...experiment, bench: { seeds: [1], recall, ...bench } }, 'tiny.yaml');
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'saccade-bench-'));
  await writeTinySet(join(folder, 'dots'));
  config = tinyBench({
    seeds: [1, 2],
    mixers: [
      'gatedDeltaNet',
      { name: 'softmaxAttention', label: 'short', over: 'time', context: 2 },
      { name: 'nalaFormer', over: 'frame' },
    ],
    neurons: ['metaLif'],
    stems: ['patch', 'convolutional'],
    baselines: ['linear'],
    clips: 2,
  });
});
afterAll(() => rm(folder, { recursive: true }));

const job = (): Parameters<typeof benchModelsJob>[0] => ({
  config,
  folder: join(folder, 'bench'),
  cacheFolder: join(folder, 'cache'),
});

describe('benchModelsJob', () => {
  it('stops when told to, while mixers learn to recall, and goes on later', async () => {
    const controller = new AbortController();
    const stopped = benchModelsJob(job(), {
      signal: controller.signal,
      onProgress: ({ phase, done }) => {
        if (phase === 'recall' && done === 2) controller.abort();
      },
    });
    await expect(stopped).rejects.toMatchObject({ kind: 'interrupted' });
    const phases = new Set<string>();
    const before = tf.memory().numTensors;
    result = await benchModelsJob(job(), { onProgress: ({ phase }) => phases.add(phase) });
    expect(tf.memory().numTensors).toBe(before);
    expect([...phases].sort()).toEqual(expect.arrayContaining(['measure', 'recall']));
    const stored = await readFile(
      join(folder, 'bench', 'linear-1', 'evaluation-test.json'),
      'utf8',
    );
    expect(JSON.parse(stored)).toMatchObject({ looks: 1 });
  });

  it('measures every mixer with every neuron and stem, and the baselines', () => {
    const names = result.models.map(({ model }) => model);
    expect(names).toEqual([
      'gatedDeltaNet.metaLif.patch',
      'gatedDeltaNet.metaLif.convolutional',
      'short.metaLif.patch',
      'short.metaLif.convolutional',
      'nalaFormer.metaLif.patch',
      'nalaFormer.metaLif.convolutional',
      'linear',
    ]);
    for (const { selected, overClips, seeds, measured } of result.models) {
      expect(seeds.map(({ seed }) => seed)).toEqual([1, 2]);
      expect(selected.mean).toBeGreaterThanOrEqual(overClips[0]);
      expect(selected.mean).toBeLessThanOrEqual(overClips[1]);
      const { clips, operations, energy, stateBytes, latencyMs } = measured;
      expect(clips).toBe(2);
      expect(operations.additions).toBeLessThanOrEqual(operations.synapses);
      expect(energy.computePj).toBeCloseTo(4.6 * operations.macs + 0.9 * operations.additions, 3);
      expect(energy.memoryPj).toBeGreaterThan(0);
      expect(stateBytes).toBeGreaterThan(0);
      expect(operations.spikeBytes).toBeLessThan(operations.trafficBytes);
      for (const { otherBits, otherPj, computeRate } of measured.crossovers) {
        const other = (operations.macs + operations.synapses) * (otherBits === 8 ? 0.23 : 4.6);
        expect(otherPj).toBeGreaterThan(other);
        expect(computeRate).not.toBeNull();
      }
      expect(latencyMs).toBeGreaterThan(0);
    }
    const [delta, , short] = result.models;
    expect(delta.recall).toMatchObject({ mixer: 'gatedDeltaNet', blocking: 0 });
    for (const task of ['symbols', 'motions'] as const) {
      const { accuracy, seeds } = delta.recall![task]!;
      // As many as the networks have.
      expect(seeds.map(({ seed }) => seed)).toEqual([1, 2]);
      expect(accuracy.mean).toBeGreaterThanOrEqual(0);
    }
    expect(delta.measured.crossovers.map(({ bits, otherBits }) => [bits, otherBits])).toEqual([
      [32, 32],
      [8, 8],
      [32, 8],
    ]);
    expect(short.recall!.blocking).toBeNull();
    // All neurons fire at a rate, and spikes of neurons in core ops count as such.
    expect(delta.firingRate).toBeGreaterThan(0);
    expect(delta.firingRate).toBeLessThan(1);
    expect(delta.measured.operations.synapses).toBeGreaterThan(0);
    const linear = result.models[6];
    expect(linear).toMatchObject({ mixer: null, firingRate: null, recall: null, parameters: 258 });
    // 4 bins of 8 × 8 pixels of 2 polarities, 2 classes, and nothing that spikes.
    expect(linear.measured.crossovers).toEqual([]);
    expect(linear.measured.operations).toMatchObject({ macs: 4 * 128 * 2, synapses: 0 });
  });

  it('writes what it found, and does nothing twice', async () => {
    const read = (name: string): Promise<string> => readFile(join(folder, 'bench', name), 'utf8');
    expect(JSON.parse(await read('bench.json'))).toEqual(JSON.parse(JSON.stringify(result)));
    expect(await read('table.md')).toBe(`${benchReport(result)}\n`);
    // A line for each model, and one more for each that spikes.
    expect(benchReport(result).match(/^\| `/gm)!.length).toBe(7 + 6);
    expect(benchReport({ ...result, models: result.models.slice(6) })).not.toContain('##');
    expect(await read('state.svg')).toMatch(/^<svg .*nalaFormer\.metaLif\.patch.*<\/svg>\n$/);
    const phases = new Set<string>();
    const again = await benchModelsJob(job(), { onProgress: ({ phase }) => phases.add(phase) });
    expect(phases.has('recall')).toBe(false);
    const lasting = ({ models }: BenchModelsResult): unknown =>
      models.map((model) => ({ ...model, measured: { ...model.measured, latencyMs: 0 } }));
    expect(lasting(again)).toEqual(lasting(result));
  });

  it('draws no number that is not finite', () => {
    const [model] = result.models;
    const still = { ...model, measured: { ...model.measured, stateBytes: 0 } };
    for (const models of [[], [still], [model], [model, model]]) {
      for (const against of ['energy', 'state'] as const) {
        const svg = benchAccuracyPlot({ models, synthetic: true }, against);
        expect(svg).not.toMatch(/NaN|Infinity/);
        expect(svg).toContain('SYNTHETIC');
      }
    }
  });
});

describe('parseBenchModels', () => {
  it.each([
    [{ mixers: [] }, /tiny\.yaml.*bench\.mixers/],
    [{ mixers: ['nosuch'] }, /bench\.mixers\.0/],
    [{ mixers: ['rat', { name: 'rat', windw: 1 }] }, /bench\.mixers\.1/],
    [{ mixers: ['rat', 'rat'] }, /bench\.mixers\.1\.label.*twice/],
    [{ mixers: ['nalaFormer'] }, /nalaFormer.*looks ahead/],
    [{ mixers: ['rat'], neurons: ['lff'] }, /bench\.neurons\.0/],
    [{ mixers: ['rat'], stems: ['hole'] }, /bench\.stems\.0/],
    [{ mixers: ['rat'], baselines: ['mega'] }, /bench\.baselines\.0/],
    [{ mixers: ['rat'], seeds: [] }, /bench\.seeds/],
    [{ mixers: ['rat'], speed: 1 }, /bench\.speed/],
  ])('refuses %j', (bench, message) => {
    expect(() => tinyBench(bench)).toThrow(message);
  });

  it('refuses a model without slots', () => {
    const linear = { model: { kind: 'linear' } };
    expect(() => tinyBench({ mixers: ['rat'] }, linear)).toThrow(/model\.kind.*spikmamba/);
  });
});

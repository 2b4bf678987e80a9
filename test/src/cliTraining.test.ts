import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { beforeAll, describe, expect, it } from 'vitest';

import { tinyWindowUs, writeTinySet } from '../workers/tinySet.js';
import { Workplace } from './cliProcess.js';

const place = new Workplace();

const epochs = 20;

/** A configuration as people write them. The run is long enough to be interrupted in its middle. */
const configuration = (mode: string): string => `
name: dots
seed: 5
dataset:
  path: dots # from the folder of this file
  validation: 0.25
  test: 0.25
preprocess:
  window: { kind: time, windowUs: ${tinyWindowUs} }
  filters: ['refractory:100']
  bins: 4
  height: 8
  width: 8
model:
  kind: spikmamba
  mode: ${mode}
  patch: 4
  embedding: 16
  stateChannels: 16
  states: 4
  feedForward: 16
training: { epochs: ${epochs}, batchSize: 8, learningRate: 0.01 }
`;

beforeAll(async () => {
  await writeTinySet(place.path('dots'));
  await writeFile(place.path('dots.yaml'), configuration('causal'));
  await writeFile(place.path('clips.yaml'), configuration('bidirectional'));
  await writeFile(place.path('typo.yaml'), configuration('causal').replace('epochs', 'epohcs'));
  await writeFile(place.path('broken.yaml'), 'name: [');
  await writeFile(place.path('notes.txt'), 'These are no events.\n');
});

const files = (run: string, name: string): Promise<Buffer> => readFile(join(place.path(run), name));

describe('saccade dataset prepare', () => {
  it('splits a set and keeps its windows in the cache, once', async () => {
    const prepared = await place.json('dataset', 'prepare', 'dots.yaml');
    expect(prepared).toMatchObject({
      classes: ['left', 'right'],
      groupedBy: 'recording',
      recordings: 16,
      made: 16,
      clips: { train: 16, validation: 8, test: 8 },
    });
    const again = await place.json('dataset', 'prepare', 'dots.yaml');
    expect(again).toEqual({ ...prepared, made: 0 });
    expect(await readdir(place.path('cache'))).not.toEqual([]);
  });

  it('refuses configurations and sets that are missing or wrong', async () => {
    const prepare = ['dataset', 'prepare'];
    await place.fails('input', [...prepare, 'gone.yaml'], [/gone\.yaml/]);
    await place.fails('config', [...prepare, 'broken.yaml'], [/broken\.yaml/, /YAML/]);
    await place.fails('config', [...prepare, 'typo.yaml'], [/training\.epohcs/, /no such field/]);
    await place.fails('input', [...prepare, 'dots.yaml', '--data', 'gone'], [/gone/]);
  });
});

describe('saccade dataset list and check', () => {
  it('knows layouts by the names that a configuration takes', async () => {
    const known = (await place.json('dataset', 'list')) as unknown as { name: string }[];
    expect(known.map(({ name }) => name)).toContain('dvs128-gesture');
    expect(await place.print('dataset', 'list')).toMatch(/n-mnist +N-MNIST/);
  });

  it('names what is missing, changed or no recording', async () => {
    await writeTinySet(place.path('checked'), 3);
    const check = ['dataset', 'check', 'checked'];
    expect(await place.json(...check, '--write')).toMatchObject({
      layout: 'checked',
      classes: ['left', 'right'],
      recordings: 6,
      problems: [],
    });
    await rm(place.path('checked/left/0.es'));
    await writeFile(place.path('checked/right/1.es'), 'These are no events.');
    const { exitCode, stdout } = await place.run([...check, '--json']);
    expect(exitCode).toBe(3);
    const { problems } = JSON.parse(stdout) as { problems: { file: string; problem: string }[] };
    expect(problems.map(({ file }) => file)).toEqual(['left/0.es', 'right/1.es']);
    expect(problems[0].problem).toBe('missing');
    expect(problems[1].problem).toContain('SHA-256');
  });

  it('refuses folders and layouts that are not there', async () => {
    await place.fails('input', ['dataset', 'check', 'gone'], [/gone/]);
    await place.fails('usage', ['dataset', 'check', 'dots', '--layout', 'x'], [/known are folder/]);
    await place.fails('usage', ['dataset', 'check'], [/folder/]);
  });
});

describe('saccade train, eval, infer and stream', () => {
  beforeAll(async () => {
    await place.print('train', 'dots.yaml', '--out', 'whole');
  });

  it('resumes a run that was interrupted, to the same weights', async () => {
    const args = ['train', 'dots.yaml', '--out', 'broken'];
    const stopped = await place.run(args, {
      interruptWhen: /epoch 1:/,
    });
    expect(stopped.exitCode).toBe(130);
    expect(stopped.stdout).toBe('');
    expect(stopped.stderr).toMatch(
      /saccade: .*stopped after step \d+ of 40; the same command resumes/,
    );
    const outcome = await place.json(...args);
    expect(outcome).toMatchObject({ folder: 'broken', steps: 2 * epochs, clips: { train: 16 } });
    for (const name of ['last.safetensors', 'best.safetensors']) {
      expect((await files('broken', name)).equals(await files('whole', name)), name).toBe(true);
    }
    const metrics = (await files('broken', 'metrics.jsonl')).toString().trimEnd().split('\n');
    expect(metrics.map((line) => (JSON.parse(line) as { epoch: number }).epoch)).toEqual(
      Array.from({ length: epochs }, (_, i) => i + 1),
    );
  });

  it('refuses wrong configurations, options, and the folder of another run', async () => {
    await place.fails('input', ['train', 'gone.yaml'], [/gone\.yaml/]);
    await place.fails('config', ['train', 'typo.yaml'], [/training\.epohcs/]);
    await place.fails('usage', ['train', 'dots.yaml', '--epochs', '0'], [/--epochs/]);
    await place.fails('usage', ['train', 'dots.yaml', '--backend', 'gpu'], [/--backend/, /wasm/]);
    await place.fails(
      'config',
      ['train', 'dots.yaml', '--out', 'whole', '--seed', '6'],
      [/whole/, /another experiment/, /--fresh/],
    );
  });

  it('evaluates the selected and the last epoch on the test part, and counts the looks', async () => {
    const outcome = await place.json('eval', 'whole');
    expect(outcome).toMatchObject({ part: 'test', synthetic: false, looks: 1 });
    const { selected, last } = outcome as Record<
      'selected' | 'last',
      { accuracy: { value: number; correct: number; total: number }; confusion: number[][] }
    >;
    for (const { accuracy, confusion } of [selected, last]) {
      expect(accuracy.total).toBe(8);
      expect(accuracy.value).toBe(accuracy.correct / 8);
      expect(confusion.map((row) => row.reduce((a, b) => a + b))).toEqual([4, 4]);
      expect(confusion[0][0] + confusion[1][1]).toBe(accuracy.correct);
    }
    expect(JSON.parse((await files('whole', 'evaluation-test.json')).toString())).toEqual(outcome);
    expect((await files('whole', 'confusion-test.png')).toString('latin1', 1, 4)).toBe('PNG');
    const { exitCode, stdout, stderr } = await place.run(['eval', 'whole']);
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/left[^\n]*\n[^\n]*.*right/s);
    expect(stderr).toMatch(/look 2 at the test part/);
  });

  it('refuses to evaluate what is no checkpoint, no run, or the training part', async () => {
    await place.fails('input', ['eval', 'gone'], [/gone/, /no such file/]);
    await place.fails('input', ['eval', 'notes.txt'], [/notes\.txt/]);
    await place.fails('input', ['eval', 'dots'], [/dots/, /not the folder of a run/]);
    await place.fails('usage', ['eval', 'whole', '--part', 'train'], [/--part/, /validation/]);
  });

  interface Prediction {
    readonly prediction: string;
    readonly probabilities: readonly number[];
  }
  const recording = 'dots/left/3.es';

  it('recognises a recording; streaming it gives the same at the end of a window', async () => {
    const outcome = await place.json('infer', 'whole', recording);
    expect(outcome).toMatchObject({ file: recording, classes: ['left', 'right'], damageCount: 0 });
    const windows = outcome.windows as (Prediction & { startUs: number; events: number })[];
    expect(windows.map(({ startUs }) => startUs)).toEqual([0, tinyWindowUs]);
    for (const { prediction, probabilities } of windows) {
      expect(probabilities[0] + probabilities[1]).toBeCloseTo(1, 5);
      expect(prediction).toBe(probabilities[0] >= probabilities[1] ? 'left' : 'right');
    }

    // A state begins anew with each window, as in training; the recording comes through a pipe.
    const { exitCode, stdout, stderr } = await place.run(
      ['stream', 'whole', '-', '--restart', '4', '--json'],
      { input: await readFile(place.path(recording)) },
    );
    expect(exitCode, stderr).toBe(0);
    const bins = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Prediction & { bin: number; events: number });
    expect(bins.map(({ bin }) => bin)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    windows.forEach((window, i) => {
      const own = bins.slice(4 * i, 4 * i + 4);
      expect(own.reduce((sum, { events }) => sum + events, 0)).toBe(window.events);
      expect(own[3].prediction).toBe(window.prediction);
      own[3].probabilities.forEach((share, k) => {
        expect(share).toBeCloseTo(window.probabilities[k], 4);
      });
    });
    expect(await place.print('stream', 'whole', recording)).toMatch(
      /after 8 bins: (left|right)\n$/,
    );
  });

  it('refuses checkpoints and recordings that are missing or none', async () => {
    for (const command of ['infer', 'stream']) {
      await place.fails('input', [command, 'gone', recording], [/gone/, /no such file/]);
      await place.fails('input', [command, 'whole', 'gone.es'], [/gone\.es/, /no such file/]);
      await place.fails('input', [command, 'whole', 'notes.txt'], [/notes\.txt/, /known formats/]);
    }
    await place.fails('usage', ['infer', 'whole', recording, '--sensor', '9'], [/--sensor/]);
    await place.fails('usage', ['stream', 'whole', recording, '--restart', '0'], [/--restart/]);
  });

  it('refuses to stream a model that sees whole clips only', async () => {
    await place.print('train', 'clips.yaml', '--out', 'clips', '--epochs', '1');
    await place.fails('usage', ['stream', 'clips', recording], [/clips/, /model\.mode: causal/]);
    expect(await place.json('infer', 'clips', recording)).toMatchObject({ damageCount: 0 });
  });
});

describe('saccade compare', () => {
  it('trains each model with each seed, and gives the mean of what it does on the test part', async () => {
    const args = ['compare', 'dots.yaml', '--out', 'compared', '--epochs', '1', '--seeds', '2'];
    const compared = (await place.json(...args, '--models', 'linear,nano')) as unknown as {
      model: string;
      parameters: number;
      selected: { mean: number };
      seeds: { seed: number; selected: number; testClips: number }[];
    }[];
    expect(compared.map(({ model }) => model)).toEqual(['linear', 'nano']);
    expect(compared[0].parameters).toBe(2 * 8 * 8 * 2 + 2);
    for (const { selected, seeds } of compared) {
      expect(seeds.map(({ seed }) => seed)).toEqual([1, 2]);
      expect(selected.mean).toBeCloseTo((seeds[0].selected + seeds[1].selected) / 2, 10);
      for (const { testClips } of seeds) expect(testClips).toBe(8);
    }
    expect((await readdir(place.path('compared'))).sort()).toEqual([
      'comparison.json',
      'linear-1',
      'linear-2',
      'nano-1',
      'nano-2',
    ]);
  });

  it('refuses unknown models, no seeds, and configurations that are missing', async () => {
    const args = ['compare', 'dots.yaml', '--out', 'none'];
    await place.fails('usage', [...args, '--models', 'linear,mega'], [/mega/, /spikformer/]);
    await place.fails('usage', [...args, '--seeds', '0'], [/--seeds/]);
    await place.fails('input', ['compare', 'gone.yaml'], [/gone\.yaml/]);
  });
});

describe('saccade bench models', () => {
  const bench = (mixer: string): string =>
    `${configuration('causal')}bench: { seeds: [1], mixers: [${mixer}], recall: null, clips: 1 }\n`;

  it('leaves a table, plots and JSON, and prints the table', async () => {
    await writeFile(place.path('bench.yaml'), bench('linearAttention'));
    const args = ['bench', 'models', 'bench.yaml', '--out', 'bench', '--epochs', '1'];
    const table = await place.print(...args);
    expect(table).toMatch(/^\| model \|/);
    expect(table).toMatch(/\n\| `linearAttention\.lif\.patch` \|/);
    const result = await place.json(...args);
    expect(result).toMatchObject({ epochs: 1, seeds: [1], classes: ['left', 'right'] });
    expect((await readdir(place.path('bench'))).sort()).toEqual([
      'bench.json',
      'comparison.json',
      'energy.svg',
      'linearAttention.lif.patch-1',
      'state.svg',
      'table.md',
    ]);
  });

  it('refuses unknown mixers, and experiments that list none', async () => {
    await writeFile(place.path('mega.yaml'), bench('megaAttention'));
    await place.fails(
      'config',
      ['bench', 'models', 'mega.yaml'],
      [/mega\.yaml/, /bench\.mixers\.0/],
    );
    await place.fails('config', ['bench', 'models', 'dots.yaml'], [/dots\.yaml/, /bench/]);
  });
});

describe('saccade bench recall', () => {
  it('prints a table of shares with intervals, and leaves it in the folder', async () => {
    const symbols = '{ keys: 4, values: 4, pairs: 2, length: 8 }';
    const recall = `{ seeds: [1, 2], steps: 2, batch: 4, width: 8, symbols: ${symbols}, motions: null }`;
    await writeFile(place.path('recall.yaml'), `mixers: [linearAttention]\nrecall: ${recall}\n`);
    const args = ['bench', 'recall', 'recall.yaml', '--out', 'recall'];
    expect(await place.print(...args)).toMatch(
      /\n\| `linearAttention` \| [\d.]+ % \([\d.]+ … [\d.]+\) \|/,
    );
    expect(await place.json(...args)).toMatchObject({ mixers: [{ motions: null, blocking: 1 }] });
    expect((await readdir(place.path('recall'))).sort()).toEqual([
      'recall-linearAttention.json',
      'recall.json',
      'recall.md',
    ]);
    await writeFile(place.path('seedless.yaml'), 'mixers: [linearAttention]\nrecall: {}\n');
    await place.fails('config', ['bench', 'recall', 'seedless.yaml'], [/recall\.seeds/]);
  });
});

describe('saccade demo', () => {
  it('goes the whole way with recordings of one’s own', async () => {
    const { exitCode, stdout, stderr } = await place.run(
      ['demo', '--data', 'dots', '--out', 'demo'],
      { env: { SACCADE_CACHE: '' } },
    );
    // Whether so small a set is learned is not the question here: 7 says that it was not.
    expect([0, 7], stderr).toContain(exitCode);
    expect(stdout).toMatch(/test part, split by recording/);
    expect(stdout).toMatch(/end of \S*dots\S* after \d+ bins: (left|right)/);
    expect(await readdir(place.path('demo'))).toEqual(['cache', 'run']);
    expect(await readdir(place.path('demo/run'))).toContain('confusion-test.png');
  });

  it('refuses a folder that is missing or holds no classes', async () => {
    await place.fails('input', ['demo', '--data', 'gone'], [/gone/]);
    await place.fails('input', ['demo', '--data', 'dots/left', '--out', 'x'], [/dots\/left/]);
  });
});

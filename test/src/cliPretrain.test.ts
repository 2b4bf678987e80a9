import { readFile, writeFile } from 'node:fs/promises';

import { beforeAll, describe, expect, it } from 'vitest';

import { tinyWindowUs, writeTinySet } from '../workers/tinySet.js';
import { Workplace } from './cliProcess.js';

const place = new Workplace();

const configuration = (kind: string): string => `
name: dots
seed: 5
dataset: { path: dots, validation: 0.25, test: 0.25 }
preprocess:
  window: { kind: time, windowUs: ${tinyWindowUs} }
  bins: 4
  height: 8
  width: 8
model: ${kind}
pretraining: { epochs: 20, batchSize: 8, learningRate: 0.01 }
training: { epochs: 1, batchSize: 8, learningRate: 0.01 }
`;

beforeAll(async () => {
  await writeTinySet(place.path('dots'));
  const former = '{ kind: spikformer, patch: 4, embedding: 16, heads: 2, feedForward: 16 }';
  await writeFile(place.path('dots.yaml'), configuration(former));
  await writeFile(place.path('linear.yaml'), configuration('{ kind: linear }'));
  const from = configuration(former).replace('{ epochs: 1', '{ initialise: begun, epochs: 1');
  await writeFile(place.path('from.yaml'), from);
});

describe('saccade pretrain', () => {
  it('resumes what Ctrl-C stopped, and trains into runs/NAME-pretrained', async () => {
    const stopped = await place.run(['pretrain', 'dots.yaml'], {
      interruptWhen: /epoch 1:/,
    });
    expect(stopped.exitCode).toBe(130);
    expect(stopped.stderr).toMatch(/stopped after step \d+ of 40; the same command resumes/);
    const outcome = await place.json('pretrain', 'dots.yaml');
    expect(outcome).toMatchObject({ folder: 'runs/dots-pretrained', steps: 40 });
    const lines = await readFile(place.path('runs/dots-pretrained/metrics.jsonl'), 'utf8');
    const losses = lines
      .trimEnd()
      .split('\n')
      .map((line) => (JSON.parse(line) as { validationLoss: number }).validationLoss);
    expect(losses).toHaveLength(20);
    expect(outcome.validationLoss).toBe(Math.min(...losses));
  });

  it('gives training its first weights, by --init or the configuration', async () => {
    await place.print('pretrain', 'dots.yaml', '--epochs', '1', '--out', 'begun');
    const { exitCode, stderr } = await place.run([
      'train',
      'dots.yaml',
      '--init',
      'begun',
      '--out',
      'tuned',
    ]);
    expect(exitCode, stderr).toBe(0);
    expect(stderr).toMatch(/starts from (\d+) of \d+ weights of \S*begun\/best\.safetensors/);
    expect(stderr).toMatch(/fresh: head\.bias, head\.weight/);
    const { initialised } = await place.json('train', 'from.yaml', '--out', 'configured');
    expect(initialised).toMatchObject({ fresh: ['head.bias', 'head.weight'] });
    const [tuned, configured, plain] = await Promise.all(
      ['tuned', 'configured', 'begun'].map((run) =>
        readFile(place.path(`${run}/metrics.jsonl`), 'utf8'),
      ),
    );
    expect(configured).toBe(tuned);
    expect(plain).not.toBe(tuned);
  });

  it('refuses networks without tokens, weights that are missing, and runs that cannot classify', async () => {
    await place.fails('config', ['pretrain', 'linear.yaml'], [/model\.kind/, /tokens/]);
    await place.fails('input', ['pretrain', 'gone.yaml'], [/gone\.yaml/]);
    await place.fails('usage', ['pretrain', 'dots.yaml', '--epochs', '0'], [/--epochs/]);
    await place.fails('input', ['train', 'dots.yaml', '--init', 'gone', '--out', 'x'], [/gone/]);
    await place.fails('input', ['eval', 'begun'], [/begun/, /--init/]);
    await place.fails('config', ['train', 'dots.yaml', '--out', 'begun'], [/begun/, /--fresh/]);
  });
});

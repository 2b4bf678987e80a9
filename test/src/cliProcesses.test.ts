import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';

import { beforeAll, describe, expect, it } from 'vitest';

import { freePort } from '../engine/transport/members.js';
import { Workplace } from './cliProcess.js';

const cli = resolve('dist/src/cli.js');

const experiment = (model: string): string => `dataset: { path: set }
preprocess:
  window: { kind: time, windowUs: 500000 }
  representation: histogram
  bins: 2
  height: 8
  width: 8
  augmentations: ['translate:2', 'dropEvents:0.1']
model: ${model}
training: { epochs: 3, batchSize: 7, learningRate: 0.01, checkpointSteps: 1 }
pretraining: { epochs: 1, batchSize: 7, learningRate: 0.001 }
`;
const spiking = '{ kind: spikformer, patch: 4, embedding: 8, heads: 2, feedForward: 8 }';

interface Epoch {
  readonly epoch: number;
  readonly trainingLoss: number;
  readonly validationLoss: number;
  readonly gradientNorm: number;
}

describe('saccade train with several processes', { timeout: 120_000 }, () => {
  const place = new Workplace({ processes: true });
  const train = ['train', 'e.yaml', '--backend', 'cpu'];

  beforeAll(async () => {
    await place.json(
      ...['simulate', 'set', '--gestures', 'arm_roll,hand_clapping', '--subjects', '6'],
      ...['--repetitions', '1'],
    );
    await writeFile(place.path('e.yaml'), experiment('{ kind: linear }'));
    await writeFile(place.path('spiking.yaml'), experiment(spiking));
    await place.json(...train, '--out', 'one');
  }, 120_000);

  async function epochs(run: string): Promise<Epoch[]> {
    const text = await readFile(place.path(`${run}/metrics.jsonl`), 'utf8');
    return text.trim().split('\n').map((line) => JSON.parse(line) as Epoch); // prettier-ignore
  }

  async function expectAsOne(run: string): Promise<void> {
    const [expected, found] = [await epochs('one'), await epochs(run)];
    expect(found).toHaveLength(expected.length);
    expected.forEach(({ trainingLoss, validationLoss, gradientNorm }, i) => {
      expect(found[i].trainingLoss).toBeCloseTo(trainingLoss, 5);
      expect(found[i].validationLoss).toBeCloseTo(validationLoss, 5);
      expect(found[i].gradientNorm).toBeCloseTo(gradientNorm, 4);
    });
  }

  // Batches of 6 clips: with four processes they are of one and of two clips.
  it.each([2, 4])('learns what one process learns, with %i', async (count) => {
    const outcome = await place.json(...train, '--processes', `${count}`, '--out', `of${count}`);
    expect(outcome).toMatchObject({ folder: `of${count}`, steps: 12, clips: { train: 24 } });
    await expectAsOne(`of${count}`);
  });

  it('stops together, and goes on with another number of processes', async () => {
    const stopped = await place.run([...train, '--processes', '2', '--out', 'stopped'], {
      interruptWhen: /train: .*epoch \d/,
    });
    if (stopped.exitCode !== 0) {
      expect(stopped.exitCode, stopped.stderr).toBe(130);
      expect(stopped.stderr).toMatch(/stopped after step \d+ of 12; the same command resumes it/);
    }
    await place.json(...train, '--processes', '3', '--out', 'stopped');
    await expectAsOne('stopped');
  });

  it('ends where one process is killed, and names it', async () => {
    const long = [...train, '--processes', '3', '--out', 'killed', '--epochs', '100000'];
    const child = spawn(process.execPath, [cli, ...long], {
      cwd: place.folder,
      env: { PATH: process.env.PATH, SACCADE_CACHE: place.path('cache') },
    });
    let stderr = '';
    const ended = new Promise<number | null>((done) => child.once('close', done));
    const started = new Promise<void>((done) =>
      child.stderr.setEncoding('utf8').on('data', (text: string) => {
        stderr += text;
        if (/epoch 2/.test(stderr)) done();
      }),
    );
    await Promise.race([started, ended]);
    const children = await readFile(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8');
    process.kill(Number(children.trim().split(' ')[2]), 'SIGKILL');
    expect(await ended, stderr).toBe(5);
    expect(stderr.trimEnd().split('\n').at(-1)).toBe(
      'saccade: process 2 of 3: was ended by SIGKILL',
    );
    // What was saved is resumed.
    const resumed = await place.json(...train, '--out', 'killed', '--epochs', '1');
    expect(resumed.steps).toBeGreaterThan(0);
  });

  it('pretrains as one process does', async () => {
    const pretrain = ['pretrain', 'spiking.yaml', '--backend', 'cpu'];
    const one = await place.json(...pretrain, '--out', 'pretrained');
    const two = await place.json(...pretrain, '--processes', '2', '--out', 'pretrained-by-2');
    expect(two).toMatchObject({ folder: 'pretrained-by-2', steps: 4, clips: { train: 24 } });
    for (const name of ['validationLoss', 'explained']) {
      expect(two[name], name).toBeCloseTo(one[name] as number, 4);
    }
    const [a, b] = await Promise.all(['pretrained', 'pretrained-by-2'].map(epochs));
    expect(b[0].trainingLoss).toBeCloseTo(a[0].trainingLoss, 5);
    expect(b[0].gradientNorm).toBeCloseTo(a[0].gradientNorm, 4);
  });

  it('trains on two machines what two processes of one train, each with a cache of its own', async () => {
    await place.json(...train, '--processes', '2', '--out', 'oneMachine');
    const port = await freePort();
    const nodes = ['--nodes', '2', '--rendezvous', `127.0.0.1:${port}`, '--processes', '1'];
    const [first, second] = await Promise.all(
      [0, 1].map((node) =>
        place.run(
          [...train, '--out', `machine${node}`, '--json', ...nodes, '--node-rank', `${node}`],
          {
            env: {
              SACCADE_CACHE: place.path(`cache${node}`),
              SACCADE_TOKEN: 'known to both of them',
            },
          },
        ),
      ),
    );
    expect([first.exitCode, second.exitCode], first.stderr + second.stderr).toEqual([0, 0]);
    expect(JSON.parse(first.stdout)).toMatchObject({ folder: 'machine0', steps: 12 });
    expect(second.stdout).toBe('');
    expect(existsSync(place.path('machine1'))).toBe(false);
    expect(await epochs('machine0')).toEqual(await epochs('oneMachine'));
    await expectAsOne('machine0');
  });

  it('names the machine that does not come', async () => {
    const port = await freePort();
    const nodes = [
      '--nodes',
      '3',
      '--node-rank',
      '0',
      '--processes',
      '1',
      '--rendezvous-timeout',
      '2',
    ];
    await place.fails(
      'environment',
      [...train, '--out', 'missing', ...nodes, '--rendezvous', `127.0.0.1:${port}`],
      ['process 1, 2 of 3 (node 1, 2 of 3) did not come', 'in 2 s'],
    );
  });

  it('meets processes that others have started', async () => {
    const port = await freePort();
    const spread = [...train, '--out', 'spread', '--json'];
    const world = ['--world', '2', '--rendezvous', `127.0.0.1:${port}`];
    const env = {
      RANK: '1',
      WORLD_SIZE: '2',
      LOCAL_RANK: '0',
      MASTER_ADDR: '127.0.0.1',
      MASTER_PORT: String(port),
    };
    const [first, second] = await Promise.all([
      place.run([...spread, '--rank', '0', ...world]),
      place.run(spread, { env }),
    ]);
    expect([first.exitCode, second.exitCode], first.stderr + second.stderr).toEqual([0, 0]);
    expect(JSON.parse(first.stdout)).toMatchObject({ folder: 'spread' });
    // The first one speaks for all.
    expect(second.stdout).toBe('');
    await expectAsOne('spread');
  });

  it('names what is wrong', async () => {
    await place.fails('usage', [...train, '--world', '4'], ['--rank', '--world']);
    await place.fails('usage', [...train, '--world', '4', '--rank', '1'], ['--rendezvous']);
    await place.fails(
      'usage',
      [...train, '--processes', '2', '--devices', '0,1,2'],
      ['--devices', '3 GPUs for 2'],
    );
    await place.fails('usage', [...train, '--rendezvous', 'here'], ['HOST:PORT']);
    const nodes = ['--nodes', '2', '--processes', '2', '--rendezvous', '10.0.0.1:29500'];
    await place.fails('usage', [...train, '--node-rank', '1'], ['--nodes']);
    await place.fails('usage', [...train, ...nodes], ['--node-rank']);
    await place.fails('usage', [...train, ...nodes, '--node-rank', '2'], ['--node-rank', '0 to 1']);
    await place.fails(
      'usage',
      [...train, ...nodes, '--node-rank', '1', '--world', '4'],
      ['--world'],
    );
    await place.fails(
      'usage',
      [...train, ...nodes, '--node-rank', '1'],
      ['10.0.0.1', 'SACCADE_TOKEN'],
    );
    await place.fails(
      'config',
      [...train, '--processes', '7', '--out', 'few'],
      ['process', 'training.batchSize', '6 clips', '7 processes'],
    );
  });
});

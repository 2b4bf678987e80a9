import { spawn } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { resolve } from 'node:path';

import { beforeAll, describe, expect, it } from 'vitest';

import { Workplace } from './cliProcess.js';

const cli = resolve('dist/src/cli.js');

const experiment = `dataset: { path: set }
preprocess:
  window: { kind: time, windowUs: 500000 }
  representation: histogram
  bins: 2
  height: 8
  width: 8
  augmentations: ['translate:2', 'dropEvents:0.1']
model: { kind: linear }
training: { epochs: 3, batchSize: 7, learningRate: 0.01, checkpointSteps: 1 }
`;

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
    await writeFile(place.path('e.yaml'), experiment);
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

  it('meets processes that others have started', async () => {
    const server = createServer();
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    const { port } = server.address() as { port: number };
    await new Promise((done) => server.close(done));
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
    await place.fails(
      'config',
      [...train, '--processes', '7', '--out', 'few'],
      ['process', 'training.batchSize', '6 clips', '7 processes'],
    );
  });
});

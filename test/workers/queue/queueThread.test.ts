import { execFileSync } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { createRandom } from '../../../engine/support/random.js';
import { tinyExperiment, writeTinySet } from '../tinySet.js';
import {
  type Env,
  type OwnRedis,
  ownRedis,
  redisInstalled,
  runCli,
  startCli,
} from './queueProcess.js';

// Every promise of the queues, on each store, with real processes.

interface Job {
  readonly id: string;
  readonly kind: string;
  readonly state: string;
  readonly reason?: string;
  readonly cancelled: boolean;
  readonly result?: Record<string, unknown>;
  readonly progress?: { readonly phase: string; readonly done: number };
}

if (!redisInstalled)
  console.warn('no redis-server is installed: the queues are not tested on Redis');

const patienceMs = 500_000;

describe.each([['embedded'], ['redis']])('queues on %s', { timeout: patienceMs }, (store) => {
  const skipped = store === 'redis' && !redisInstalled;
  let folder: string;
  let redis: OwnRedis | undefined;
  let env: Env;

  beforeAll(async () => {
    if (skipped) return;
    folder = await mkdtemp(join(tmpdir(), 'saccade-queue-'));
    if (store === 'redis') {
      redis = await ownRedis(folder);
      await redis.start();
    }
    env = redis === undefined ? { SACCADE_EMBEDDED_IDLE_MS: '2000' } : { REDIS_URL: redis.url };
    await writeTinySet(join(folder, 'data'));
    const experiment = tinyExperiment(join(folder, 'data'), {
      training: { epochs: 80, batchSize: 4, learningRate: 0.01 },
    });
    await writeFile(join(folder, 'tiny.yaml'), JSON.stringify(experiment));
  });
  afterAll(async () => {
    await redis?.kill();
    if (!skipped) await rm(folder, { recursive: true, force: true });
  });

  const saccade = async (...args: string[]): Promise<string> => {
    const { exitCode, stdout, stderr } = await runCli(args, folder, env);
    expect(exitCode, stderr).toBe(0);
    return stdout;
  };
  const json = async <T>(...args: string[]): Promise<T> =>
    JSON.parse(await saccade(...args, '--json')) as T;
  const show = (id: string): Promise<Job> => json<Job>('jobs', 'show', id);
  const until = async (id: string, is: (job: Job) => boolean): Promise<Job> => {
    for (let i = 0; i < 1000; i++) {
      const job = await show(id);
      if (is(job)) return job;
      await sleep(200);
    }
    throw new Error(`${id} is still ${JSON.stringify(await show(id))}`);
  };
  const worker = ['worker', '--lock', '2'];

  it.skipIf(skipped)('do a tree of jobs once, however often it is submitted', async () => {
    const args = ['submit', 'convert', 'data', 'out', '--to', '.dat'];
    const first = await json<{ id: string; added: boolean }>(...args);
    expect(first.added).toBe(true);
    expect((await json<{ added: boolean }>(...args)).added).toBe(false);
    expect((await show(first.id)).state).toBe('blocked');
    await saccade(...worker, '--until-empty');
    const { state, result } = await show(first.id);
    expect([state, result?.jobs]).toEqual(['done', 16]);
    const { jobs } = JSON.parse(await readFile(join(folder, 'out/conversion.json'), 'utf8')) as {
      jobs: { to: string; events: { read: number; written: number } }[];
    };
    expect(jobs).toHaveLength(16);
    for (const { events } of jobs) expect(events.written).toBe(events.read);
    expect(await readdir(join(folder, 'out/left'))).toHaveLength(8);
    expect((await json<{ added: boolean }>(...args)).added).toBe(false);
  });

  it.skipIf(skipped)('put a job that cannot succeed among the dead, with its reason', async () => {
    await writeFile(join(folder, 'broken.es'), 'this is no recording');
    const { id } = await json<{ id: string }>('submit', 'convert', 'broken.es', 'broken.dat');
    await saccade(...worker, '--until-empty');
    const dead = await show(id);
    expect(dead.state).toBe('dead');
    expect(dead.reason).toContain('broken.es');
    const { stderr, exitCode } = await runCli(['jobs', 'watch', id], folder, env);
    expect(exitCode).toBe(7);
    expect(stderr).toContain('has failed');
    await writeFile(join(folder, 'broken.es'), await readFile(join(folder, 'data/left/0.es')));
    await saccade('jobs', 'retry', id);
    await saccade(...worker, '--until-empty');
    expect((await show(id)).state).toBe('done');
  });

  it.skipIf(skipped)(
    'train across kills, cancels and stops to the weights of an undisturbed run',
    async () => {
      await saccade('train', 'tiny.yaml', '--out', 'undisturbed');
      const { id } = await json<{ id: string }>(
        'submit',
        'train',
        'tiny.yaml',
        '--out',
        'disturbed',
      );
      const training = (job: Job): boolean =>
        job.progress?.phase === 'train' || job.state === 'done';

      let running = startCli(worker, folder, env);
      await until(id, training);
      running.kill('SIGKILL');
      running = startCli(worker, folder, env);
      await until(id, ({ state }) => state === 'active' || state === 'done');
      await killSlots(folder);
      const before = (await show(id)).progress?.done ?? 0;
      await until(id, (job) => job.state === 'done' || (job.progress?.done ?? 0) > before);
      if ((await show(id)).state !== 'done') {
        await saccade('jobs', 'cancel', id);
        const cancelled = await until(id, ({ state }) => state === 'dead' || state === 'done');
        if (cancelled.state === 'dead') {
          expect(cancelled.reason).toContain('cancelled');
          await saccade('jobs', 'retry', id);
        }
      }
      await until(id, ({ state }) => state === 'done');
      running.kill('SIGINT');
      await new Promise((done) => running.once('exit', done));
      const weights = (run: string): Promise<Buffer> =>
        readFile(join(folder, run, 'last.safetensors'));
      expect(tensorsOf(await weights('disturbed'))).toEqual(
        tensorsOf(await weights('undisturbed')),
      );
    },
  );

  it.skipIf(skipped)(
    'lose and repeat nothing when workers, slots and the store are killed',
    async () => {
      const random = createRandom(7, store);
      const ids: string[] = [];
      for (let copy = 0; copy < 3; copy++) {
        const args = [
          'submit',
          'convert',
          'data',
          `killed${copy}`,
          '--to',
          '.aedat',
          '--attempts',
          '50',
        ];
        ids.push((await json<{ id: string }>(...args)).id);
      }
      let running = startCli(worker, folder, env);
      for (let kill = 0; kill < 6; kill++) {
        await sleep(700 + random.integer(1500));
        if (kill % 3 === 0) {
          running.kill('SIGKILL');
          running = startCli(worker, folder, env);
        } else if (kill % 3 === 1) await killSlots(folder);
        else if (redis !== undefined) {
          await redis.kill();
          await redis.start();
        } else killMatching('embeddedHost.js', folder);
      }
      for (const id of ids) await until(id, ({ state }) => state === 'done' || state === 'dead');
      running.kill('SIGINT');
      await new Promise((done) => running.once('exit', done));
      for (const [copy, id] of ids.entries()) {
        const { state, reason } = await show(id);
        expect(state, reason).toBe('done');
        for (const name of ['left', 'right']) {
          const files = await readdir(join(folder, `killed${copy}`, name));
          expect(files.sort()).toEqual(Array.from({ length: 8 }, (_, i) => `${i}.aedat`));
        }
        const text = await readFile(join(folder, `killed${copy}`, 'conversion.json'), 'utf8');
        expect((JSON.parse(text) as { jobs: unknown[] }).jobs).toHaveLength(16);
      }
    },
  );
});

/** Tensors only: the metadata may hold the folder. */
function tensorsOf(file: Buffer): Buffer {
  return file.subarray(8 + Number(file.readBigUInt64LE(0)));
}

/** Kills processes of this test's folder whose command line holds a text. */
function killMatching(text: string, folder: string): void {
  const rows = execFileSync('ps', ['-eo', 'pid,args']).toString().split('\n');
  for (const row of rows.filter((line) => line.includes(text) && line.includes(folder))) {
    try {
      process.kill(Number.parseInt(row, 10), 'SIGKILL');
    } catch {
      // It has ended meanwhile.
    }
  }
}

/** Kills the slots' processes: those of `slotProcess.js` whose working folder is the test's. */
async function killSlots(folder: string): Promise<void> {
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const args = await readFile(`/proc/${name}/cmdline`, 'utf8');
      const environ = await readFile(`/proc/${name}/environ`, 'utf8');
      if (args.includes('slotProcess.js') && environ.includes(`PWD=${folder}`)) {
        process.kill(Number(name), 'SIGKILL');
      }
    } catch {
      // It has ended meanwhile, or is somebody else's.
    }
  }
}

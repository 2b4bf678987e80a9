import type { ChildProcess } from 'node:child_process';
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';

import type { JobClient, JobSummary } from '../../../workers/queue/client.js';
import { callCli } from '../../src/callCli.js';
import { tinyExperiment, writeTinySet } from '../tinySet.js';
import {
  killNow,
  openClient,
  runCli,
  signalNow,
  slotsOf,
  startCli,
  tensorsOf,
} from './queueProcess.js';
import { storeKinds, type TestStore } from './stores.js';

// Every promise of the queues, on each store, with real processes.

const patienceMs = 300_000;
const root = process.cwd();

// The same for all stores.
let shared: string;
let undisturbed: Buffer;
beforeAll(async () => {
  shared = await mkdtemp(join(tmpdir(), 'saccade-queue-'));
  await writeTinySet(join(shared, 'data'));
  const experiment = tinyExperiment(join(shared, 'data'), {
    training: { epochs: 40, batchSize: 1, learningRate: 0.01, checkpointSteps: 5 },
  });
  await writeFile(join(shared, 'tiny.yaml'), JSON.stringify(experiment));
  const { exitCode, stderr } = await runCli(['train', 'tiny.yaml', '--out', 'run'], shared, {});
  expect(exitCode, stderr).toBe(0);
  undisturbed = tensorsOf(await readFile(join(shared, 'run', 'last.safetensors')));
}, patienceMs);
afterAll(() => rm(shared, { recursive: true, force: true }));

describe.each(storeKinds)('queues on $name', { timeout: patienceMs }, ({ missing, start }) => {
  const skipped = missing !== undefined;
  let folder: string;
  let store: TestStore;
  let client: JobClient;
  const running: ChildProcess[] = [];

  beforeAll(async () => {
    if (skipped) return;
    folder = await mkdtemp(join(tmpdir(), 'saccade-queue-'));
    store = await start(folder);
    client = await openClient(folder, store.env);
    process.chdir(folder);
    await cp(join(shared, 'data'), join(folder, 'data'), { recursive: true });
  });
  afterEach(async () => {
    for (const { pid } of running.splice(0)) killNow(pid);
    if (!skipped) for (const pid of await slotsOf(folder)) killNow(pid);
  });
  afterAll(async () => {
    if (skipped) return;
    process.chdir(root);
    await client?.close();
    await store?.stop();
    await rm(folder, { recursive: true, force: true });
  });

  const saccade = async (...args: string[]): Promise<string> => {
    const { exitCode, stdout, stderr } = await callCli(args, store.env);
    expect(exitCode, stderr).toBe(0);
    return stdout;
  };
  const json = async <T>(...args: string[]): Promise<T> =>
    JSON.parse(await saccade(...args, '--json')) as T;
  const until = async (id: string, is: (job: JobSummary) => boolean): Promise<JobSummary> => {
    for (let i = 0; i < 2000; i++) {
      const job = await client.job(id);
      if (is(job)) return job;
      await sleep(100);
    }
    throw new Error(`${id} is still ${JSON.stringify(await client.job(id))}`);
  };
  const startWorker = (...args: string[]): ChildProcess => {
    const child = startCli(['worker', '--lock', '2', ...args], folder, store.env);
    running.push(child);
    return child;
  };
  const ended = (child: ChildProcess): Promise<unknown> =>
    new Promise((done) => child.once('exit', done));

  it.skipIf(skipped)('do a tree of jobs once, however often it is submitted', async () => {
    const args = ['submit', 'convert', 'data', 'out', '--to', '.dat'];
    const first = await json<{ id: string; added: boolean }>(...args);
    expect(first.added).toBe(true);
    expect((await json<{ added: boolean }>(...args)).added).toBe(false);
    expect((await client.job(first.id)).state).toBe('blocked');
    const worker = ['worker', '--lock', '2', '--until-empty'];
    const { exitCode, stderr } = await runCli(worker, folder, store.env);
    expect(exitCode, stderr).toBe(0);
    const { state, result } = await json<JobSummary>('jobs', 'show', first.id);
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
    startWorker();
    const { stderr, exitCode } = await callCli(['jobs', 'watch', id], store.env);
    expect(exitCode).toBe(7);
    expect(stderr).toContain('has failed');
    const listed = await json<{ jobs: JobSummary[] }>('jobs', 'list', '--state', 'dead');
    expect(listed.jobs.map((job) => job.id)).toEqual([id]);
    expect(listed.jobs[0].reason).toContain('broken.es');
    expect(await saccade('jobs', 'logs', id)).toContain('broken.es');
    await writeFile(join(folder, 'broken.es'), await readFile(join(folder, 'data/left/0.es')));
    await saccade('jobs', 'retry', id);
    await until(id, ({ state }) => state === 'done');
  });

  it.skipIf(skipped)(
    'train across kills, cancels and stops to the weights of an undisturbed run',
    async () => {
      const args = ['submit', 'train', join(shared, 'tiny.yaml'), '--out', 'disturbed'];
      const { id } = await json<{ id: string }>(...args);
      /** Halts what trains, or lets it go on, so that it is not done before anybody has disturbed it. */
      const signalSlots = async (signal: 'SIGSTOP' | 'SIGCONT'): Promise<void> => {
        for (const pid of await slotsOf(folder)) signalNow(pid, signal);
      };
      /** Until it is trained, by whoever does so now, further than ever; it is halted then. */
      const further = async (): Promise<void> => {
        const reached = (await client.job(id)).progress;
        const before = reached?.phase === 'train' ? reached.done : 0;
        const { state } = await until(
          id,
          ({ state, progress }) =>
            state === 'done' ||
            (state === 'active' && progress?.phase === 'train' && progress.done > before),
        );
        expect(state, 'training is too short for this test').toBe('active');
        await signalSlots('SIGSTOP');
      };
      // The worker is killed, then the process that trains.
      const first = startWorker();
      await further();
      killNow(first.pid);
      await signalSlots('SIGCONT');
      const second = startWorker('--drain', '0');
      await further();
      for (const pid of await slotsOf(folder)) killNow(pid);
      await further();
      // Someone cancels it, and wants it after all.
      await saccade('jobs', 'cancel', id);
      await signalSlots('SIGCONT');
      expect((await until(id, ({ state }) => state === 'dead')).reason).toContain('cancelled');
      await saccade('jobs', 'retry', id);
      await further();
      // The worker is stopped: it gives the job back, and another one takes it.
      const stopped = ended(second);
      second.kill('SIGINT');
      await signalSlots('SIGCONT');
      await stopped;
      expect((await client.job(id)).state).toBe('waiting');
      startWorker();
      await until(id, ({ state }) => state === 'done');
      const weights = await readFile(join(folder, 'disturbed', 'last.safetensors'));
      expect(tensorsOf(weights)).toEqual(undisturbed);
    },
  );
});

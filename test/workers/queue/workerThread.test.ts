import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';

import type { JobClient, JobSummary } from '../../../workers/queue/client.js';
import type { Datastore } from '../../../workers/queue/datastore.js';
import type { EmbeddedPostgres } from '../../../workers/queue/embeddedPostgres.js';
import type { SlotJob } from '../../../workers/queue/messages.js';
import type { Slot } from '../../../workers/queue/slot.js';
import type { QueueWorker, WorkerEvent } from '../../../workers/queue/worker.js';
import { built } from '../../built.js';
import { tinyExperiment, writeTinySet } from '../tinySet.js';
import { killNow } from './queueProcess.js';
import { killHosts } from './stores.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'saccade-worker-'));
  await writeTinySet(join(folder, 'data'));
});
afterAll(async () => {
  killHosts(folder);
  await rm(folder, { recursive: true, force: true });
});

const until = async <T>(look: () => Promise<T> | T, is: (found: T) => boolean): Promise<T> => {
  for (let i = 0; i < 1200; i++) {
    const found = await look();
    if (is(found)) return found;
    await sleep(50);
  }
  throw new Error(`is still ${JSON.stringify(await look())}`);
};

/** A run that no test waits for the end of. */
const endless = (name: string): { kind: string; data: Record<string, unknown> } => ({
  kind: 'train',
  data: {
    experiment: tinyExperiment(join(folder, 'data'), { training: { epochs: 100_000 } }),
    folder: join(folder, name),
    cacheFolder: join(folder, 'cache'),
  },
});
const conversion = (to: string): { kind: string; data: Record<string, unknown> } => ({
  kind: 'convert',
  data: { from: join(folder, 'data', 'left', '0.es'), to: join(folder, to) },
});

describe('a slot', () => {
  type Options = ConstructorParameters<typeof Slot>[0];
  const slots: Slot[] = [];
  const open = async (options: Options = {}): Promise<Slot> => {
    const module =
      await built<typeof import('../../../workers/queue/slot.js')>('workers/queue/slot.js');
    const slot = new module.Slot(options);
    slots.push(slot);
    return slot;
  };
  afterAll(() => slots.forEach((slot) => slot.close()));
  const job = ({ kind, data }: { kind: string; data: unknown }): SlotJob => ({
    kind,
    jobId: kind,
    data: data as SlotJob['data'],
    inputs: {},
    children: [],
    lockFolder: join(folder, 'locks'),
  });
  const never = new AbortController().signal;

  it('keeps its process for the next job, and replaces it after so many', async () => {
    const slot = await open({ jobsPerProcess: 2 });
    const pids: unknown[] = [];
    for (let i = 0; i < 4; i++) {
      const done = slot.run(job(conversion(`slot${i}.es`)), {}, never);
      pids.push(slot.pid);
      expect(await done).toMatchObject({ to: join(folder, `slot${i}.es`) });
    }
    expect(pids[1]).toBe(pids[0]);
    expect(pids[2]).not.toBe(pids[0]);
    expect(pids[3]).toBe(pids[2]);
  });

  it('tells when its process dies, or gives no sign of life while it should compute', async () => {
    const slot = await open({ silenceMs: 5000 });
    const killed = slot.run(job(endless('killed')), {}, never);
    killNow(slot.pid);
    await expect(killed).rejects.toThrow(/ended: it was ended by SIGKILL/);
    let progress = 0;
    const silent = slot.run(job(endless('silent')), { onProgress: () => progress++ }, never);
    silent.catch(() => undefined);
    await until(
      () => progress,
      (count) => count > 0,
    );
    const { pid } = slot;
    process.kill(pid!, 'SIGSTOP');
    await expect(silent).rejects.toThrow(/no sign of life for 5 s/);
    // It is not left behind, and the next job has another one.
    await until(
      () => isAlive(pid!),
      (alive) => !alive,
    );
    await expect(slot.run(job(conversion('after.es')), {}, never)).resolves.toBeDefined();
  });

  it('stops a job with what can be resumed', async () => {
    const slot = await open();
    const stop = new AbortController();
    const onProgress = ({ phase }: { phase: string }): void => {
      if (phase === 'train') stop.abort();
    };
    await expect(
      slot.run(job(endless('stopped')), { onProgress }, stop.signal),
    ).rejects.toMatchObject({ kind: 'interrupted' });
    await readFile(join(folder, 'stopped', 'last.safetensors'));
  });
});

describe('a worker', () => {
  let store: Datastore;
  let client: JobClient;
  let startQueueWorker: typeof import('../../../workers/queue/worker.js').startQueueWorker;
  const workers: QueueWorker[] = [];

  beforeAll(async () => {
    const { openDatastore } = await built<typeof import('../../../workers/queue/datastore.js')>(
      'workers/queue/datastore.js',
    );
    store = await openDatastore({ env: {}, folder: join(folder, 'queue') });
    const { createJobClient } =
      await built<typeof import('../../../workers/queue/client.js')>('workers/queue/client.js');
    client = createJobClient(store);
    ({ startQueueWorker } =
      await built<typeof import('../../../workers/queue/worker.js')>('workers/queue/worker.js'));
  });
  // One that a failed test left would take the jobs of the next test.
  afterEach(() => Promise.all(workers.splice(0).map((worker) => worker.close())));
  afterAll(async () => {
    await client.close();
    await store.close();
  });

  const start = async (lockMs = 2000): Promise<{ worker: QueueWorker; events: WorkerEvent[] }> => {
    const events: WorkerEvent[] = [];
    const worker = await startQueueWorker({
      store,
      lockFolder: join(folder, 'locks'),
      concurrency: { ingest: 1, train: 1 },
      lockMs,
      onEvent: (event) => events.push(event),
    });
    workers.push(worker);
    return { worker, events };
  };
  const untilJob = (id: string, is: (job: JobSummary) => boolean): Promise<JobSummary> =>
    until(() => client.job(id), is);
  const isEnded = ({ state }: JobSummary): boolean => state === 'done' || state === 'dead';

  it('tries again, later each time, and gives up with the reason', async () => {
    const { worker, events } = await start();
    // A folder stands where the file is to be written: not the fault of the job's data.
    await mkdir(join(folder, 'taken.es', 'inside'), { recursive: true });
    const { id } = await client.submit(conversion('taken.es'), { attempts: 3 });
    const later = await untilJob(id, ({ state }) => state === 'delayed');
    expect(later.attempts).toBe(1);
    const dead = await untilJob(id, isEnded);
    expect([dead.state, dead.attempts]).toEqual(['dead', 3]);
    expect(dead.reason).toContain('taken.es');
    expect(events.map(({ event }) => event)).toEqual([
      'started',
      'retrying',
      'started',
      'retrying',
      'started',
      'failed',
    ]);
    expect((await client.logs(id)).filter((line) => line.includes('taken.es'))).toHaveLength(3);
    await rm(join(folder, 'taken.es'), { recursive: true });
    await client.retry(id);
    expect((await untilJob(id, isEnded)).state).toBe('done');
    await expect(client.retry(id)).rejects.toMatchObject({ kind: 'usage' });
    await worker.close();
  });

  it('puts a job that kills whoever computes it among the dead', async () => {
    const { worker, events } = await start();
    const { id } = await client.submit(endless('poison'), { attempts: 2 });
    for (let attempt = 1; attempt <= 2; attempt++) {
      const started = (): number => events.filter(({ event }) => event === 'started').length;
      await until(started, (count) => count === attempt);
      killNow(
        (
          await until(
            () => worker.pids,
            ({ length }) => length > 0,
          )
        )[0],
      );
    }
    const { state, reason } = await untilJob(id, isEnded);
    expect(state).toBe('dead');
    expect(reason).toContain('ended by SIGKILL');
    await worker.close();
  });

  it('keeps a job for much longer than its lock, drains, and gives back what is not done', async () => {
    const first = await start(2000);
    const { id } = await client.submit(endless('long'));
    await untilJob(id, ({ progress }) => progress?.phase === 'train');
    const second = await start(2000);
    await sleep(5000);
    expect((await client.job(id)).state).toBe('active');
    expect(second.events).toEqual([]);
    // It takes nothing new while it drains; the other one does.
    const draining = first.worker.close(3000);
    const next = await client.submit(conversion('drained.es'));
    await untilJob(next.id, isEnded);
    expect(second.events.map(({ jobId }) => jobId)).toContain(next.id);
    await draining;
    expect(first.events.map(({ event }) => event)).toEqual(['started', 'given back']);
    await until(
      () => second.events,
      (events) => events.some(({ jobId, event }) => jobId === id && event === 'started'),
    );
    expect(await client.cancel(id)).toBe('stopping');
    const cancelled = await untilJob(id, isEnded);
    expect([cancelled.state, cancelled.cancelled]).toEqual(['dead', true]);
    expect(await client.cancel(id)).toBe('ended before');
    await second.worker.close();
  });

  it('refuses a job whose recording has changed since, or that someone else put there', async () => {
    const { worker } = await start();
    const from = join(folder, 'changing.es');
    const recording = await readFile(join(folder, 'data', 'left', '1.es'));
    await writeFile(from, recording);
    const job = { kind: 'convert', data: { from, to: join(folder, 'changed.es') } };
    await worker.close();
    const first = await client.submit(job);
    expect((await client.submit(job)).added).toBe(false);
    await writeFile(from, await readFile(join(folder, 'data', 'right', '1.es')));
    // The same path with other content is another job.
    const second = await client.submit(job);
    expect(second.id).not.toBe(first.id);
    const queue = await store.queue('ingest');
    const foreign = { version: 1, data: { anything: true } } as never;
    await queue.add('convert', foreign, { jobId: 'convert-foreign', attempts: 3 });
    await queue.close();
    const set = join(folder, 'changingSet');
    await writeTinySet(set, 2);
    const { data } = endless('changed');
    const experiment = tinyExperiment(set);
    const trained = await client.submit({ kind: 'train', data: { ...data, experiment } });
    await writeFile(join(set, 'left', '0.es'), recording);
    await start();
    expect(await untilJob(trained.id, isEnded)).toMatchObject({
      state: 'dead',
      reason: expect.stringMatching(/changingSet.left.0\.es: has changed since/) as string,
    });
    expect(await untilJob(first.id, isEnded)).toMatchObject({
      state: 'dead',
      reason: expect.stringMatching(/changing\.es: has changed since/) as string,
    });
    expect((await untilJob(second.id, isEnded)).state).toBe('done');
    expect(await untilJob('convert-foreign', isEnded)).toMatchObject({
      state: 'dead',
      attempts: 1,
    });
  });
});

describe('the embedded database', () => {
  it('is there for whoever opens it, also while its host ends or is killed', async () => {
    const { openEmbeddedPostgres } = await built<
      typeof import('../../../workers/queue/embeddedPostgres.js')
    >('workers/queue/embeddedPostgres.js');
    const place = join(folder, 'ending');
    // A host that ends as soon as nobody is connected.
    process.env.SACCADE_EMBEDDED_IDLE_MS = '1';
    try {
      const query = async ({ connection }: EmbeddedPostgres): Promise<unknown> => {
        const { Client } = (await import('pg')).default;
        const one = new Client(connection);
        one.on('error', () => undefined);
        await one.connect();
        const { rows } = await one.query<{ n: number }>('SELECT 1 AS n');
        await one.end();
        return rows[0].n;
      };
      for (const waitMs of [0, 1, 3, 10, 50]) {
        const embedded = await openEmbeddedPostgres(place);
        // Longer than it is idle: being open keeps it.
        await sleep(20);
        expect(await query(embedded)).toBe(1);
        await embedded.close();
        await sleep(waitMs);
      }
      const embedded = await openEmbeddedPostgres(place);
      killHosts(place);
      await until(
        () => query(embedded).catch(() => undefined),
        (found) => found === 1,
      );
      await embedded.close();
    } finally {
      delete process.env.SACCADE_EMBEDDED_IDLE_MS;
    }
  });
});

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import type { FlowJob } from 'bullmq';
import { describe, expect, it } from 'vitest';

import { writeDescription } from '../../../workers/runs.js';
import { createJobClient } from '../../../workers/queue/client.js';
import type { Datastore, JobQueue, QueuedJob } from '../../../workers/queue/datastore.js';
import { trainingFlow } from '../../../workers/queue/flows.js';
import type { JobEnvelope } from '../../../workers/queue/kinds/index.js';
import { tinyExperiment, writeTinySet } from '../tinySet.js';

/** A store in which a job fails between the moments at which its row and its state are read. */
function storeWhoseJobFails(): Datastore {
  const row = (written: Partial<QueuedJob>): QueuedJob =>
    ({
      id: 'convert-1',
      name: 'convert',
      queueName: 'ingest',
      data: { version: 1, data: {}, inputs: {} },
      attemptsMade: 0,
      timestamp: 1,
      getState: () => Promise.resolve('failed'),
      ...written,
    }) as unknown as QueuedJob;
  const before = row({});
  const after = row({ attemptsMade: 1, failedReason: 'no such file', finishedOn: 2 });
  let looks = 0;
  const queue = {
    getJob: () => Promise.resolve(looks++ === 0 ? before : after),
    getJobs: () => Promise.resolve([before]),
  } as unknown as JobQueue;
  return {
    queue: () => Promise.resolve(queue),
    patiently: (work: () => Promise<unknown>) => work(),
  } as unknown as Datastore;
}

describe('what a client tells of a job', () => {
  const dead = { state: 'dead', reason: 'no such file', attempts: 1, endedMs: 2 };

  it('is no older than its state', async () => {
    const client = createJobClient(storeWhoseJobFails());
    expect(await client.job('convert-1')).toMatchObject(dead);
  });

  it('is no older than its state in a list', async () => {
    const store = storeWhoseJobFails();
    const client = createJobClient(store);
    await (await store.queue('ingest')).getJob('convert-1');
    expect(await client.list({ queues: ['ingest'] })).toMatchObject([dead]);
  });

  it('is why, where the result is not what its kind returns', async () => {
    const row = {
      ...{ id: 'collect-1', name: 'collect', queueName: 'ingest', data: { data: {} } },
      ...{ attemptsMade: 1, timestamp: 1, getState: () => Promise.resolve('completed') },
    };
    const told = async (returnvalue: unknown) => {
      const queue = { getJob: () => Promise.resolve({ ...row, returnvalue }) };
      return createJobClient({
        queue: () => Promise.resolve(queue),
        patiently: (work: () => Promise<unknown>) => work(),
      } as unknown as Datastore).job('collect-1');
    };
    const result = { file: '/a.json', jobs: 3 };
    const kind = 'collect';
    expect(await told({ version: 1, kind, result })).toMatchObject({ state: 'done', result });
    const { result: none, reason } = await told({ version: 1, kind, result: { file: 'a' } });
    expect(none).toBeUndefined();
    expect(reason).toMatch(/^result of collect-1, file: expected an absolute path/);
  });
});

describe('what is handed over', () => {
  it('has a hash of all that is read, except of what the flow itself makes', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'saccade-client-'));
    const data = join(folder, 'data');
    await writeTinySet(data, 2);
    const run = join(folder, 'run');
    await mkdir(run);
    const experiment = tinyExperiment(data);
    await writeDescription(run, { experiment, classes: ['left', 'right'], synthetic: false });
    for (const name of ['last', 'best']) await writeFile(join(run, `${name}.safetensors`), name);
    const added: FlowJob[] = [];
    const take = (job: FlowJob) => Promise.resolve(void added.push(job));
    const client = createJobClient({
      queue: () =>
        Promise.resolve({
          getJob: () => Promise.resolve(undefined),
          add: (name: string, envelope: unknown) =>
            take({ name, queueName: 'evaluate', data: envelope }),
        }),
      flows: () => Promise.resolve({ add: take }),
      patiently: (work: () => Promise<unknown>) => work(),
    } as unknown as Datastore);
    const settings = { cacheFolder: join(folder, 'cache'), part: 'test' } as const;
    await client.submit(await trainingFlow(experiment, { folder: run, ...settings }));
    await client.submit({ kind: 'evaluate', data: { path: run, ...settings } });
    const names = ({ data: envelope }: FlowJob) => Object.keys((envelope as JobEnvelope).inputs);
    const [flow, alone] = added;
    const recordings = ['left/0.es', 'left/1.es', 'right/0.es', 'right/1.es'];
    const set = [data, ...recordings.map((file) => join(data, file))];
    expect(names(flow)).toEqual(set);
    const [train] = flow.children!;
    expect([train.name, names(train)]).toEqual(['train', set]);
    expect([...new Set(train.children!.flatMap(names))].sort()).toEqual(set.slice(1));
    const own = ['last.safetensors', 'best.safetensors', 'experiment.json'];
    expect(names(alone)).toEqual([...own.map((file) => join(run, file)), ...set]);
    await rm(folder, { recursive: true });
  });
});

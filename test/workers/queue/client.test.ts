import { describe, expect, it } from 'vitest';

import { createJobClient } from '../../../workers/queue/client.js';
import type { Datastore, JobQueue, QueuedJob } from '../../../workers/queue/datastore.js';

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

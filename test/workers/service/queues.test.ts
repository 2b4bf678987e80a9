import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { SaccadeError } from '../../../engine/support/errors.js';
import {
  type JobClient,
  type JobState,
  jobStates,
  type JobSummary,
} from '../../../workers/queue/client.js';
import { queueNames } from '../../../workers/queue/kinds/index.js';
import { jobStateNames } from '../../../workers/service/messages.js';
import type { Service } from '../../../workers/service/server.js';
import { modelHere, serviceOf, writeFreshModel } from './testService.js';

/** Queues in memory, with what the routes use of a client. */
function jobsInMemory(jobs: JobSummary[]): JobClient {
  const find = (id: string): JobSummary => {
    const job = jobs.find((candidate) => candidate.id === id);
    if (job === undefined) throw new SaccadeError('input', `no such job: ${id}`);
    return job;
  };
  const change = (id: string, state: JobState): void => {
    jobs.splice(jobs.indexOf(find(id)), 1, { ...find(id), state });
  };
  const client: Partial<JobClient> = {
    job: async (id) => find(id),
    list: async ({ states = jobStates, limit = 100 } = {}) =>
      jobs.filter(({ state }) => states.includes(state)).slice(0, limit),
    counts: async () =>
      Object.fromEntries(
        queueNames.map((queue) => [
          queue,
          Object.fromEntries(
            jobStates.map((state) => [
              state,
              jobs.filter((job) => job.queue === queue && job.state === state).length,
            ]),
          ),
        ]),
      ) as Awaited<ReturnType<JobClient['counts']>>,
    async cancel(id) {
      change(id, 'dead');
      return 'stopping';
    },
    async retry(id) {
      if (find(id).state !== 'dead') throw new SaccadeError('usage', `${id} is not dead`);
      change(id, 'waiting');
    },
  };
  return client as JobClient;
}

const jobOf = (id: string, state: JobState): JobSummary => ({
  id,
  queue: 'train',
  kind: 'train',
  state,
  data: { folder: 'runs/a' },
  attempts: 1,
  cancelled: false,
  submittedMs: 1,
});

let folder: string;
let service: Service;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'saccade-'));
  const client = jobsInMemory([jobOf('train-1a', 'active'), jobOf('train-2b', 'dead')]);
  const model = await modelHere(await writeFreshModel(folder));
  service = await serviceOf(model, { queues: { kind: 'embedded', client } });
});
afterAll(async () => {
  await service.close();
  await rm(folder, { recursive: true });
});

describe('queues of a service', () => {
  const get = async <T>(url: string): Promise<T> => (await service.app.inject(url)).json<T>();
  const post = (url: string) => service.app.inject({ method: 'POST', url });

  it('are counted, listed, and measured', async () => {
    expect([...jobStateNames]).toEqual([...jobStates]);
    expect(await get('/api/queues')).toMatchObject({
      available: true,
      store: 'embedded',
      queues: { train: { active: 1, dead: 1, waiting: 0 }, infer: { active: 0 } },
    });
    const { jobs } = await get<{ jobs: JobSummary[] }>('/api/jobs');
    expect(jobs.map(({ id }) => id)).toEqual(['train-1a', 'train-2b']);
    expect(jobs[0]).toMatchObject({ progress: null, reason: null, startedMs: null });
    const dead = await get<{ jobs: JobSummary[] }>('/api/jobs?state=dead&limit=5');
    expect(dead.jobs.map(({ id }) => id)).toEqual(['train-2b']);
    const metrics = (await service.app.inject('/metrics')).body;
    expect(metrics).toContain('saccade_jobs{queue="train",state="dead"} 1');
  });

  it('take orders: cancel and retry', async () => {
    expect((await post('/api/jobs/train-1a/cancel')).json()).toEqual({ outcome: 'stopping' });
    expect((await post('/api/jobs/train-2b/retry')).json()).toEqual({ outcome: 'waiting' });
    expect((await post('/api/jobs/train-2b/retry')).statusCode).toBe(400);
    expect((await post('/api/jobs/train-3c/retry')).statusCode).toBe(404);
    expect((await get<{ jobs: JobSummary[] }>('/api/jobs?state=dead')).jobs).toHaveLength(1);
  });
});

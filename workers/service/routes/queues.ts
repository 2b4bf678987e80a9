import { z } from 'zod';

import { SaccadeError } from '../../../engine/support/errors.js';
import type { JobSummary } from '../../queue/client.js';
import { ServiceError } from '../errors.js';
import {
  cancelAnswer,
  errorMessage,
  type JobMessage,
  jobsMessage,
  jobsQuery,
  logsMessage,
  queuesMessage,
  retryAnswer,
} from '../messages.js';
import type { ServedQueues, ServiceApp, ServiceParts } from '../parts.js';

const tags = ['queues'];
const params = z.object({
  id: z.string().regex(/^[a-zA-Z]{1,32}-[0-9a-f]{1,64}$/, 'expected the name of a job'),
});

/** The queues of the workspace, where there are any. */
export function addQueueRoutes(app: ServiceApp, { queues }: ServiceParts): void {
  app.get(
    '/api/queues',
    { schema: { tags, summary: 'jobs by queue and state', response: { 200: queuesMessage } } },
    async () => {
      if (queues === undefined) return { available: false, store: null, queues: {} };
      return { available: true, store: queues.kind, queues: await queues.client.counts() };
    },
  );

  app.get(
    '/api/jobs',
    {
      schema: {
        tags,
        summary: 'jobs, the newest first',
        querystring: jobsQuery,
        response: { 200: jobsMessage, 400: errorMessage },
      },
    },
    async ({ query: { state, limit } }) => {
      if (queues === undefined) return { available: false, jobs: [] };
      const jobs = await queues.client.list({ states: state && [state], limit });
      return { available: true, jobs: jobs.map(jobOf) };
    },
  );

  app.get(
    '/api/jobs/:id/logs',
    {
      schema: {
        tags,
        summary: 'what a job said',
        params,
        response: { 200: logsMessage, 404: errorMessage },
      },
    },
    async ({ params: { id } }) => ({
      lines: [...(await clientOf(queues, id, (client) => client.logs(id)))],
    }),
  );

  app.post(
    '/api/jobs/:id/cancel',
    {
      schema: {
        tags,
        summary: 'stops a job; one in work saves what can be resumed',
        params,
        response: { 200: cancelAnswer, 404: errorMessage },
      },
    },
    async ({ params: { id } }) => ({
      outcome: await clientOf(queues, id, (client) => client.cancel(id)),
    }),
  );

  app.post(
    '/api/jobs/:id/retry',
    {
      schema: {
        tags,
        summary: 'gives a dead job back to its queue',
        params,
        response: { 200: retryAnswer, 404: errorMessage, 400: errorMessage },
      },
    },
    async ({ params: { id } }) => {
      await clientOf(queues, id, (client) => client.retry(id));
      return { outcome: 'waiting' as const };
    },
  );
}

async function clientOf<T>(
  queues: ServedQueues | undefined,
  id: string,
  use: (client: ServedQueues['client']) => Promise<T>,
): Promise<T> {
  if (queues === undefined) throw new ServiceError('missing', 'this workspace has no queues');
  await queues.client.job(id).catch((error: unknown) => {
    if (error instanceof SaccadeError && error.kind === 'input') {
      throw new ServiceError('missing', error.message);
    }
    throw error;
  });
  return use(queues.client);
}

function jobOf(job: JobSummary): JobMessage {
  const { id, queue, kind, state, data, attempts, cancelled, submittedMs } = job;
  return {
    ...{ id, queue, kind, state, data, attempts, cancelled, submittedMs },
    progress: job.progress ?? null,
    reason: job.reason ?? null,
    result: job.result ?? null,
    startedMs: job.startedMs ?? null,
    endedMs: job.endedMs ?? null,
  };
}

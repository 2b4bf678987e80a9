import { setTimeout as sleep } from 'node:timers/promises';

import { SaccadeError } from '../engine/support/errors.js';
import type { JobClient, JobSummary } from '../workers/queue/client.js';
import type { CommandIo } from './io.js';
import { commandJob } from './jobContext.js';

const intervalMs = 500;

/**
 * Follows jobs until all have ended, with their progress on standard error. Ctrl-C ends the watching, not the jobs.
 *
 * @throws SaccadeError of kind `result` where a job is dead; `interrupted`.
 */
export async function watchJobs(
  io: CommandIo,
  client: JobClient,
  ids: readonly string[],
  silent = false,
): Promise<readonly JobSummary[]> {
  const view = commandJob(io, silent);
  const lines = new Map(ids.map((id) => [id, 0]));
  let last = '';
  try {
    for (;;) {
      const jobs = await Promise.all(ids.map((id) => client.job(id)));
      const ended = jobs.filter(({ state }) => state === 'done' || state === 'dead');
      for (const { id } of jobs) {
        const logs = await client.logs(id);
        for (const line of logs.slice(lines.get(id))) view.context.onMessage?.(`${id}: ${line}`);
        lines.set(id, logs.length);
      }
      const line = JSON.stringify([ended.length, jobs.map(({ progress }) => progress)]);
      if (line !== last) show(view.context.onProgress, jobs, ended.length);
      last = line;
      if (ended.length === jobs.length) {
        const dead = jobs.filter(({ state }) => state === 'dead');
        if (dead.length === 0) return jobs;
        const [{ id, reason }] = dead;
        const more = dead.length > 1 ? ` (and ${dead.length - 1} more)` : '';
        throw new SaccadeError('result', `${id} has failed: ${reason}${more}`);
      }
      await sleep(intervalMs, undefined, { signal: io.signal }).catch(() => {
        throw new SaccadeError('interrupted', 'the jobs go on; `saccade jobs watch` follows them');
      });
    }
  } finally {
    view.done();
  }
}

/** One job by its own progress, several by how many have ended. */
function show(
  onProgress: ReturnType<typeof commandJob>['context']['onProgress'],
  jobs: readonly JobSummary[],
  ended: number,
): void {
  const [first] = jobs;
  if (jobs.length > 1) onProgress?.({ phase: 'jobs', done: ended, total: jobs.length });
  else if (first?.progress !== undefined) onProgress?.(first.progress);
}

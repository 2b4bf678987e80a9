import { DelayedError, UnrecoverableError, WaitingError } from 'bullmq';

import { SaccadeError } from '../../engine/support/errors.js';
import type { JobProgress } from '../job.js';
import type { Datastore, JobQueue, JobWorker, QueuedJob } from './datastore.js';
import {
  checkEnvelope,
  type JobEnvelope,
  kindByName,
  openResult,
  type PlainObject,
  type QueueName,
  type ResultEnvelope,
  resultVersion,
} from './kinds/index.js';
import { JobError, Slot, SlotDiedError, type SlotOptions } from './slot.js';

export interface QueueWorkerOptions extends SlotOptions {
  readonly store: Datastore;
  /** Folder of the locks that workers of a workspace share. */
  readonly lockFolder: string;
  /** Jobs at a time of each queue; queues that are not named are left to others. */
  readonly concurrency: Partial<Readonly<Record<QueueName, number>>>;
  /**
   * A worker that says nothing for so long has lost its jobs: others take them (default 30 s). It is renewed while
   * a job's process lives, so that jobs may last as long as they like.
   */
  readonly lockMs?: number;
  readonly onEvent?: (event: WorkerEvent) => void;
}

export interface WorkerEvent {
  readonly event: 'started' | 'completed' | 'failed' | 'retrying' | 'given back';
  readonly queue: QueueName;
  readonly kind: string;
  readonly jobId: string;
  /** Why it failed, is tried again, or was given back. */
  readonly reason?: string;
}

export interface QueueWorker {
  /** Jobs in work. */
  readonly active: number;
  /** Process numbers of the slots. */
  readonly pids: readonly number[];
  /**
   * Takes no more jobs, lets those in work go on for `drainMs`, then asks the rest to stop: they save what can be
   * resumed and go back into their queue.
   */
  close(drainMs?: number): Promise<void>;
}

/** How often a job in work is looked at for a wish to cancel it. */
const cancelCheckMs = 1000;
/** How often one job may be left behind by workers that die, before it is held to be the cause. */
const mostStalls = 50;
/** Errors that another attempt does not mend. */
const lasting: readonly (string | undefined)[] = ['usage', 'input', 'config', 'result', 'diverged'];

/** Takes jobs from queues and computes each in a process of its own. */
export async function startQueueWorker(options: QueueWorkerOptions): Promise<QueueWorker> {
  const { store, concurrency, lockMs = 30_000 } = options;
  const stopping = new AbortController();
  const active = new Set<string>();
  const pools: Slot[][] = [];
  const workers: JobWorker[] = [];
  const lookups: JobQueue[] = [];
  const serve = async (name: QueueName, count: number): Promise<void> => {
    const slots = Array.from({ length: count }, () => new Slot(options));
    pools.push(slots);
    const free = [...slots];
    const lookup = await store.queue(name);
    lookups.push(lookup);
    const process = async (job: QueuedJob, token: string): Promise<ResultEnvelope> => {
      const slot = free.pop()!;
      const key = `${name} ${job.id}`;
      active.add(key);
      try {
        return await processJob(job, token, slot, lookup, options, stopping.signal);
      } finally {
        active.delete(key);
        free.push(slot);
      }
    };
    workers.push(
      await store.worker(name, process, {
        concurrency: count,
        lockDuration: lockMs,
        stalledInterval: lockMs,
        maxStalledCount: mostStalls,
      }),
    );
  };
  const served = (Object.entries(concurrency) as [QueueName, number][]).filter(
    ([, count]) => count > 0,
  );
  await Promise.all(served.map(([name, count]) => serve(name, count)));

  let closed: Promise<void> | undefined;
  const close = async (drainMs: number): Promise<void> => {
    const timer = setTimeout(() => stopping.abort(), drainMs);
    try {
      await Promise.all(workers.map((worker) => worker.close()));
    } finally {
      clearTimeout(timer);
      for (const slot of pools.flat()) slot.close();
    }
    await Promise.all(lookups.map((queue) => queue.close()));
  };
  return {
    get active() {
      return active.size;
    },
    get pids() {
      return pools.flat().flatMap(({ pid }) => (pid === undefined ? [] : [pid]));
    },
    close: (drainMs = 0) => (closed ??= close(drainMs)),
  };
}

async function processJob(
  job: QueuedJob,
  token: string,
  slot: Slot,
  lookup: JobQueue,
  { store, lockFolder, onEvent }: QueueWorkerOptions,
  stopping: AbortSignal,
): Promise<ResultEnvelope> {
  const jobId = job.id!;
  const queue = lookup.name as QueueName;
  const tell = (event: WorkerEvent['event'], reason?: string): void =>
    onEvent?.({ event, queue, kind: job.name, jobId, reason });
  let envelope: JobEnvelope;
  try {
    envelope = checkEnvelope(kindByName(job.name), job.data);
  } catch (error) {
    tell('failed', (error as Error).message);
    throw new UnrecoverableError((error as Error).message);
  }
  if (envelope.cancelled !== undefined) {
    tell('failed', 'cancelled');
    throw new UnrecoverableError('cancelled');
  }
  tell('started');
  const before = job.progress as JobProgress | undefined;
  let progressed = false;
  const controller = new AbortController();
  const stop = (): void => controller.abort('stopping');
  if (stopping.aborted) stop();
  stopping.addEventListener('abort', stop, { once: true });
  const watch = setInterval(() => {
    lookup
      .getJob(jobId)
      .then((now) => {
        if (now?.data.cancelled !== undefined) controller.abort('cancelled');
      })
      // A store that is away is asked again.
      .catch(() => undefined);
  }, cancelCheckMs);
  try {
    const children = await store.patiently(() => job.getChildrenValues<ResultEnvelope>());
    const result = await slot.run(
      {
        kind: job.name,
        jobId,
        data: envelope.data,
        inputs: envelope.inputs,
        children: openChildren(children),
        lockFolder,
      },
      {
        onProgress: (progress) => {
          progressed ||= isFurther(progress, before);
          job.updateProgress({ ...progress }).catch(() => undefined);
        },
        onMessage: (text) => {
          job.log(`${new Date().toISOString()} ${text}`).catch(() => undefined);
        },
      },
      controller.signal,
    );
    tell('completed');
    return { version: resultVersion, kind: job.name, result };
  } catch (error) {
    const { message } = error as Error;
    if (error instanceof JobError && error.kind === 'interrupted') {
      if (controller.signal.reason === 'cancelled') {
        tell('failed', 'cancelled');
        throw new UnrecoverableError('cancelled; what can be resumed was saved');
      }
      tell('given back', message);
      await job.moveToWait(token);
      throw new WaitingError();
    }
    await job.log(`${new Date().toISOString()} ${message}`).catch(() => undefined);
    const told = error instanceof JobError || error instanceof SaccadeError;
    if (told && lasting.includes(error.kind)) {
      tell('failed', message);
      throw new UnrecoverableError(message);
    }
    if (error instanceof SlotDiedError && progressed) {
      // It got further than any attempt before, so it is no job that kills whoever takes it.
      tell('retrying', message);
      await job.moveToDelayed(Date.now() + 1000, token);
      throw new DelayedError();
    }
    tell(job.attemptsMade + 1 < (job.opts.attempts ?? 1) ? 'retrying' : 'failed', message);
    throw error;
  } finally {
    clearInterval(watch);
    stopping.removeEventListener('abort', stop);
  }
}

/** What the jobs returned that one waited for, in the order of their names. */
function openChildren(children: Readonly<Record<string, ResultEnvelope>>): readonly PlainObject[] {
  const names = Object.keys(children).sort();
  return names.map((name) => openResult(name, children[name]));
}

/** Whether a job got further than it ever was. */
function isFurther(now: JobProgress, before: JobProgress | undefined): boolean {
  return typeof before === 'object' && before.phase === now.phase ? now.done > before.done : true;
}

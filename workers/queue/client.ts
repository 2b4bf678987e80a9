import { createHash } from 'node:crypto';
import { isAbsolute, relative, sep } from 'node:path';

import type { FlowJob, JobsOptions } from 'bullmq';

import { SaccadeError } from '../../engine/support/errors.js';
import type { JobProgress } from '../job.js';
import type { Datastore, JobQueue, QueuedJob } from './datastore.js';
import { hashInputs, pathOf } from './inputs.js';
import {
  checkJobData,
  type JobEnvelope,
  type JobKind,
  jobKinds,
  jobVersion,
  kindByName,
  openResult,
  type PlainObject,
  type QueueName,
  queueNames,
} from './kinds/index.js';

/** A job to be done after others, which are jobs of the same sort. */
export interface JobTree {
  readonly kind: string;
  readonly data: unknown;
  readonly children?: readonly JobTree[];
}

export interface SubmitOptions {
  /** Does a job again that is done or failed. */
  readonly again?: boolean;
  /** Attempts after errors that another attempt may mend, and crashes (default 5). */
  readonly attempts?: number;
}

export interface Submitted {
  readonly id: string;
  /** Whether it is new; otherwise the same job had been submitted before. */
  readonly added: boolean;
}

/**
 * `dead` jobs have failed for good, with their reason: nobody tries them again unless asked to. `waiting` ones wait
 * for a worker, `blocked` ones for other jobs, `delayed` ones for their next attempt.
 */
export const jobStates = ['active', 'waiting', 'blocked', 'delayed', 'done', 'dead'] as const;
export type JobState = (typeof jobStates)[number];

/** What is known of a job. */
export interface JobSummary {
  readonly id: string;
  readonly queue: QueueName;
  readonly kind: string;
  readonly state: JobState;
  readonly data: PlainObject;
  readonly progress?: JobProgress;
  /** Attempts that have ended. */
  readonly attempts: number;
  /** Why it is dead, why the last attempt failed, or why its result cannot be read. */
  readonly reason?: string;
  readonly cancelled: boolean;
  readonly result?: PlainObject;
  /** Milliseconds since 1970. */
  readonly submittedMs: number;
  readonly startedMs?: number;
  readonly endedMs?: number;
}

export interface JobClient {
  /**
   * Hands over a job, or a tree of jobs of which each begins when its children are done. The name of a job is a
   * hash of its kind, data and inputs (and of the tree around it), so what is submitted twice is done once.
   *
   * @throws SaccadeError of kind `input` where data are not as the kind wants them.
   */
  submit(tree: JobTree, options?: SubmitOptions): Promise<Submitted>;
  /** @throws SaccadeError of kind `input` where there is no such job. */
  job(id: string): Promise<JobSummary>;
  /** Newest first. */
  list(options?: {
    readonly states?: readonly JobState[];
    readonly queues?: readonly QueueName[];
    readonly limit?: number;
  }): Promise<readonly JobSummary[]>;
  counts(): Promise<Readonly<Record<QueueName, Readonly<Record<JobState, number>>>>>;
  logs(id: string): Promise<readonly string[]>;
  /**
   * Stops a job: one in work saves what can be resumed and is dead, `cancelled`, within seconds; one that is not is
   * taken out of its queue. Jobs that it waited for go on.
   */
  cancel(id: string): Promise<'stopping' | 'removed' | 'ended before'>;
  /** Gives a dead job back to its queue; it goes on from what was saved, with its inputs as they are by now. */
  retry(id: string): Promise<void>;
  close(): Promise<void>;
}

/** What people and programs use of the queues. A store that goes away for a while is waited for. */
export function createJobClient(store: Datastore): JobClient {
  const queues = new Map<QueueName, Promise<JobQueue>>();
  const queueOf = (name: QueueName): Promise<JobQueue> => {
    let queue = queues.get(name);
    if (queue === undefined) {
      queues.set(name, (queue = store.queue(name)));
      queue.catch(() => queues.delete(name));
    }
    return queue;
  };
  let flows: ReturnType<Datastore['flows']> | undefined;
  const find = async (id: string): Promise<QueuedJob> => {
    const kind = jobKinds.find(({ name }) => id.startsWith(`${name}-`));
    const found = kind && (await (await queueOf(kind.queue)).getJob(id));
    if (found !== undefined) return found as QueuedJob;
    throw new SaccadeError('input', `no such job: ${id}`);
  };
  const readAgain = async (job: QueuedJob): Promise<QueuedJob> => {
    const found = await (await queueOf(job.queueName as QueueName)).getJob(job.id!);
    return (found as QueuedJob | undefined) ?? job;
  };
  /** An operation whose first attempt may have had its effect though its answer was lost. */
  const patiently = <T>(work: (repeated: boolean) => Promise<T>): Promise<T> => {
    let repeated = false;
    return store.patiently(() => work(repeated).finally(() => (repeated = true)));
  };

  return {
    async submit(tree, { again = false, attempts = 5 } = {}) {
      const root = flowOf(await seal(tree), attempts);
      const id = root.opts!.jobId!;
      return patiently(async (repeated) => {
        const queue = await queueOf(root.queueName as QueueName);
        const there = await queue.getJob(id);
        if (there !== undefined) {
          if (!again) return { id, added: repeated };
          if (['active', 'waiting', 'delayed'].includes(await there.getState())) {
            return { id, added: repeated };
          }
          await removeTree(root, queueOf);
        }
        if (root.children === undefined) {
          await queue.add(root.name, root.data as JobEnvelope, root.opts as JobsOptions);
        } else {
          flows ??= store.flows();
          flows.catch(() => (flows = undefined));
          await (await flows).add(root);
        }
        return { id, added: true };
      });
    },
    job: (id) => patiently(async () => summary(await find(id), readAgain)),
    list: ({ states = jobStates, queues: names = queueNames, limit = 100 } = {}) =>
      patiently(async () => {
        const types = states.flatMap((state) => typesOf[state]);
        const found = await Promise.all(
          names.map(async (name) => (await queueOf(name)).getJobs([...types], 0, limit - 1)),
        );
        const jobs = found.flat().filter((job) => job !== undefined);
        const all = await Promise.all(jobs.map((job) => summary(job as QueuedJob, readAgain)));
        return all.sort((a, b) => b.submittedMs - a.submittedMs).slice(0, limit);
      }),
    counts: () =>
      patiently(async () => {
        const rows = await Promise.all(
          queueNames.map(async (name) => {
            const counts = await (await queueOf(name)).getJobCounts();
            const states = jobStates.map((state) => [
              state,
              typesOf[state].reduce((sum, type) => sum + (counts[type] ?? 0), 0),
            ]);
            return [name, Object.fromEntries(states) as Record<JobState, number>];
          }),
        );
        return Object.fromEntries(rows) as Record<QueueName, Record<JobState, number>>;
      }),
    logs: (id) =>
      patiently(async () => {
        const { queueName } = await find(id);
        return (await (await queueOf(queueName as QueueName)).getJobLogs(id)).logs;
      }),
    cancel: (id) =>
      patiently(async () => {
        const job = await find(id);
        const state = await job.getState();
        if (state === 'completed' || state === 'failed') return 'ended before';
        if (state !== 'active') {
          try {
            await job.remove({ removeChildren: false });
            return 'removed';
          } catch {
            // A worker has taken it meanwhile.
          }
        }
        await job.updateData({ ...job.data, cancelled: new Date().toISOString() });
        return 'stopping';
      }),
    retry: (id) =>
      patiently(async (repeated) => {
        const job = await find(id);
        if ((await job.getState()) !== 'failed') {
          if (repeated) return;
          throw new SaccadeError('usage', `${id} is not dead, so there is nothing to retry`);
        }
        const { data, inputs } = job.data;
        const kind = kindByName(job.name);
        const checked = checkJobData(kind, data);
        const now = await hashInputs((await kind.inputs?.(checked)) ?? [], Object.keys(inputs));
        await job.updateData({ version: jobVersion, data: checked, inputs: now });
        await job.retry('failed', { resetAttemptsMade: true });
      }),
    async close() {
      const made = await Promise.allSettled([...queues.values(), flows]);
      await Promise.all(
        made.map((result) => (result.status === 'fulfilled' ? result.value?.close() : undefined)),
      );
    },
  };
}

const typesOf = {
  active: ['active'],
  waiting: ['waiting', 'prioritized'],
  blocked: ['waiting-children'],
  delayed: ['delayed'],
  done: ['completed'],
  dead: ['failed'],
} as const;

async function summary(
  before: QueuedJob,
  readAgain: (job: QueuedJob) => Promise<QueuedJob>,
): Promise<JobSummary> {
  const type = await before.getState();
  // What it came with was perhaps written after the first look: what is told is no older than the state.
  const job = movesWith.has(type) ? await readAgain(before) : before;
  const state = jobStates.find((name) => (typesOf[name] as readonly string[]).includes(type));
  const { progress } = job as { progress?: unknown };
  const { result, damage } = resultOf(job);
  return {
    id: job.id!,
    queue: job.queueName as QueueName,
    kind: job.name,
    state: state ?? 'waiting',
    data: job.data.data,
    progress: typeof progress === 'object' ? (progress as JobProgress) : undefined,
    attempts: job.attemptsMade,
    reason: job.failedReason || damage,
    cancelled: job.data.cancelled !== undefined,
    result,
    submittedMs: job.timestamp,
    startedMs: job.processedOn ?? undefined,
    endedMs: job.finishedOn ?? undefined,
  };
}

/** One result that cannot be read is told of its job; the others of a list are there all the same. */
function resultOf({ id, returnvalue }: QueuedJob): { result?: PlainObject; damage?: string } {
  if (returnvalue === null || returnvalue === undefined) return {};
  try {
    return { result: openResult(id!, returnvalue) };
  } catch (error) {
    return { damage: (error as Error).message };
  }
}

/** States that come with new attempts, reasons or results. */
const movesWith: ReadonlySet<string> = new Set(['delayed', 'completed', 'failed']);

interface SealedTree {
  readonly kind: JobKind;
  readonly envelope: JobEnvelope;
  readonly children: readonly SealedTree[];
  /** Files and folders that it and those below it make. */
  readonly made: readonly string[];
}

/** Checks a tree, and hashes what each of its jobs reads, except what those below it make. */
async function seal(
  { kind: name, data, children = [] }: JobTree,
  known: Parameters<typeof hashInputs>[2] = new Map(),
): Promise<SealedTree> {
  const kind = kindByName(name);
  const checked = checkJobData(kind, data);
  const below: SealedTree[] = [];
  for (const child of children) below.push(await seal(child, known));
  const own = kind.resource?.(checked);
  const made = below.flatMap((child) => child.made);
  const inputs = (await kind.inputs?.(checked)) ?? [];
  const paths = inputs.map(pathOf).filter((path) => !made.some((place) => isWithin(path, place)));
  const hashes = await hashInputs(inputs, paths, known);
  return {
    kind,
    envelope: { version: jobVersion, data: checked, inputs: hashes },
    children: below,
    made: own === undefined ? made : [...made, own],
  };
}

/** Whether a path is another one, or lies below it. */
function isWithin(path: string, place: string): boolean {
  const way = relative(place, path);
  return way === '' || !(way === '..' || way.startsWith(`..${sep}`) || isAbsolute(way));
}

/** A tree as BullMQ wants it, with names that tell equal trees. Those below the root belong to this tree alone. */
function flowOf(tree: SealedTree, attempts: number): FlowJob {
  const build = ({ kind, envelope, children }: SealedTree, within: string): FlowJob => {
    const hash = hashOf([within, kind.name, envelope]);
    return {
      name: kind.name,
      queueName: kind.queue,
      data: envelope,
      opts: {
        jobId: `${kind.name}-${hash}`,
        attempts,
        backoff: { type: 'exponential', delay: 1000, jitter: 0.5 },
        failParentOnFailure: true,
        keepLogs: 1000,
      },
      children: children.length > 0 ? children.map((child) => build(child, hash)) : undefined,
    };
  };
  return build(tree, hashOf(tree.children));
}

function hashOf(value: unknown): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 16);
}

async function removeTree(
  { opts, queueName, children = [] }: FlowJob,
  queueOf: (name: QueueName) => Promise<JobQueue>,
): Promise<void> {
  const queue = await queueOf(queueName as QueueName);
  await (await queue.getJob(opts!.jobId!))?.remove();
  await Promise.all(children.map((child) => removeTree(child, queueOf)));
}

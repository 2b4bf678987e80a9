import { z } from 'zod';

import type { JobInput } from '../inputs.js';
import type { JobContext } from '../../job.js';

export const queueNames = ['ingest', 'train', 'evaluate', 'infer'] as const;
export type QueueName = (typeof queueNames)[number];

/** Plain data that can be sent as JSON. */
export type Plain = null | boolean | number | string | readonly Plain[] | PlainObject;
export interface PlainObject {
  readonly [name: string]: Plain | undefined;
}

/** What a queued job's processor gets besides what every job does. */
export interface QueuedContext extends JobContext {
  /** Name of the job in its queue. The same for each attempt, so that effects can be told from repeats. */
  readonly jobId: string;
  /** What the jobs returned that this one waited for, in the order of their names. */
  readonly children: readonly PlainObject[];
}

/** A kind of job that a queue carries: what its data look like and what it does. */
export interface JobKind<Data = unknown, Result extends PlainObject = PlainObject> {
  readonly name: string;
  readonly queue: QueueName;
  /** One sentence, for people. */
  readonly summary: string;
  /** Data hold references (paths, settings), never events. */
  readonly schema: z.ZodType<Data>;
  /** What it returns: figures and references, kept small. Every field of it, so that whoever reads it can rely on it. */
  readonly result: z.ZodType<Result>;
  /**
   * What it reads. The job holds a content hash of each beside its data, and is refused where one is another by the time
   * that it runs. What jobs of the same flow are to make (by their `resource`) cannot be hashed before it is there, and is not.
   */
  inputs?(data: Data): Promise<readonly JobInput[]> | readonly JobInput[];
  /** The file or folder that two jobs must not write at the same time; none where whatever is made appears whole. */
  resource?(data: Data): string;
  /**
   * Does the work. Run again with the same data, after an end at any moment, it leaves the same files and
   * returns the same.
   */
  run(data: Data, context: QueuedContext): Promise<Result>;
}

/** Keeps a kind's own types while it is written, and forgets them in the registry. */
export function defineKind<Data, Result extends PlainObject>(kind: JobKind<Data, Result>): JobKind {
  return kind as unknown as JobKind;
}

/** How many of something there are. */
export const countSchema = z.number().int().min(0);
/** A share of something, 0 … 1. */
export const shareSchema = z.number().min(0).max(1);

/** An absolute path. Workers have other working folders than those who submit. */
export const pathSchema = z
  .string()
  .min(1)
  .max(4096)
  .refine((path) => path.startsWith('/') || /^[A-Za-z]:[\\/]/.test(path), {
    message: 'expected an absolute path',
  });

export const sensorSchema = z.strictObject({
  width: z.number().int().min(1).max(65_536),
  height: z.number().int().min(1).max(65_536),
});

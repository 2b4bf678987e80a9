import type { ErrorKind, ErrorPlace } from '../../engine/support/errors.js';
import type { JobProgress } from '../job.js';
import type { InputHashes } from './inputs.js';
import type { PlainObject } from './kinds/index.js';

/** What a slot's process is asked to do. */
export interface SlotJob {
  readonly kind: string;
  readonly jobId: string;
  readonly data: PlainObject;
  readonly inputs: InputHashes;
  readonly children: readonly PlainObject[];
  /** Folder of the locks that keep two processes from making the same thing at once. */
  readonly lockFolder: string;
}

/** From the worker to a slot's process. */
export type ToSlot = { readonly type: 'run'; readonly job: SlotJob } | { readonly type: 'stop' };

/** An error on its way between processes. */
export interface SentError {
  readonly kind?: ErrorKind;
  readonly message: string;
  readonly place?: ErrorPlace;
  readonly stack?: string;
}

/** From a slot's process to the worker. */
export type FromSlot =
  | { readonly type: 'alive' }
  | { readonly type: 'progress'; readonly progress: JobProgress }
  | { readonly type: 'message'; readonly text: string }
  | { readonly type: 'done'; readonly result: PlainObject }
  | { readonly type: 'failed'; readonly error: SentError };

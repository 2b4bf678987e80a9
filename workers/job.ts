/**
 * What a job gets from whoever runs it: the command line runs jobs in its own process, a queue's worker
 * in another. A job is a plain async function of its data and this.
 */
export interface JobContext {
  /** Aborts when the job should stop; it then leaves what can be resumed and throws `interrupted`. */
  readonly signal?: AbortSignal;
  /** How far the current part of the work is. */
  readonly onProgress?: (progress: JobProgress) => void;
  /** A sentence for the user. */
  readonly onMessage?: (message: string) => void;
}

export interface JobProgress {
  /** What is being done, e.g. `prepare` or `train`; a new name starts a new count. */
  readonly phase: string;
  readonly done: number;
  readonly total: number;
  readonly info?: string;
}

import type { JobContext } from '../workers/job.js';
import { note, type CommandIo } from './io.js';
import { createProgress, type Progress } from './progress.js';

/** What a command hands to a job, and what it calls when the job has ended. */
export interface CommandJob {
  readonly context: JobContext;
  /** Frees the terminal. Call it in a `finally`. */
  done(): void;
}

/** Shows a job's progress and messages on standard error; nothing with `silent`. */
export function commandJob(io: CommandIo, silent = false): CommandJob {
  let phase: string | undefined;
  let progress: Progress | undefined;
  const close = (): void => {
    progress?.done();
    progress = undefined;
  };
  return {
    context: {
      signal: io.signal,
      onProgress: ({ phase: name, done, total, info }) => {
        if (name !== phase) {
          close();
          phase = name;
          // What an earlier run had done is there from the start: it doesn't count for the ETA.
          const start = Math.max(0, done - 1);
          progress = createProgress({ label: name, total, start, silent, stream: io.stderr });
        }
        progress?.update(done, info);
      },
      onMessage: (message) => {
        if (silent) return;
        close();
        phase = undefined;
        note(io, message);
      },
    },
    done: close,
  };
}

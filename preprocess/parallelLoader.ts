import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';

import { SaccadeError } from '../engine/support/errors.js';
import { type ClipBatch, type EpochOptions, shuffledBatches, shuffledIndices } from './loader.js';
import { type LoadAnswer, type LoadRequest, threadData } from './loaderMessages.js';

export interface ParallelOptions extends EpochOptions {
  /** Threads that load; with 0, batches are made where they are asked for. */
  readonly workers: number;
  /** Batches that are asked of each thread ahead of their use; memory holds so many at most. */
  readonly prefetch: number;
  /** The compiled `loaderThread.ts`, where it does not lie beside this module, as in a bundle. */
  readonly entry?: URL;
}

/** Threads that make the batches of epochs ahead of their use. */
export interface ParallelLoader {
  /** Threads that there are; 0 where their compiled code is not there, as when sources are run. */
  readonly workers: number;
  /**
   * The batches of `shuffledBatches`, in its order, whatever the number of threads.
   *
   * @throws SaccadeError that names the clip which cannot be read; of kind `environment` where a thread dies.
   */
  epoch(epoch: number, start?: number): AsyncGenerator<ClipBatch>;
  /** Ends all threads; what is still asked of them fails with `interrupted`. */
  close(): Promise<void>;
}

/** Starts the threads of a loader. They do not keep a process alive while nothing is asked of them. */
export function openLoader(options: ParallelOptions): ParallelLoader {
  const { entry = new URL('./loaderThread.js', import.meta.url), prefetch } = options;
  const count = existsSync(fileURLToPath(entry)) ? options.workers : 0;
  const data = count > 0 ? threadData(options) : undefined;
  const threads = Array.from({ length: count }, () => startThread(entry, data));

  async function* epoch(number: number, start = 0): AsyncGenerator<ClipBatch> {
    if (count === 0) {
      yield* shuffledBatches(options, number, start);
      return;
    }
    const batches = shuffledIndices(options, number);
    const ahead: Promise<ClipBatch>[] = [];
    let next = start;
    const ask = (): void => {
      for (; ahead.length < count * prefetch && next < batches.length; next++) {
        const idlest = threads.reduce((a, b) => (b.pending() < a.pending() ? b : a));
        const asked = idlest.load(number, batches[next]);
        // A failure is thrown when its turn comes, or never where the caller stops before.
        asked.catch(() => undefined);
        ahead.push(asked);
      }
    };
    ask();
    while (ahead.length > 0) {
      const batch = await ahead.shift()!;
      ask();
      yield batch;
    }
  }

  return {
    workers: count,
    epoch,
    close: async () => {
      await Promise.all(threads.map((thread) => thread.close()));
    },
  };
}

interface Thread {
  /** Batches that were asked for and are not there yet. */
  pending(): number;
  load(epoch: number, chosen: Uint32Array): Promise<ClipBatch>;
  close(): Promise<void>;
}

interface Waiting {
  readonly resolve: (batch: ClipBatch) => void;
  readonly reject: (error: Error) => void;
}

function startThread(entry: URL, workerData: unknown): Thread {
  const worker = new Worker(entry, { workerData });
  worker.unref();
  const waiting = new Map<number, Waiting>();
  /** Why nothing can be asked any more. */
  let ended: Error | undefined;
  let lastId = 0;

  const settle = (id: number): Waiting | undefined => {
    const found = waiting.get(id);
    waiting.delete(id);
    if (waiting.size === 0) worker.unref();
    return found;
  };
  const end = (error: Error): void => {
    ended ??= error;
    for (const { reject } of waiting.values()) reject(ended);
    waiting.clear();
  };
  worker.on('message', (answer: LoadAnswer) => {
    const asked = settle(answer.id);
    if ('batch' in answer) asked?.resolve(answer.batch);
    else asked?.reject(failed(answer.failure));
  });
  worker.on('error', (error) => {
    end(new SaccadeError('environment', `a loader thread failed: ${error.message}`, {}, error));
  });
  worker.on('exit', (code) => {
    end(new SaccadeError('environment', `a loader thread ended unexpectedly (exit code ${code})`));
  });

  return {
    pending: () => waiting.size,
    load: (epoch, chosen) =>
      new Promise((resolve, reject) => {
        if (ended !== undefined) {
          reject(ended);
          return;
        }
        const id = ++lastId;
        waiting.set(id, { resolve, reject });
        worker.ref();
        const request: LoadRequest = { id, epoch, chosen };
        worker.postMessage(request);
      }),
    close: async () => {
      end(new SaccadeError('interrupted', 'the loader was closed'));
      await worker.terminate();
    },
  };
}

function failed({
  kind,
  message,
}: {
  readonly kind?: SaccadeError['kind'];
  readonly message: string;
}): Error {
  return kind === undefined ? new Error(message) : new SaccadeError(kind, message);
}

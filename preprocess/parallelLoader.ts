import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';

import { SaccadeError } from '../engine/support/errors.js';
import {
  batchesInOrder,
  type Clip,
  type ClipBatch,
  epochParts,
  type EpochOptions,
  indicesInOrder,
  shuffledBatches,
} from './loader.js';
import {
  type BatchRequest,
  type LoadAnswer,
  type LoadRequest,
  threadData,
} from './loaderMessages.js';

export interface ParallelOptions extends EpochOptions {
  /** Threads that load; with 0, batches are made where they are asked for. */
  readonly workers: number;
  /** Batches that are asked of each thread ahead of their use; memory holds so many and two more at most. */
  readonly prefetch: number;
  /** Whether each batch is done with when the next but one is asked for: its memory is used again. */
  readonly reuse?: boolean;
  /** Clips of `validation`; none where not given. */
  readonly validation?: readonly Clip[];
  /** The compiled `loaderThread.ts`, where it does not lie beside this module, as in a bundle. */
  readonly entry?: URL;
}

/** Threads that make batches ahead of their use. */
export interface ParallelLoader {
  /** Threads that there are; 0 where their compiled code is not there, as when sources are run. */
  readonly workers: number;
  /**
   * The batches of `shuffledBatches`, in its order, whatever the number of threads.
   *
   * @throws SaccadeError that names the clip which cannot be read; of kind `environment` where a thread dies.
   */
  epoch(epoch: number, start?: number): AsyncGenerator<ClipBatch>;
  /** The batches of `batchesInOrder` of the clips for validation, likewise. */
  validation(): AsyncGenerator<ClipBatch>;
  /** Ends all threads; what is still asked of them fails with `interrupted`. */
  close(): Promise<void>;
}

/** Starts the threads of a loader. They do not keep a process alive while nothing is asked of them. */
export function openLoader(options: ParallelOptions): ParallelLoader {
  const { prefetch, reuse = false, validation = [] } = options;
  const { entry = new URL('./loaderThread.js', import.meta.url) } = options;
  const count = existsSync(fileURLToPath(entry)) ? options.workers : 0;
  const data = count > 0 ? threadData(options, validation) : undefined;
  const threads = Array.from({ length: count }, () => startThread(entry, data));
  const inOrder = { ...options, clips: validation };
  /** Memory of batches that are done with. */
  const spare: ArrayBuffer[] = [];

  async function* loaded(requests: readonly BatchRequest[]): AsyncGenerator<ClipBatch> {
    const ahead: Promise<ClipBatch>[] = [];
    let next = 0;
    const ask = (): void => {
      for (; ahead.length < count * prefetch && next < requests.length; next++) {
        const idlest = threads.reduce((a, b) => (b.pending() < a.pending() ? b : a));
        const asked = idlest.load({ ...requests[next], memory: spare.pop() });
        // A failure is thrown when its turn comes, or never where the caller stops before.
        asked.catch(() => undefined);
        ahead.push(asked);
      }
    };
    ask();
    let before: ClipBatch | undefined;
    while (ahead.length > 0) {
      const batch = await ahead.shift()!;
      ask();
      yield batch;
      // This one may still be in use while its caller waits for the next.
      if (reuse && before !== undefined) spare.push(before.inputs.buffer as ArrayBuffer);
      before = batch;
    }
  }

  async function* epoch(number: number, start = 0): AsyncGenerator<ClipBatch> {
    if (count === 0) {
      yield* shuffledBatches(options, number, start);
      return;
    }
    const parts = epochParts(options, number).slice(start);
    let next = 0;
    for await (const batch of loaded(parts.map(({ chosen }) => ({ epoch: number, chosen })))) {
      yield { ...batch, part: parts[next++].part };
    }
  }

  return {
    workers: count,
    epoch,
    async *validation() {
      if (count === 0) yield* batchesInOrder(inOrder);
      else yield* loaded(indicesInOrder(inOrder).map((chosen) => ({ chosen })));
    },
    close: async () => {
      await Promise.all(threads.map((thread) => thread.close()));
    },
  };
}

interface Thread {
  /** Batches that were asked for and are not there yet. */
  pending(): number;
  /** Memory that is handed in moves to the thread. */
  load(request: BatchRequest): Promise<ClipBatch>;
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
    load: (request) =>
      new Promise((resolve, reject) => {
        if (ended !== undefined) {
          reject(ended);
          return;
        }
        const id = ++lastId;
        waiting.set(id, { resolve, reject });
        worker.ref();
        const numbered: LoadRequest = { ...request, id };
        worker.postMessage(numbered, request.memory === undefined ? [] : [request.memory]);
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

import { Worker } from 'node:worker_threads';

import { SaccadeError, type ErrorKind, type ErrorPlace } from './support/errors.js';

/** What a task gets beside its argument. */
export interface TaskContext {
  /** Aborts when the caller's signal does. A task sees it only where it awaits something. */
  readonly signal: AbortSignal;
  /** Both go to the callbacks that the caller gave. */
  readonly onProgress: (progress: unknown) => void;
  readonly onMessage: (message: string) => void;
}

/** What a thread can do, by name. Arguments and results are plain data and typed arrays, no tensors. */
export type Tasks = Readonly<Record<string, (argument: never, context: TaskContext) => unknown>>;

/**
 * Default export of a module of tasks: called once in the new thread. It selects the backend there and
 * loads what the tasks share.
 */
export type TaskModule<T extends Tasks, Setup> = (setup: Setup) => T | Promise<T>;

export interface RunOptions {
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: never) => void;
  readonly onMessage?: (message: string) => void;
  /** Buffers of the argument to hand over instead of copying them; the caller's arrays become empty. */
  readonly transfer?: readonly ArrayBuffer[];
}

/** What the caller's thread sends. */
export type Request =
  | { readonly id: number; readonly task: string; readonly argument: unknown }
  | { readonly id: number; readonly abort: true };

/** What the computing thread sends; id 0 is its start. */
export type Reply =
  | { readonly id: number; readonly value: unknown }
  | { readonly id: number; readonly error: PlainError }
  | { readonly id: number; readonly progress: unknown }
  | { readonly id: number; readonly message: string };

/** An error as data: classes do not survive the way between threads. */
export interface PlainError {
  readonly kind?: ErrorKind;
  readonly place?: ErrorPlace;
  readonly message: string;
  readonly stack?: string;
}

interface Pending {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
  readonly options: RunOptions;
}

/**
 * A thread that computes while this one's event loop goes on turning: a backend blocks its caller until a
 * kernel is done, so a service calls models from here. The thread has its own TensorFlow.js, with its
 * own backend and tensors; the native backend's pool of threads serves all.
 *
 * Tasks run one after the other, in the order of the calls. An idle thread does not keep the process alive.
 */
export class ComputeThread<T extends Tasks> {
  private readonly pending = new Map<number, Pending>();
  private nextId = 0;
  private ended: SaccadeError | undefined;

  private constructor(private readonly worker: Worker) {
    worker.on('message', (reply: Reply) => this.receive(reply));
    worker.on('error', (error) => {
      const reason = `the computing thread failed: ${error.message}`;
      this.end(new SaccadeError('environment', reason, {}, error));
    });
    worker.on('exit', (code) => {
      this.end(new SaccadeError('environment', `the computing thread ended with code ${code}`));
    });
  }

  /**
   * Starts a thread with the tasks of a module.
   *
   * @param module whose default export is a `TaskModule`.
   * @param setup given to it; plain data.
   * @throws what the module throws; SaccadeError of kind `environment` where the thread does not start.
   */
  static async start<T extends Tasks, Setup = undefined>(
    module: URL,
    setup: Setup,
  ): Promise<ComputeThread<T>> {
    const worker = new Worker(new URL('./computeThreadMain.js', import.meta.url), {
      workerData: { module: module.href, setup },
    });
    const thread = new ComputeThread<T>(worker);
    try {
      await thread.expect({});
    } catch (error) {
      await thread.close();
      throw error;
    }
    return thread;
  }

  /**
   * Runs a task.
   *
   * @throws what the task throws, a SaccadeError as such; SaccadeError of kind `environment` where the
   *   thread ends meanwhile, `interrupted` where it is closed or the signal had aborted before.
   */
  async run<Name extends keyof T & string>(
    task: Name,
    argument: Parameters<T[Name]>[0],
    options: RunOptions = {},
  ): Promise<Awaited<ReturnType<T[Name]>>> {
    const { signal, transfer = [] } = options;
    if (signal?.aborted) throw new SaccadeError('interrupted', `${task} was stopped`);
    if (this.ended !== undefined) throw this.ended;
    const id = this.nextId;
    const result = this.expect(options);
    const abort = (): void => this.send({ id, abort: true });
    signal?.addEventListener('abort', abort);
    try {
      this.send({ id, task, argument }, transfer);
    } catch (error) {
      // Not data that can be sent.
      this.settle(id)?.reject(error as Error);
    }
    try {
      return (await result) as Awaited<ReturnType<T[Name]>>;
    } finally {
      signal?.removeEventListener('abort', abort);
    }
  }

  /** Ends the thread, at the latest after the kernel that it is in. What it still had to do is rejected. */
  async close(): Promise<void> {
    this.end(new SaccadeError('interrupted', 'the computing thread was closed'));
    await this.worker.terminate();
  }

  private send(request: Request, transfer: readonly ArrayBuffer[] = []): void {
    this.worker.postMessage(request, transfer);
  }

  private expect(options: RunOptions): Promise<unknown> {
    this.worker.ref();
    return new Promise((resolve, reject) => {
      this.pending.set(this.nextId++, { resolve, reject, options });
    });
  }

  private receive(reply: Reply): void {
    if ('progress' in reply) {
      this.pending.get(reply.id)?.options.onProgress?.(reply.progress as never);
    } else if ('message' in reply) {
      this.pending.get(reply.id)?.options.onMessage?.(reply.message);
    } else {
      const call = this.settle(reply.id);
      if ('error' in reply) call?.reject(toError(reply.error));
      else call?.resolve(reply.value);
    }
  }

  private settle(id: number): Pending | undefined {
    const call = this.pending.get(id);
    this.pending.delete(id);
    if (this.pending.size === 0) this.worker.unref();
    return call;
  }

  private end(reason: SaccadeError): void {
    this.ended ??= reason;
    for (const id of [...this.pending.keys()]) this.settle(id)?.reject(this.ended);
  }
}

function toError({ kind, place, message, stack }: PlainError): Error {
  const error = kind === undefined ? new Error(message) : new SaccadeError(kind, message, place);
  // Where it happened, rather than where it arrived.
  if (stack !== undefined) error.stack = stack;
  return error;
}

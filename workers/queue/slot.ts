import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';

import type { ErrorKind } from '../../engine/support/errors.js';
import type { JobProgress } from '../job.js';
import type { PlainObject } from './kinds/index.js';
import type { FromSlot, SlotJob, ToSlot } from './messages.js';

export interface SlotOptions {
  /** Jobs after which the process is replaced, so that no leak grows (default 100). */
  readonly jobsPerProcess?: number;
  /**
   * A process that gives no sign of life for so long is killed (default 5 minutes: one training step). Before its
   * first one it is starting, which may take a minute on a busy machine.
   */
  readonly silenceMs?: number;
}

const startPatienceMs = 60_000;

export interface SlotListener {
  readonly onProgress?: (progress: JobProgress) => void;
  readonly onMessage?: (text: string) => void;
}

/** What a job threw in its process. */
export class JobError extends Error {
  /** Undefined for errors that were not foreseen. */
  readonly kind: ErrorKind | undefined;

  constructor(message: string, kind?: ErrorKind, stack?: string) {
    super(message);
    this.name = 'JobError';
    this.kind = kind;
    if (stack !== undefined) this.stack = stack;
  }
}

/** The process ended in the middle of a job: killed, out of memory, crashed. The job can be tried again. */
export class SlotDiedError extends Error {
  override readonly name = 'SlotDiedError';
}

interface Current {
  readonly listener: SlotListener;
  readonly resolve: (result: PlainObject) => void;
  readonly reject: (error: Error) => void;
}

/**
 * A place where one job at a time is computed, in a process of its own: whatever a job does to its process, the
 * worker goes on renewing locks and serving other jobs. The process is started when first needed, kept for the
 * next job, and replaced when it dies, falls silent, or has done its share.
 */
export class Slot {
  private child: ChildProcess | undefined;
  private current: Current | undefined;
  private jobs = 0;
  private heardAt = 0;
  private heard = false;
  private watch: NodeJS.Timeout | undefined;
  private readonly jobsPerProcess: number;
  private readonly silenceMs: number;

  constructor({ jobsPerProcess = 100, silenceMs = 300_000 }: SlotOptions = {}) {
    this.jobsPerProcess = jobsPerProcess;
    this.silenceMs = silenceMs;
  }

  /** Process number while there is one. */
  get pid(): number | undefined {
    return this.child?.pid;
  }

  /**
   * Computes a job. An abort asks it to stop: it then saves what can be resumed and fails as `interrupted`.
   *
   * @throws JobError with what the job threw; SlotDiedError.
   */
  async run(job: SlotJob, listener: SlotListener, signal: AbortSignal): Promise<PlainObject> {
    if (this.current !== undefined) throw new Error('a slot computes one job at a time');
    const child = (this.child ??= this.start());
    const stop = (): void => send(child, { type: 'stop' });
    this.heardAt = Date.now();
    this.jobs++;
    try {
      return await new Promise<PlainObject>((resolve, reject) => {
        this.current = { listener, resolve, reject };
        send(child, { type: 'run', job });
        if (signal.aborted) stop();
        signal.addEventListener('abort', stop, { once: true });
      });
    } finally {
      signal.removeEventListener('abort', stop);
      this.current = undefined;
      if (this.jobs >= this.jobsPerProcess) this.close();
    }
  }

  /** Ends the process at once. */
  close(): void {
    const { child } = this;
    this.forget();
    child?.kill('SIGKILL');
  }

  private start(): ChildProcess {
    const script = fileURLToPath(new URL('./slotProcess.js', import.meta.url));
    const child = fork(script, [], { execArgv: [], stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
    this.jobs = 0;
    this.heard = false;
    child.on('message', (message: FromSlot) => {
      if (child === this.child) this.hear(message);
    });
    child.on('error', (error) => this.died(child, error.message));
    child.on('exit', (code, killed) =>
      this.died(child, killed === null ? `it left with ${code}` : `it was ended by ${killed}`),
    );
    this.watch = setInterval(
      () => {
        const patienceMs = Math.max(this.silenceMs, this.heard ? 0 : startPatienceMs);
        if (this.current === undefined || Date.now() - this.heardAt <= patienceMs) return;
        this.died(child, `no sign of life for ${this.silenceMs / 1000} s`);
        child.kill('SIGKILL');
      },
      Math.min(1000, this.silenceMs / 2),
    );
    this.watch.unref();
    return child;
  }

  private hear(message: FromSlot): void {
    this.heardAt = Date.now();
    this.heard = true;
    const { current } = this;
    if (current === undefined) return;
    switch (message.type) {
      case 'alive':
        break;
      case 'progress':
        current.listener.onProgress?.(message.progress);
        break;
      case 'message':
        current.listener.onMessage?.(message.text);
        break;
      case 'done':
        current.resolve(message.result);
        break;
      case 'failed': {
        const { message: text, kind, stack } = message.error;
        current.reject(new JobError(text, kind, stack));
      }
    }
  }

  private died(child: ChildProcess, reason: string): void {
    if (child !== this.child) return;
    this.forget();
    this.current?.reject(new SlotDiedError(`the process of the job ended: ${reason}`));
  }

  private forget(): void {
    clearInterval(this.watch);
    this.child = undefined;
  }
}

function send(child: ChildProcess, message: ToSlot): void {
  // One that died meanwhile is told of by its exit.
  if (child.connected) child.send(message, () => undefined);
}

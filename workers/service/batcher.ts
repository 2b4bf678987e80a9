import { SaccadeError } from '../../engine/support/errors.js';
import type { BinBatch, BinBatchResult, SpikeSample } from './batchTasks.js';

/** One time bin of one stream, on its way to the model. */
export interface BinJob {
  /** `[channels, height, width]`. */
  readonly values: Float32Array;
  /** Whether a new clip begins with it. */
  readonly fresh: boolean;
  /** Whether its spikes are wanted. */
  readonly watched: boolean;
  /** Asked when its turn has come, and all bins of its stream before it have been answered. */
  readonly isNeeded?: () => boolean;
}

export interface BinResult {
  readonly probabilities: Float32Array;
  /** Bins that the state holds, this one included. */
  readonly frames: number;
  readonly spikes: SpikeSample | undefined;
}

export interface BatcherOptions {
  /** The model: steps the state of each stream by one bin. */
  readonly step: (batch: BinBatch) => Promise<BinBatchResult>;
  /** The most streams of a batch. */
  readonly maxBatch: number;
  /** How long a bin waits for those of other streams at most, where the model is free. */
  readonly waitMs: number;
  /** Called when a batch begins; what it returns is called when it has ended. */
  readonly onBatch?: (size: number) => (error?: unknown) => void;
}

interface Waiting {
  readonly job: BinJob;
  readonly sinceMs: number;
  readonly resolve: (result: BinResult | undefined) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Brings the bins of many streams through one model, several at a time. Fair: a batch holds one bin of each stream,
 * and the streams take turns. While the model computes, the next batch gathers; where it is free, a bin waits
 * `waitMs` for company at most, and not at all where every stream has come.
 *
 * A stream's bins keep their order. How many may wait is up to those who submit them.
 */
export class Batcher {
  private readonly queues = new Map<number, Waiting[]>();
  private readonly streams = new Set<number>();
  private busy = false;
  private timer: NodeJS.Timeout | undefined;
  private closed: unknown;

  constructor(private readonly options: BatcherOptions) {}

  /** Says that a stream is there, for which a batch may wait. */
  add(stream: number): void {
    this.streams.add(stream);
  }

  /** Takes a stream out. Its bins that still wait are rejected as `interrupted`. */
  remove(stream: number): void {
    this.streams.delete(stream);
    const waiting = this.queues.get(stream) ?? [];
    this.queues.delete(stream);
    const reason = new SaccadeError('interrupted', 'the stream was ended');
    for (const { reject } of waiting) reject(reason);
    this.wake();
  }

  /** @returns undefined where the bin is not needed any more, so that it was not computed. */
  submit(stream: number, job: BinJob): Promise<BinResult | undefined> {
    if (this.closed !== undefined) return Promise.reject(this.closed as Error);
    return new Promise((resolve, reject) => {
      const waiting = { job, sinceMs: performance.now(), resolve, reject };
      const queue = this.queues.get(stream);
      if (queue === undefined) this.queues.set(stream, [waiting]);
      else queue.push(waiting);
      this.wake();
    });
  }

  /** Rejects what waits, and what is submitted from now on. */
  close(reason: unknown): void {
    this.closed ??= reason;
    clearTimeout(this.timer);
    for (const { reject } of [...this.queues.values()].flat()) reject(reason);
    this.queues.clear();
  }

  private wake(): void {
    if (this.busy || this.queues.size === 0) return;
    const { maxBatch, waitMs } = this.options;
    const isFull = this.queues.size >= Math.min(maxBatch, this.streams.size);
    const oldestMs = Math.min(...[...this.queues.values()].map(([{ sinceMs }]) => sinceMs));
    const leftMs = isFull ? 0 : oldestMs + waitMs - performance.now();
    if (leftMs <= 0) void this.run();
    else this.timer ??= setTimeout(() => void this.run(), leftMs);
  }

  private async run(): Promise<void> {
    clearTimeout(this.timer);
    this.timer = undefined;
    if (this.busy || this.queues.size === 0) return;
    const batch = this.take();
    if (batch.length === 0) return;
    this.busy = true;
    const ended = this.options.onBatch?.(batch.length);
    try {
      const length = batch[0].waiting.job.values.length;
      const values = new Float32Array(batch.length * length);
      batch.forEach(({ waiting }, i) => values.set(waiting.job.values, i * length));
      const { probabilities, frames, spikes } = await this.options.step({
        streams: batch.map(({ stream }) => stream),
        fresh: batch.map(({ waiting }) => waiting.job.fresh),
        watched: batch.map(({ waiting }) => waiting.job.watched),
        values,
      });
      ended?.();
      const classes = probabilities.length / batch.length;
      batch.forEach(({ waiting }, i) =>
        waiting.resolve({
          probabilities: probabilities.slice(i * classes, (i + 1) * classes),
          frames: frames[i],
          spikes: spikes[i],
        }),
      );
    } catch (error) {
      ended?.(error);
      for (const { waiting } of batch) waiting.reject(error);
    } finally {
      this.busy = false;
      // When those who wait for this batch have heard of it: what they have waiting may not be needed any more.
      queueMicrotask(() => this.wake());
    }
  }

  /** The oldest bin of each stream whose turn it is. Streams that have more go to the end of the line. */
  private take(): { stream: number; waiting: Waiting }[] {
    const batch: { stream: number; waiting: Waiting }[] = [];
    for (const [stream, queue] of [...this.queues]) {
      if (batch.length >= this.options.maxBatch) break;
      while (queue[0]?.job.isNeeded?.() === false) queue.shift()!.resolve(undefined);
      const waiting = queue.shift();
      if (waiting !== undefined) batch.push({ stream, waiting });
      this.queues.delete(stream);
      if (queue.length > 0) this.queues.set(stream, queue);
    }
    // Whoever keeps the states of the streams of a batch finds the same ones in the same order.
    return batch.sort((a, b) => a.stream - b.stream);
  }
}

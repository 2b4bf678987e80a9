/** What happens to items when the consumer is slower than the source. */
export type DropPolicy =
  /** Nothing is dropped: the source waits, where it can. */
  | 'wait'
  /** The items that wait longest go, so that the consumer sees the latest. */
  | 'oldest'
  /** The items that come go, so that what waits stays whole. */
  | 'newest';

export const dropPolicies: readonly DropPolicy[] = ['wait', 'oldest', 'newest'];

export interface QueueOptions<T> {
  /** The most that waits, in the unit of `sizeOf`. One item is always taken. */
  readonly limit: number;
  readonly policy: DropPolicy;
  readonly sizeOf: (item: T) => number;
  /** Called with each item that is dropped: nothing is lost in silence. */
  readonly onDrop: (item: T) => void;
  /** Makes one of several that wait, so that a reader who is behind takes them at once. */
  readonly join?: (items: readonly T[]) => T;
}

/** Holds items between a source and a slower consumer, up to a limit. Read it once, with `for await`. */
export class BoundedQueue<T> {
  private readonly items: T[] = [];
  private size = 0;
  private ended = false;
  private error: unknown;
  private wakeReader: (() => void) | undefined;
  private wakeWriter: (() => void) | undefined;

  constructor(private readonly options: QueueOptions<T>) {}

  /** Adds an item, or drops one as the policy says. With `wait`, resolves once there is room for more. */
  async push(item: T): Promise<void> {
    const { limit, policy } = this.options;
    if (this.ended) return;
    if (policy === 'newest' && this.items.length > 0 && this.sizeWith(item) > limit) {
      this.options.onDrop(item);
      return;
    }
    this.items.push(item);
    this.size += this.options.sizeOf(item);
    while (policy === 'oldest' && this.size > limit && this.items.length > 1) {
      this.options.onDrop(this.take());
    }
    this.wakeReader?.();
    while (policy === 'wait' && this.size >= limit && !this.ended) {
      await new Promise<void>((resolve) => (this.wakeWriter = resolve));
    }
  }

  /** Whether as much waits as may. */
  get isFull(): boolean {
    return this.size >= this.options.limit;
  }

  /** No more items come; the reader gets those that wait, and then the error if there is one. */
  end(error?: unknown): void {
    if (this.ended) return;
    this.ended = true;
    this.error = error;
    this.wakeReader?.();
    this.wakeWriter?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T, void> {
    try {
      for (;;) {
        if (this.items.length > 0) {
          const { join } = this.options;
          const item =
            join === undefined || this.items.length === 1 ? this.take() : this.takeAll(join);
          this.wakeWriter?.();
          yield item;
        } else if (this.ended) {
          if (this.error !== undefined) throw this.error;
          return;
        } else {
          await new Promise<void>((resolve) => (this.wakeReader = resolve));
        }
      }
    } finally {
      this.end();
    }
  }

  private take(): T {
    const item = this.items.shift()!;
    this.size -= this.options.sizeOf(item);
    return item;
  }

  private takeAll(join: (items: readonly T[]) => T): T {
    this.size = 0;
    return join(this.items.splice(0));
  }

  private sizeWith(item: T): number {
    return this.size + this.options.sizeOf(item);
  }
}

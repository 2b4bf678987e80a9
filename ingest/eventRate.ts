import type { EventBatch } from './eventBatch.js';

/** Counts of events in equal intervals of time. */
export interface EventRate {
  /** Start of the first interval, µs; a multiple of the interval. */
  readonly fromUs: number;
  readonly intervalUs: number;
  /** Events of each interval, whatever the order they came in. */
  readonly counts: readonly number[];
}

/** Intervals at most; there are more than half as many where times lie further apart than the first interval. */
const maxIntervals = 512;
const firstIntervalUs = 1;

/**
 * Counts events over time without knowing how long a stream will be: where the intervals would become too
 * many, neighbours are added up, so that each becomes twice as long. Memory does not grow, and the counts do not
 * depend on the batches.
 */
export class EventRateCounter {
  private intervalUs = firstIntervalUs;
  private counts = new Float64Array(maxIntervals);
  /** Number of the interval in `counts[0]`: of its start in intervals since time 0. */
  private first = 0;
  private last = -1;

  add({ length, tUs }: EventBatch): void {
    for (let i = 0; i < length; i++) {
      let interval = Math.floor(tUs[i] / this.intervalUs);
      if (interval < this.first || interval > this.last) interval = this.reach(tUs[i]);
      this.counts[interval - this.first]++;
    }
  }

  /** Makes room for a time; returns the number of its interval. */
  private reach(tUs: number): number {
    const isFirst = this.last < this.first;
    for (;;) {
      const interval = Math.floor(tUs / this.intervalUs);
      const first = isFirst ? interval : Math.min(this.first, interval);
      const last = isFirst ? interval : Math.max(this.last, interval);
      if (last - first < maxIntervals) {
        if (first < this.first) this.counts.copyWithin(this.first - first, 0);
        if (first < this.first) this.counts.fill(0, 0, this.first - first);
        [this.first, this.last] = [first, last];
        return interval;
      }
      this.double();
    }
  }

  private double(): void {
    const counts = new Float64Array(maxIntervals);
    const first = Math.floor(this.first / 2);
    for (let interval = this.first; interval <= this.last; interval++) {
      counts[Math.floor(interval / 2) - first] += this.counts[interval - this.first];
    }
    this.counts = counts;
    this.last = Math.floor(this.last / 2);
    this.first = first;
    this.intervalUs *= 2;
  }

  /** What was counted so far; undefined where there are no events. */
  rate(): EventRate | undefined {
    const { first, last, intervalUs } = this;
    if (last < first) return undefined;
    const counts = [...this.counts.subarray(0, last - first + 1)];
    return { fromUs: first * intervalUs, intervalUs, counts };
  }
}

import { performance } from 'node:perf_hooks';

/**
 * Durations of `work()` in milliseconds, `repeats` of them, after `warmups` unmeasured ones. The backend
 * computes inside a call, so that a call's end is the work's end.
 */
export function durationsMs(work: () => void, repeats: number, warmups = 1): number[] {
  for (let i = 0; i < warmups; i++) work();
  return Array.from({ length: repeats }, () => {
    const start = performance.now();
    work();
    return performance.now() - start;
  });
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

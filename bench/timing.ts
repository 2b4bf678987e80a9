import { performance } from 'node:perf_hooks';

/**
 * Median duration of `work()` in milliseconds over `repeats` runs, after `warmups` unmeasured ones. The
 * backend computes inside a call, so that a call's end is the work's end.
 */
export function medianMs(work: () => void, repeats: number, warmups = 2): number {
  for (let i = 0; i < warmups; i++) work();
  const durations = Array.from({ length: repeats }, () => {
    const start = performance.now();
    work();
    return performance.now() - start;
  }).sort((a, b) => a - b);
  const middle = Math.floor(repeats / 2);
  return repeats % 2 === 1 ? durations[middle] : (durations[middle - 1] + durations[middle]) / 2;
}

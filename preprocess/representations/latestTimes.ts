import { eventLoops } from '../../engine/native/eventLoops.js';
import type { EventBatch } from '../../ingest/eventBatch.js';
import type { ClipGrid } from './representation.js';

/** What surfaces of active events keep. */
export interface LatestTimes {
  readonly grid: ClipGrid;
  readonly out: Float32Array;
  /**
   * Time of the latest event of each bin, polarity and pixel, µs since the interval's start; -Infinity
   * where there was none. The latest, not the last stored, so that the order of events is of no matter.
   */
  readonly latestUs: Float64Array;
}

export function startLatestTimes(grid: ClipGrid, out: Float32Array): LatestTimes {
  const { bins, height, width } = grid;
  const latestUs = new Float64Array(bins * 2 * height * width).fill(-Infinity);
  return { grid, out, latestUs };
}

export function addLatestTimes({ grid, latestUs }: LatestTimes, events: EventBatch): void {
  eventLoops().raiseToLatest(latestUs, events, grid);
}

/**
 * Fills the clip bin by bin from the latest times up to the end of each.
 *
 * @param polarities 1 where both polarities share a channel, otherwise 2.
 * @param fill makes a bin's values of its times, µs since the interval's start; -Infinity where no event was.
 */
export function fillFromLatest(
  { grid, out, latestUs }: LatestTimes,
  polarities: number,
  fill: (values: Float32Array, soFarUs: Float64Array, bin: number) => void,
): void {
  const plane = grid.height * grid.width;
  const soFarUs = new Float64Array(polarities * plane).fill(-Infinity);
  for (let bin = 0; bin < grid.bins; bin++) {
    for (let channel = 0; channel < 2; channel++) {
      const times = latestUs.subarray((2 * bin + channel) * plane, (2 * bin + channel + 1) * plane);
      const first = polarities === 2 ? channel * plane : 0;
      for (let i = 0; i < plane; i++) {
        if (times[i] > soFarUs[first + i]) soFarUs[first + i] = times[i];
      }
    }
    fill(out.subarray(bin * soFarUs.length, (bin + 1) * soFarUs.length), soFarUs, bin);
  }
}

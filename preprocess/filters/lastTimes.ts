import type { SensorSize } from '../../ingest/eventBatch.js';

/**
 * The time of the last event of each pixel, µs, row by row; -Infinity before the first, so that no event
 * seems to have come at time 0. A border of `border` pixels that never have events surrounds the sensor:
 * neighbours can be read without asking whether they are there.
 *
 * @param planes so many of them, one behind the other, for instance one for each polarity.
 */
export function startTimes(
  { width, height }: SensorSize,
  border: number,
  planes = 1,
): Float64Array {
  return new Float64Array((width + 2 * border) * (height + 2 * border) * planes).fill(-Infinity);
}

/**
 * How many of the 8 pixels around `pixel` have a time at most `windowUs` from `timeUs`, in either direction.
 * Comparisons become numbers instead of branches, which could not be foretold.
 *
 * @param stride places between one row and the next.
 */
export function recentNeighbours(
  lastUs: Float64Array,
  pixel: number,
  stride: number,
  timeUs: number,
  windowUs: number,
): number {
  const above = pixel - stride;
  const below = pixel + stride;
  return (
    +(Math.abs(timeUs - lastUs[above - 1]) <= windowUs) +
    +(Math.abs(timeUs - lastUs[above]) <= windowUs) +
    +(Math.abs(timeUs - lastUs[above + 1]) <= windowUs) +
    +(Math.abs(timeUs - lastUs[pixel - 1]) <= windowUs) +
    +(Math.abs(timeUs - lastUs[pixel + 1]) <= windowUs) +
    +(Math.abs(timeUs - lastUs[below - 1]) <= windowUs) +
    +(Math.abs(timeUs - lastUs[below]) <= windowUs) +
    +(Math.abs(timeUs - lastUs[below + 1]) <= windowUs)
  );
}

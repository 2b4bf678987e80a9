import type { SensorSize } from '../../ingest/eventBatch.js';
import { defineFilter } from './filter.js';

interface Tally {
  /** When the current interval began, µs; none before the first event. */
  startUs: number | undefined;
  /** Events of each pixel in the current interval, with a border of one pixel. */
  readonly counts: Uint32Array;
  /** 1 where a pixel is hot, with the same border. */
  readonly hot: Uint8Array;
}

/**
 * Learns while it runs which pixels fire on and on by themselves, and drops their events. Events are
 * counted, dropped ones too, over intervals of `intervalUs`; each begins with the first event after the
 * one before it. A pixel is hot when it has had more than `minimumHz` · `intervalUs` events in the interval
 * and more than `factor` times the mean of the 8 pixels around it: what moves sets off its neighbours as
 * well. It is silent from the event on that makes it hot, to the end of the first interval in which it
 * does not come out hot. (Rates over an interval are how jAER and v2e tell hot pixels; that neighbours are
 * asked too is ours.)
 *
 * State: `Tally`.
 */
export const hotPixels = defineFilter({
  name: 'hotPixels',
  summary: 'drop events of pixels that fire much more than their neighbours',
  arguments: [
    { name: 'minimumHz', minimum: 0, maximum: 1e6, what: 'slower pixels are never hot, Hz' },
    {
      name: 'factor',
      minimum: 1,
      maximum: 1e6,
      default: 5,
      what: "of the neighbours' mean rate that a hot pixel exceeds",
    },
    {
      name: 'intervalUs',
      minimum: 1,
      maximum: 1e9,
      integer: true,
      default: 100_000,
      what: 'time over which events are counted, µs',
    },
  ],
  create: ({ minimumHz, factor, intervalUs }) => {
    const slow = (minimumHz * intervalUs) / 1e6;
    const isHot = (counts: Uint32Array, pixel: number, stride: number): boolean => {
      const count = counts[pixel];
      return count > slow && 8 * count > factor * sumAround(counts, pixel, stride);
    };
    return {
      start: ({ width, height }): Tally => ({
        startUs: undefined,
        counts: new Uint32Array((width + 2) * (height + 2)),
        hot: new Uint8Array((width + 2) * (height + 2)),
      }),
      mark({ length, sensor, tUs, x, y }, tally, keep) {
        const { counts, hot } = tally;
        const stride = sensor.width + 2;
        for (let i = 0; i < length; i++) {
          tally.startUs ??= tUs[i];
          if (Math.abs(tUs[i] - tally.startUs) >= intervalUs) {
            forEachPixel(sensor, (pixel) => (hot[pixel] = +isHot(counts, pixel, stride)));
            counts.fill(0);
            tally.startUs = tUs[i];
          }
          const pixel = (y[i] + 1) * stride + x[i] + 1;
          counts[pixel]++;
          if (hot[pixel] === 0 && isHot(counts, pixel, stride)) hot[pixel] = 1;
          keep[i] = 1 - hot[pixel];
        }
      },
    };
  },
});

function sumAround(counts: Uint32Array, pixel: number, stride: number): number {
  let sum = -counts[pixel];
  for (let row = pixel - stride; row <= pixel + stride; row += stride) {
    sum += counts[row - 1] + counts[row] + counts[row + 1];
  }
  return sum;
}

function forEachPixel({ width, height }: SensorSize, visit: (pixel: number) => void): void {
  for (let y = 1; y <= height; y++) {
    for (let x = 1; x <= width; x++) visit(y * (width + 2) + x);
  }
}

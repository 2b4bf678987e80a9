import { defineFilter } from './filter.js';

/**
 * A refractory period on top of the sensor's own: after an event of a pixel has passed, others of that
 * pixel, of either polarity, pass only when they are at least `periodUs` away. Events that are dropped
 * do not prolong the silence.
 *
 * State: the time of the last passed event of each pixel, row by row, µs; -Infinity before the first.
 */
export const refractory = defineFilter({
  name: 'refractory',
  summary: 'after an event that passes, silence its pixel for a while',
  arguments: [
    { name: 'periodUs', minimum: 0, maximum: 1e9, integer: true, what: 'length of silence, µs' },
  ],
  create: ({ periodUs }) => ({
    start: ({ width, height }) => new Float64Array(width * height).fill(-Infinity),
    mark({ length, sensor: { width }, tUs, x, y }, lastUs, keep) {
      for (let i = 0; i < length; i++) {
        const pixel = y[i] * width + x[i];
        // The distance counts in either direction, so that a clock that restarts silences nothing for long.
        if (Math.abs(tUs[i] - lastUs[pixel]) >= periodUs) {
          lastUs[pixel] = tUs[i];
          keep[i] = 1;
        }
      }
    },
  }),
});

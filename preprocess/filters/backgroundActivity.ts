import { defineFilter } from './filter.js';

/**
 * Drops noise, which comes alone, and keeps what moves, which sets off pixels side by side: an event
 * passes where at least `neighbours` of the 8 pixels around it had their last event, passed or not and
 * of either polarity, at most `windowUs` away (Delbruck, Frame-free dynamic digital vision, 2008).
 * The pixel itself does not count, since hot pixels support themselves.
 *
 * State: the time of the last event of each pixel, row by row, µs; -Infinity before the first. A border
 * of one pixel that never has events surrounds the sensor, so it has (width + 2) * (height + 2) values.
 */
export const backgroundActivity = defineFilter({
  name: 'backgroundActivity',
  summary: 'drop events without a recent one in a neighbouring pixel',
  arguments: [
    { name: 'windowUs', minimum: 0, maximum: 1e9, integer: true, what: 'how recent, µs' },
    {
      name: 'neighbours',
      minimum: 1,
      maximum: 8,
      integer: true,
      default: 1,
      what: 'neighbouring pixels that must have one',
    },
  ],
  create: ({ windowUs, neighbours }) => ({
    start: ({ width, height }) => new Float64Array((width + 2) * (height + 2)).fill(-Infinity),
    mark({ length, sensor, tUs, x, y }, lastUs, keep) {
      const width = sensor.width + 2;
      for (let i = 0; i < length; i++) {
        const time = tUs[i];
        const pixel = (y[i] + 1) * width + x[i] + 1;
        const above = pixel - width;
        const below = pixel + width;
        let found = 0;
        if (Math.abs(time - lastUs[above - 1]) <= windowUs) found++;
        if (Math.abs(time - lastUs[above]) <= windowUs) found++;
        if (Math.abs(time - lastUs[above + 1]) <= windowUs) found++;
        if (Math.abs(time - lastUs[pixel - 1]) <= windowUs) found++;
        if (Math.abs(time - lastUs[pixel + 1]) <= windowUs) found++;
        if (Math.abs(time - lastUs[below - 1]) <= windowUs) found++;
        if (Math.abs(time - lastUs[below]) <= windowUs) found++;
        if (Math.abs(time - lastUs[below + 1]) <= windowUs) found++;
        if (found >= neighbours) keep[i] = 1;
        lastUs[pixel] = time;
      }
    },
  }),
});

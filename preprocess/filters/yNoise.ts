import { recentNeighbours } from '../../engine/ops/eventLoops.js';
import { defineFilter } from './filter.js';
import { radiusArgument, startTimes, surroundings } from './lastTimes.js';

/**
 * Denoising by event density (Feng et al., Event Density Based Denoising Method for Dynamic Vision Sensor,
 * Applied Sciences 10(6), 2020), in two stages. Coarse, against random noise: the density of an event is
 * the number of pixels in the square of side 2 `radius` + 1 around it, its own among them, whose last event
 * of the same polarity is at most `windowUs` away; it must be at least `density`. Fine, against hot
 * pixels, which are dense by themselves: one of the 8 pixels next to the event must be among them.
 * Of each pixel and polarity only the last event counts, so that memory is bounded.
 *
 * State: the time of the last event of each pixel (`startTimes`, border `radius`), of all OFF, then of all ON.
 */
export const yNoise = defineFilter({
  name: 'yNoise',
  summary: 'drop events where events are sparse, and hot pixels (YNoise)',
  arguments: [
    { name: 'windowUs', minimum: 0, maximum: 1e9, integer: true, what: 'how recent, µs' },
    {
      name: 'density',
      minimum: 1,
      maximum: 961,
      integer: true,
      default: 2,
      what: 'pixels around that must have a recent event',
    },
    radiusArgument(2),
  ],
  create: ({ windowUs, density, radius }) => ({
    start: (sensor) => startTimes(sensor, radius, 2),
    mark({ length, sensor, tUs, x, y, polarity }, lastUs, keep) {
      const { stride, plane, side } = surroundings(sensor, radius);
      for (let i = 0; i < length; i++) {
        const time = tUs[i];
        const corner = polarity[i] * plane + y[i] * stride + x[i];
        let found = 0;
        for (let row = 0; row < side; row++) {
          const from = corner + row * stride;
          for (let at = from; at < from + side; at++) {
            found += +(Math.abs(time - lastUs[at]) <= windowUs);
          }
        }
        const pixel = corner + radius * stride + radius;
        keep[i] = +(
          found >= density && recentNeighbours(lastUs, pixel, stride, time, windowUs) > 0
        );
        lastUs[pixel] = time;
      }
    },
  }),
});

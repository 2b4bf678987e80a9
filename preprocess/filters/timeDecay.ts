import { defineFilter } from './filter.js';
import { radiusArgument, startTimes, surroundings } from './lastTimes.js';

/**
 * Support that fades instead of ending at once: an event passes where the exponential time surface of its
 * polarity (Lagorce et al., HOTS, IEEE TPAMI, 2017), summed over the pixels around it, is at least
 * `threshold`: Σ exp(-|t - t_j| / decayUs), t_j the last event of the same polarity of pixel j, over the
 * square of side 2 `radius` + 1 without the pixel itself. Pixels without an event add nothing.
 *
 * State: the time of the last event of each pixel (`startTimes`, border `radius`), of all OFF, then of all ON.
 */
export const timeDecay = defineFilter({
  name: 'timeDecay',
  summary: 'drop events where the decaying time surface around is low',
  arguments: [
    { name: 'decayUs', minimum: 1, maximum: 1e9, integer: true, what: 'time constant, µs' },
    { name: 'threshold', minimum: 1e-9, maximum: 1e3, what: 'least sum of the surface' },
    radiusArgument(1),
  ],
  create: ({ decayUs, threshold, radius }) => ({
    start: (sensor) => startTimes(sensor, radius, 2),
    mark({ length, sensor, tUs, x, y, polarity }, lastUs, keep) {
      const { stride, plane, side } = surroundings(sensor, radius);
      for (let i = 0; i < length; i++) {
        const time = tUs[i];
        const corner = polarity[i] * plane + y[i] * stride + x[i];
        const pixel = corner + radius * stride + radius;
        let sum = 0;
        for (let row = 0; row < side; row++) {
          const from = corner + row * stride;
          for (let at = from; at < from + side; at++) {
            if (at !== pixel) sum += Math.exp(-Math.abs(time - lastUs[at]) / decayUs);
          }
        }
        keep[i] = +(sum >= threshold);
        lastUs[pixel] = time;
      }
    },
  }),
});

import type { SensorSize } from '../../ingest/eventBatch.js';
import { defineFilter } from './filter.js';

/**
 * Makes the sensor smaller by integrating events, as a larger pixel would (event count; Gruel et al., Event
 * data downscaling for embedded computer vision, VISAPP, 2022): each new pixel sums the polarities, ±1, of
 * its `factor`² old ones, and gives an event when the sum comes to ±`threshold`; then it begins at 0 again.
 * With `threshold` = `factor`² that is one step of the mean brightness; 0 means this one. The event has the
 * time and polarity of the one that brought the sum there.
 *
 * State: the sum of each new pixel, row by row.
 */
export const downsampleCount = defineFilter({
  name: 'downsampleCount',
  summary: 'integrate events over larger pixels',
  arguments: [
    { name: 'factor', minimum: 1, maximum: 1024, integer: true, what: 'old pixels on a side' },
    {
      name: 'threshold',
      minimum: 0,
      maximum: 1e6,
      integer: true,
      default: 0,
      what: 'sum of polarities that makes an event; 0 = factor²',
    },
  ],
  create: ({ factor, threshold }) => {
    const limit = threshold === 0 ? factor * factor : threshold;
    const sensorAfter = ({ width, height }: SensorSize): SensorSize => ({
      width: Math.ceil(width / factor),
      height: Math.ceil(height / factor),
    });
    return {
      sensorAfter,
      start: (sensor) => {
        const { width, height } = sensorAfter(sensor);
        return new Int32Array(width * height);
      },
      place({ length, sensor, x, y, polarity }, sums, keep, newX, newY) {
        const { width } = sensorAfter(sensor);
        for (let i = 0; i < length; i++) {
          newX[i] = x[i] / factor;
          newY[i] = y[i] / factor;
          const pixel = newY[i] * width + newX[i];
          const sum = sums[pixel] + 2 * polarity[i] - 1;
          keep[i] = +(Math.abs(sum) === limit);
          sums[pixel] = Math.abs(sum) === limit ? 0 : sum;
        }
      },
    };
  },
});

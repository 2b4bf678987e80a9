import { BatchBuilder } from '../../ingest/eventBatch.js';
import { defineAugmentation } from './augmentation.js';

/**
 * Plays the window slower or faster: times are stretched about its middle by a factor that is drawn from
 * 1 - `range` to 1 + `range`, and rounded to whole µs. Events that leave the window are dropped.
 */
export const timeSkew = defineAugmentation({
  name: 'timeSkew',
  summary: 'play slower or faster',
  arguments: [
    { name: 'range', minimum: 0, maximum: 0.9, what: 'greatest change of the factor 1 of times' },
  ],
  create:
    ({ range }) =>
    (window, random) => {
      const factor = 1 + range * (2 * random.uniform() - 1);
      const { startUs, endUs, events } = window;
      const { length, sensor, tUs, x, y, polarity } = events;
      const middleUs = (startUs + endUs) / 2;
      const skewed = new BatchBuilder(sensor, length);
      for (let i = 0; i < length; i++) {
        const time = Math.round(middleUs + factor * (tUs[i] - middleUs));
        if (time >= startUs && time < endUs) skewed.push(time, x[i], y[i], polarity[i]);
      }
      return { ...window, events: skewed.take() };
    },
});

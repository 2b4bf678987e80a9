import { defineAugmentation, moveEvents } from './augmentation.js';

/**
 * Moves each event on its own along both axes, by a normal deviate that is rounded to whole pixels.
 * Those that leave the sensor are dropped.
 */
export const spatialJitter = defineAugmentation({
  name: 'spatialJitter',
  summary: 'shift each event by a few pixels',
  arguments: [
    { name: 'deviation', minimum: 0, maximum: 10_000, what: 'standard deviation, pixels' },
  ],
  create:
    ({ deviation }) =>
    (window, random) => {
      const shift = (): number => Math.round(deviation * random.normal());
      return moveEvents(window, window.events.sensor, shift, shift);
    },
});

import { defineAugmentation, sortByTime } from './augmentation.js';

/**
 * Moves each event on its own in time by a normal deviate, rounded to whole µs. Times stay within the
 * window: those beyond become its first or last µs. The events are then sorted by time; those of one
 * time keep their order.
 */
export const timeJitter = defineAugmentation({
  name: 'timeJitter',
  summary: 'shift each event in time',
  arguments: [{ name: 'deviationUs', minimum: 0, maximum: 1e9, what: 'standard deviation, µs' }],
  create:
    ({ deviationUs }) =>
    (window, random) => {
      const { startUs, endUs, events } = window;
      const moved = events.tUs.map((tUs) => {
        const jittered = tUs + Math.round(deviationUs * random.normal());
        return Math.min(Math.max(jittered, startUs), endUs - 1);
      });
      return { ...window, events: sortByTime({ ...events, tUs: moved }) };
    },
});

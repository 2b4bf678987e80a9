import { defineAugmentation, moveEvents } from './augmentation.js';

/** Moves all events by the same number of columns and of rows. Those that leave the sensor are dropped. */
export const translate = defineAugmentation({
  name: 'translate',
  summary: 'shift everything by whole pixels',
  arguments: [
    {
      name: 'pixels',
      minimum: 0,
      maximum: 65_535,
      integer: true,
      what: 'greatest shift along each axis',
    },
  ],
  create:
    ({ pixels }) =>
    (window, random) => {
      const dx = random.integer(2 * pixels + 1) - pixels;
      const dy = random.integer(2 * pixels + 1) - pixels;
      return moveEvents(
        window,
        window.events.sensor,
        () => dx,
        () => dy,
      );
    },
});

import { defineAugmentation, moveEvents } from './augmentation.js';

/**
 * Cuts a rectangle out of the sensor. Width and height are drawn each from `minimum` to 1 of the
 * sensor's, then the place. The rectangle becomes the window's sensor, so a representation scales it up
 * to the size that the model reads.
 */
export const crop = defineAugmentation({
  name: 'crop',
  summary: 'cut out a rectangle, which becomes the sensor',
  arguments: [
    {
      name: 'minimum',
      minimum: 0.01,
      maximum: 1,
      default: 0.8,
      what: "least share of the sensor's width and of its height",
    },
  ],
  create:
    ({ minimum }) =>
    (window, random) => {
      const side = (full: number): number => {
        const share = minimum + (1 - minimum) * random.uniform();
        return Math.max(1, Math.round(full * share));
      };
      const { sensor } = window.events;
      const width = side(sensor.width);
      const height = side(sensor.height);
      const x0 = random.integer(sensor.width - width + 1);
      const y0 = random.integer(sensor.height - height + 1);
      return moveEvents(
        window,
        { width, height },
        () => -x0,
        () => -y0,
      );
    },
});

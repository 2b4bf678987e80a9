import { defineAugmentation, keepEvents, maximumShare } from './augmentation.js';

/**
 * Silences a rectangle of the sensor's shape. Its area is drawn from 0 to `maximum` of the sensor's, then
 * its place (Gu et al., EventDrop, IJCAI 2021: drop by area). Sides are cut to whole pixels.
 */
export const dropArea = defineAugmentation({
  name: 'dropArea',
  summary: 'drop all events of a rectangle',
  arguments: [maximumShare("greatest share of the sensor's area that is silenced")],
  create:
    ({ maximum }) =>
    (window, random) => {
      const { sensor, x, y } = window.events;
      const share = Math.sqrt(maximum * random.uniform());
      const width = Math.floor(sensor.width * share);
      const height = Math.floor(sensor.height * share);
      const x0 = random.integer(sensor.width - width + 1);
      const y0 = random.integer(sensor.height - height + 1);
      const inside = (i: number): boolean =>
        x[i] >= x0 && x[i] < x0 + width && y[i] >= y0 && y[i] < y0 + height;
      return keepEvents(window, (i) => !inside(i));
    },
});

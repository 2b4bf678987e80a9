import { BatchBuilder } from '../../ingest/eventBatch.js';
import { defineAugmentation, sortByTime } from './augmentation.js';

/**
 * Adds events at random, each with a pixel, time and polarity of its own, all equally likely: the background
 * activity of a sensor, which is a Poisson process at every pixel (Hu et al., v2e, CVPR Workshops 2021). How
 * many is drawn from 0 to `maximum` of the window's own events, so a window without events stays empty.
 */
export const noise = defineAugmentation({
  name: 'noise',
  summary: 'add events at random',
  arguments: [
    {
      name: 'maximum',
      minimum: 0,
      maximum: 10,
      what: "greatest number of added events, as a share of the window's own",
    },
  ],
  create:
    ({ maximum }) =>
    (window, random) => {
      const { startUs, endUs, events } = window;
      const { sensor, length } = events;
      const added = Math.round(maximum * random.uniform() * length);
      const all = new BatchBuilder(sensor, length + added);
      all.append(events);
      for (let i = 0; i < added; i++) {
        const tUs = startUs + random.integer(endUs - startUs);
        const [x, y] = [random.integer(sensor.width), random.integer(sensor.height)];
        all.push(tUs, x, y, random.integer(2));
      }
      return { ...window, events: added === 0 ? events : sortByTime(all.take()) };
    },
});

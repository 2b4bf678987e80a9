import { createBatch } from '../../ingest/eventBatch.js';
import { defineAugmentation, probabilityArgument } from './augmentation.js';

/**
 * Plays the window backwards: t becomes start + end - 1 - t, and the last event comes first. What became
 * brighter now becomes darker, so ON and OFF are swapped too (an event is the sign of a change of brightness:
 * Gallego et al., Event-based vision: a survey, TPAMI 2022, eq. 2), unless `flipPolarity` is 0. Not for
 * classes that differ by direction, such as sitting down and getting up.
 */
export const reverseTime = defineAugmentation({
  name: 'reverseTime',
  summary: 'play backwards',
  arguments: [
    probabilityArgument,
    {
      name: 'flipPolarity',
      minimum: 0,
      maximum: 1,
      integer: true,
      default: 1,
      what: '1 swaps ON and OFF as well, 0 does not',
    },
  ],
  create:
    ({ probability, flipPolarity }) =>
    (window, random) => {
      if (random.uniform() >= probability) return window;
      const { startUs, endUs, events } = window;
      const polarity = events.polarity.map((value) => value ^ flipPolarity);
      const reversed = createBatch(
        events.sensor,
        events.tUs.map((tUs) => startUs + endUs - 1 - tUs).reverse(),
        events.x.slice().reverse(),
        events.y.slice().reverse(),
        polarity.reverse(),
      );
      return { ...window, events: reversed };
    },
});

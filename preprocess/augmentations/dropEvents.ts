import { defineAugmentation, keepEvents, maximumShare } from './augmentation.js';

/**
 * Drops each event on its own, with a probability that is drawn for each window from 0 to `maximum`
 * (Gu et al., EventDrop, IJCAI 2021: random drop).
 */
export const dropEvents = defineAugmentation({
  name: 'dropEvents',
  summary: 'drop single events',
  arguments: [maximumShare('greatest probability that an event is dropped')],
  create:
    ({ maximum }) =>
    (window, random) => {
      const probability = maximum * random.uniform();
      return keepEvents(window, () => random.uniform() >= probability);
    },
});

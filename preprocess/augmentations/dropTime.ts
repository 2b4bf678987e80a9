import { defineAugmentation, keepEvents, maximumShare } from './augmentation.js';

/**
 * Silences a stretch of time. Its length is drawn from 0 to `maximum` of the window, then its place
 * within the window, both in whole µs (Gu et al., EventDrop, IJCAI 2021: drop by time).
 */
export const dropTime = defineAugmentation({
  name: 'dropTime',
  summary: 'drop all events of a stretch of time',
  arguments: [maximumShare('greatest share of the window that is silenced')],
  create:
    ({ maximum }) =>
    (window, random) => {
      const { startUs, endUs, events } = window;
      const lengthUs = Math.floor((endUs - startUs) * maximum * random.uniform());
      const fromUs = startUs + random.integer(endUs - startUs - lengthUs + 1);
      const toUs = fromUs + lengthUs;
      return keepEvents(window, (i) => events.tUs[i] < fromUs || events.tUs[i] >= toUs);
    },
});

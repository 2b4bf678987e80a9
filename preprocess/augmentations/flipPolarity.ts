import { defineFlip } from './augmentation.js';

/** Swaps ON and OFF, as if the scene's dark and bright were exchanged. */
export const flipPolarity = defineFlip('flipPolarity', 'swap ON and OFF', (events) => ({
  ...events,
  polarity: events.polarity.map((polarity) => 1 - polarity),
}));

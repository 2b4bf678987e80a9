import { defineFlip } from './augmentation.js';

/** Swaps left and right. Not for classes that differ by it, such as left and right gestures. */
export const flipX = defineFlip('flipX', 'swap left and right', (events) => ({
  ...events,
  x: events.x.map((x) => events.sensor.width - 1 - x),
}));

import { defineFlip } from './augmentation.js';

/** Swaps top and bottom. */
export const flipY = defineFlip('flipY', 'swap top and bottom', (events) => ({
  ...events,
  y: events.y.map((y) => events.sensor.height - 1 - y),
}));

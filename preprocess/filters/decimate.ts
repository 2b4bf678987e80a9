import { defineFilter } from './filter.js';

/**
 * Keeps the first of every `every` events, of the whole stream or of each pixel by itself.
 *
 * State: events since the last one that was kept, modulo `every`; one number, or one for each pixel.
 */
export const decimate = defineFilter({
  name: 'decimate',
  summary: 'keep one of every n events',
  arguments: [
    { name: 'every', minimum: 1, maximum: 1e9, integer: true, what: 'n' },
    {
      name: 'perPixel',
      minimum: 0,
      maximum: 1,
      integer: true,
      default: 0,
      what: '1 = each pixel counts its own',
    },
  ],
  create: ({ every, perPixel }) => ({
    start: ({ width, height }) => new Uint32Array(perPixel === 1 ? width * height : 1),
    mark({ length, sensor: { width }, x, y }, counts, keep) {
      for (let i = 0; i < length; i++) {
        const counter = perPixel * (y[i] * width + x[i]);
        const count = counts[counter];
        keep[i] = +(count === 0);
        counts[counter] = count + 1 === every ? 0 : count + 1;
      }
    },
  }),
});

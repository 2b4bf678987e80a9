import { binned } from './binned.js';
import { defineRepresentation } from './representation.js';

/** Spike tensor `[T, C, H, W]`: 1 where the histogram's count is positive. */
export const spikes = defineRepresentation({
  name: 'spikes',
  summary: '1 where an event of the polarity is',
  arguments: [],
  create: () => binned('spikes', 'binary'),
});

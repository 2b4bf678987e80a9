import { binned } from './binned.js';
import { defineRepresentation } from './representation.js';

/**
 * Counts of events per bin, polarity and pixel (Maqueda et al., CVPR 2018): bin
 * ⌊bins · (t - from) / (to - from)⌋ with the end in the last bin, channel 0 for OFF and 1 for ON. As
 * `[T, C, H, W]` it is also the spike tensor of counts.
 */
export const histogram = defineRepresentation({
  name: 'histogram',
  summary: 'counts of events by polarity (Maqueda et al., CVPR 2018)',
  arguments: [],
  create: () => binned('histogram', 'count'),
});

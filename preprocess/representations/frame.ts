import { binned } from './binned.js';
import { defineRepresentation, yesOrNo } from './representation.js';

/**
 * Event frame: each bin is one image, the sum of its events' polarities ±1 (Rebecq et al., BMVC 2017), or
 * 1 where there is an event of either polarity.
 */
export const frame = defineRepresentation({
  name: 'frame',
  summary: 'sum of polarities, or where events are (Rebecq et al., BMVC 2017)',
  arguments: [
    { name: 'binary', ...yesOrNo, default: 0, what: '1: only where events are, 0: their sum' },
  ],
  create: ({ binary }) => (binary === 1 ? binned('binary', 'binary') : binned('signed', 'real')),
});

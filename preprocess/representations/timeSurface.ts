import { eventLoops } from '../../engine/native/eventLoops.js';
import {
  addLatestTimes,
  fillFromLatest,
  type LatestTimes,
  startLatestTimes,
} from './latestTimes.js';
import { binEndUs, defineRepresentation, yesOrNo } from './representation.js';

/**
 * Time surface (Lagorce et al., TPAMI 2017, eq. 3, and its linear form): seen at the end of each
 * bin, exp(-(end - t) / τ) or max(0, 1 - (end - t) / τ) of the latest event so far at the pixel, and 0
 * before the first. Channel 0 is OFF and 1 is ON, or one channel takes both.
 */
export const timeSurface = defineRepresentation({
  name: 'timeSurface',
  summary: 'how recent the latest event is, decaying (Lagorce et al., TPAMI 2017)',
  arguments: [
    { name: 'tauUs', minimum: 1, maximum: 1e12, default: 50_000, what: 'time constant, µs' },
    { name: 'linear', ...yesOrNo, default: 0, what: '0: exponential decay, 1: linear' },
    {
      name: 'polarities',
      minimum: 1,
      maximum: 2,
      integer: true,
      default: 2,
      what: 'channels: 2 by polarity, 1 for both',
    },
  ],
  create: ({ tauUs, linear, polarities }) => ({
    channels: polarities,
    values: 'unit',
    binwise: false,
    start: startLatestTimes,
    add: addLatestTimes,
    finish(state: LatestTimes) {
      fillFromLatest(state, polarities, (values, soFarUs, bin) => {
        const endUs = binEndUs(state.grid, bin);
        if (linear === 0) return eventLoops().decaySince(values, soFarUs, endUs, tauUs);
        for (let i = 0; i < values.length; i++) {
          values[i] = Math.max(0, 1 - (endUs - soFarUs[i]) / tauUs);
        }
      });
    },
  }),
});

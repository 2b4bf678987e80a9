import { addLatestTimes, fillFromLatest, startLatestTimes } from './latestTimes.js';
import { defineRepresentation } from './representation.js';

/**
 * Surface of active events (Benosman et al., TNNLS 2014): the time of the latest event so far by polarity
 * and pixel, seen at the end of each bin. Times are shares of the interval, (t - from) / (to - from), as
 * in EV-FlowNet (Zhu et al., RSS 2018), and 0 stands where there was no event.
 */
export const activeEvents = defineRepresentation({
  name: 'sae',
  summary: 'time of the latest event by polarity (Benosman et al., TNNLS 2014)',
  arguments: [],
  create: () => ({
    channels: 2,
    values: 'unit',
    binwise: false,
    start: startLatestTimes,
    add: addLatestTimes,
    finish(state) {
      const durationUs = state.grid.toUs - state.grid.fromUs;
      fillFromLatest(state, 2, (values, soFarUs) => {
        for (let i = 0; i < values.length; i++) {
          if (soFarUs[i] > -Infinity) values[i] = durationUs > 0 ? soFarUs[i] / durationUs : 1;
          else values[i] = 0;
        }
      });
    },
  }),
});

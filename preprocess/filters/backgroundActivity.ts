import { eventLoops } from '../../engine/native/eventLoops.js';
import { defineFilter } from './filter.js';
import { startTimes } from './lastTimes.js';

/**
 * Drops noise, which comes alone, and keeps what moves, which sets off pixels side by side: an event
 * passes where at least `neighbours` of the 8 pixels around it had their last event, passed or not and
 * of either polarity, at most `windowUs` away (Delbruck, Frame-free dynamic digital vision, 2008).
 * The pixel itself does not count, since hot pixels support themselves.
 *
 * State: the time of the last event of each pixel (`startTimes`, border 1).
 */
export const backgroundActivity = defineFilter({
  name: 'backgroundActivity',
  summary: 'drop events without a recent one in a neighbouring pixel',
  arguments: [
    { name: 'windowUs', minimum: 0, maximum: 1e9, integer: true, what: 'how recent, µs' },
    {
      name: 'neighbours',
      minimum: 1,
      maximum: 8,
      integer: true,
      default: 1,
      what: 'neighbouring pixels that must have one',
    },
  ],
  create: ({ windowUs, neighbours }) => ({
    start: (sensor) => startTimes(sensor, 1),
    mark(batch, lastUs, keep) {
      const stride = batch.sensor.width + 2;
      const rule = { stride, plane: 0, windowUs, needed: neighbours };
      eventLoops().markSupported(keep, lastUs, batch, rule);
    },
  }),
});

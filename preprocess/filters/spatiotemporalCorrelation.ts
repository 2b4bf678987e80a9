import { eventLoops } from '../../engine/native/eventLoops.js';
import { defineFilter } from './filter.js';
import { startTimes } from './lastTimes.js';

/**
 * The spatio-temporal correlation filter (STCF; Guo and Delbruck, Low Cost and Latency Event Camera
 * Background Activity Denoising, IEEE TPAMI, 2022): an event passes where at least `support` of the 8
 * pixels around it had an event at most `windowUs` away. Background activity with `support` neighbours is
 * the same while polarities do not count; with `samePolarity` only events of the event's own polarity
 * support it: the last one of each pixel, whether or not one of the other polarity came after it.
 *
 * State: the time of the last event of each pixel (`startTimes`, border 1), with `samePolarity` first of
 * all OFF, then of all ON events.
 */
export const spatiotemporalCorrelation = defineFilter({
  name: 'spatiotemporalCorrelation',
  summary: 'drop events that too few neighbouring pixels support (STCF)',
  arguments: [
    { name: 'windowUs', minimum: 0, maximum: 1e9, integer: true, what: 'how recent, µs' },
    {
      name: 'support',
      minimum: 1,
      maximum: 8,
      integer: true,
      default: 2,
      what: 'neighbouring pixels that must have a recent event',
    },
    {
      name: 'samePolarity',
      minimum: 0,
      maximum: 1,
      integer: true,
      default: 0,
      what: '1 = events of the other polarity are no support',
    },
  ],
  create: ({ windowUs, support, samePolarity }) => ({
    start: (sensor) => startTimes(sensor, 1, 1 + samePolarity),
    mark(batch, lastUs, keep) {
      const stride = batch.sensor.width + 2;
      const plane = samePolarity * stride * (batch.sensor.height + 2);
      const rule = { stride, plane, windowUs, needed: support };
      eventLoops().markSupported(keep, lastUs, batch, rule);
    },
  }),
});

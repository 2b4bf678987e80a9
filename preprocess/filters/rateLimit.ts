import { SaccadeError } from '../../engine/support/errors.js';
import { defineFilter } from './filter.js';

interface Meter {
  /** When the current interval began, µs; none before the first event. */
  startUs: number | undefined;
  /** Events of the current interval so far, and those of them that passed. */
  seen: number;
  passed: number;
  /** Share of the current interval's events that is meant to pass. */
  share: number;
}

/**
 * Bounds the rate of events, as the event-rate controllers of sensors do (Finateu et al., ISSCC, 2020). Time
 * is cut into intervals of `intervalUs` from the first event on, each with a budget of `eventsPerSecond` ·
 * `intervalUs`. The share of events that pass is the budget over the number of events in the interval before
 * (all where that one was within its budget, and in the first): so they are thinned evenly, not cut off.
 * Event n of an interval passes where n · share reaches a new whole number; never more than the budget do.
 * Where time steps back before the interval, intervals begin anew.
 *
 * State: `Meter`.
 */
export const rateLimit = defineFilter({
  name: 'rateLimit',
  summary: 'thin events out where they exceed a rate',
  arguments: [
    { name: 'eventsPerSecond', minimum: 1, maximum: 1e9, what: 'greatest rate' },
    {
      name: 'intervalUs',
      minimum: 1,
      maximum: 1e9,
      integer: true,
      default: 10_000,
      what: 'time over which the rate is kept, µs',
    },
  ],
  create: ({ eventsPerSecond, intervalUs }) => {
    const budget = Math.floor((eventsPerSecond * intervalUs) / 1e6);
    if (budget < 1) {
      throw new SaccadeError(
        'usage',
        `filter "rateLimit": ${eventsPerSecond} events per second give no event in ${intervalUs} µs, ` +
          'expected a longer intervalUs',
      );
    }
    return {
      start: (): Meter => ({ startUs: undefined, seen: 0, passed: 0, share: 1 }),
      mark({ length, tUs }, meter, keep) {
        for (let i = 0; i < length; i++) {
          meter.startUs ??= tUs[i];
          const intervals = Math.floor((tUs[i] - meter.startUs) / intervalUs);
          if (intervals !== 0) {
            meter.share = intervals === 1 ? Math.min(1, budget / meter.seen) : 1;
            meter.startUs = intervals > 0 ? meter.startUs + intervals * intervalUs : tUs[i];
            meter.seen = 0;
            meter.passed = 0;
          }
          const due =
            Math.floor((meter.seen + 1) * meter.share) > Math.floor(meter.seen * meter.share);
          const passes = +(due && meter.passed < budget);
          keep[i] = passes;
          meter.passed += passes;
          meter.seen++;
        }
      },
    };
  },
});

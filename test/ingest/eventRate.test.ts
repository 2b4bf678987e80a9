import fc from 'fast-check';
import { expect, it } from 'vitest';
import { EventRateCounter } from '../../ingest/eventRate.js';
import { batchOf } from './streams.js';

const sensor = { width: 1, height: 1 };
const rateOf = (batches: readonly (readonly number[])[]): ReturnType<EventRateCounter['rate']> => {
  const counter = new EventRateCounter();
  for (const times of batches)
    counter.add(
      batchOf(
        sensor,
        times.map((t) => [t, 0, 0, 1]),
      ),
    );
  return counter.rate();
};
const anyTime = fc.oneof(fc.nat(3000), fc.integer({ min: -1e15, max: 1e15 }));

it('counts every event in its interval, in any order, however the batches are cut', () => {
  fc.assert(
    fc.property(fc.array(anyTime, { minLength: 1, maxLength: 50 }), fc.nat(50), (times, cut) => {
      const rate = rateOf([times])!;
      const { fromUs, intervalUs, counts } = rate;
      expect(counts.length).toBeLessThanOrEqual(512);
      expect(counts.reduce((a, b) => a + b)).toBe(times.length);
      expect(Math.abs(fromUs % intervalUs)).toBe(0);
      expect([counts[0], counts.at(-1)].every((count) => count! > 0)).toBe(true);
      const expected = counts.map(
        (_, i) => times.filter((t) => Math.floor((t - fromUs) / intervalUs) === i).length,
      );
      expect(counts).toEqual(expected);
      expect(rateOf([times.slice(0, cut), times.slice(cut)])).toEqual(rate);
    }),
  );
});

it('has nothing to say of no events', () => {
  expect(rateOf([])).toBeUndefined();
});

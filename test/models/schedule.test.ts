import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { learningRateAt } from '../../models/training/schedule.js';

describe('learningRateAt', () => {
  const options = { base: 0.003, final: 1e-5, warmupSteps: 10, totalSteps: 111 };

  it('climbs by equal steps, the first of them above zero', () => {
    expect(learningRateAt(0, options)).toBeCloseTo(0.0003, 12);
    expect(learningRateAt(4, options)).toBeCloseTo(0.0015, 12);
  });

  it('is exactly base at the end of the warm-up and exactly final at the last step', () => {
    expect(learningRateAt(9, options)).toBe(0.003);
    expect(learningRateAt(110, options)).toBe(1e-5);
    expect(learningRateAt(5000, options)).toBe(1e-5);
  });

  it('follows the cosine in between', () => {
    // Steps 9 … 110: a quarter of the way is not a step, half (59.5) neither; they lie between two.
    const rates = [59, 60].map((step) => learningRateAt(step, options));
    expect((rates[0] + rates[1]) / 2).toBeCloseTo((0.003 + 1e-5) / 2, 8);
    const third = { base: 1, warmupSteps: 0, totalSteps: 4 };
    expect(learningRateAt(1, third)).toBeCloseTo(0.75, 12);
    expect(learningRateAt(2, third)).toBeCloseTo(0.25, 12);
  });

  it('starts at base without warm-up, and ends at 0 where no final rate is given', () => {
    const plain = { base: 2, warmupSteps: 0, totalSteps: 5 };
    expect(learningRateAt(0, plain)).toBe(2);
    expect(learningRateAt(4, plain)).toBe(0);
    expect(learningRateAt(0, { ...plain, totalSteps: 1 })).toBe(2);
  });

  it('rises to the peak, then falls, between final and base', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 50 }),
        fc.integer({ min: 1, max: 200 }),
        fc.integer({ min: 0, max: 300 }),
        (warmupSteps, totalSteps, step) => {
          const at = (s: number): number =>
            learningRateAt(s, { base: 1, final: 0.01, warmupSteps, totalSteps });
          const peak = Math.max(warmupSteps, 1) - 1;
          expect(at(step)).toBeLessThanOrEqual(1);
          expect(at(step)).toBeGreaterThan(0);
          if (step < peak) expect(at(step + 1)).toBeGreaterThan(at(step));
          else expect(at(step + 1)).toBeLessThanOrEqual(at(step));
          expect(at(Math.max(totalSteps, warmupSteps + 1))).toBe(0.01);
        },
      ),
    );
  });
});

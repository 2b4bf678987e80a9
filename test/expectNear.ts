import { expect } from 'vitest';

/**
 * Expects two lists of the same length with values that are equal to half a unit in a decimal place, as `toBeCloseTo`
 * does. One assertion for all: as many as there are values take far longer than what they check.
 */
export function expectNear(
  values: ArrayLike<number>,
  expected: ArrayLike<number>,
  digits: number,
): void {
  expect(values.length).toBe(expected.length);
  const limit = 10 ** -digits / 2;
  for (let i = 0; i < values.length; i++) {
    if (!(Math.abs(values[i] - expected[i]) < limit)) {
      expect.fail(`value ${i} is ${values[i]}, ${expected[i]} was expected`);
    }
  }
}

import { expect } from 'vitest';

/**
 * Long lists of numbers are compared by a plain loop first. Only where that finds a difference does the comparison
 * of the assertion, which takes a hundred times longer, look closer, judge and describe it.
 */
expect.addEqualityTesters([(a, b) => (areSame(a, b) ? true : undefined)]);

/** Whether two values are certainly equal: lists, lists of lists and typed arrays, value by value. */
function areSame(a: unknown, b: unknown): boolean {
  if (typeof a !== 'object' || typeof b !== 'object') return Object.is(a, b);
  if (a === null || b === null || a.constructor !== b.constructor) return a === b;
  if (!Array.isArray(a) && !(ArrayBuffer.isView(a) && 'length' in a)) return a === b;
  const [one, other] = [a, b] as unknown as [ArrayLike<unknown>, ArrayLike<unknown>];
  if (one.length !== other.length) return false;
  for (let i = 0; i < one.length; i++) {
    if (!Object.is(one[i], other[i]) && !areSame(one[i], other[i])) return false;
  }
  return true;
}

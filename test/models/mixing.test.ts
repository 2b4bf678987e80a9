import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { createRandom } from '../../engine/support/random.js';
import { cutmix } from '../../models/training/cutmix.js';
import { smoothShares, smoothTargets } from '../../models/training/loss.js';

const shape = [3, 2, 2, 5, 7];
const values = shape.reduce((a, b) => a * b);
/** Every value of clip i is i, and so is its class. */
const inputs = Float32Array.from({ length: values }, (_, i) => Math.floor((3 * i) / values));
const targets = Float32Array.from([1, 0, 0, 0, 1, 0, 0, 0, 1]);

describe('cutmix', () => {
  it('takes one rectangle, the same in all clips, bins and channels, and shares targets by its area', () => {
    let cut = 0;
    for (let seed = 0; seed < 200; seed++) {
      const mixed = cutmix(inputs, shape, targets, 1, createRandom(seed));
      for (let clip = 0; clip < 3; clip++) {
        const own = mixed.inputs.subarray((clip * values) / 3, ((clip + 1) * values) / 3);
        const plane = own.slice(0, 35);
        for (let at = 0; at < own.length; at += 35) {
          expect(own.subarray(at, at + 35)).toEqual(plane);
        }
        const foreign = [...plane.keys()].filter((i) => plane[i] !== clip);
        const columns = new Set(foreign.map((i) => i % 7)).size;
        const rows = new Set(foreign.map((i) => Math.floor(i / 7))).size;
        expect(foreign.length).toBe(columns * rows);
        expect(new Set(foreign.map((i) => plane[i])).size).toBeLessThanOrEqual(1);
        const shares = mixed.targets.subarray(3 * clip, 3 * clip + 3);
        expect(shares[clip]).toBeCloseTo(1 - foreign.length / 35, 6);
        if (foreign.length > 0) {
          expect(shares[plane[foreign[0]]]).toBeCloseTo(foreign.length / 35, 6);
          cut++;
        }
      }
    }
    expect(cut).toBeGreaterThan(100);
  });

  it('changes no input, and gives the same for the same seed', () => {
    fc.assert(
      fc.property(fc.nat(), fc.double({ min: 0.05, max: 1, noNaN: true }), (seed, alpha) => {
        const [before, labels] = [inputs.slice(), targets.slice()];
        const first = cutmix(inputs, shape, targets, alpha, createRandom(seed));
        expect([inputs, targets]).toEqual([before, labels]);
        expect(cutmix(inputs, shape, targets, alpha, createRandom(seed))).toEqual(first);
      }),
    );
  });
});

describe('smoothShares', () => {
  it('is (1 - s) · share + s / K, and smoothTargets for clips of one class', () => {
    const smoothed = smoothShares(Float32Array.from([0.25, 0.75, 0, 0, 0, 1]), 3, 0.3);
    [0.275, 0.625, 0.1, 0.1, 0.1, 0.8].forEach((value, i) =>
      expect(smoothed[i]).toBeCloseTo(value, 6),
    );
    expect(smoothTargets([2, 0], 3, 0.3)).toEqual(
      smoothShares(Float32Array.from([0, 0, 1, 1, 0, 0]), 3, 0.3),
    );
  });
});

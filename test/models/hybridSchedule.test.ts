import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { hybridPlacements, hybridSchedule } from '../../models/mixers/hybridSchedule.js';

const [base, full] = [{ name: 'gatedDeltaNet' }, { name: 'softmaxAttention' }];

const plan = (depth: number, ratio: number, placement: (typeof hybridPlacements)[number]): string =>
  hybridSchedule(depth, { base, full, ratio, placement })
    .map((mixer) => (mixer === full ? 'F' : 'l'))
    .join('');

describe('hybridSchedule', () => {
  it('places full layers where it says', () => {
    expect(plan(8, 3, 'interleaved')).toBe('lllFlllF');
    expect(plan(8, 3, 'first')).toBe('FFllllll');
    expect(plan(8, 3, 'middle')).toBe('lllFFlll');
    expect(plan(8, 3, 'last')).toBe('llllllFF');
    expect(plan(2, 3, 'interleaved')).toBe('lF');
    expect(plan(1, 1, 'middle')).toBe('F');
  });

  it('has one full layer for each `ratio` of the others, exactly where the depth allows it', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(24, 12, 6, 3, 1),
        fc.integer({ min: 1, max: 6 }),
        fc.constantFrom(...hybridPlacements),
        (ratio, groups, placement) => {
          const layers = plan(groups * (ratio + 1), ratio, placement);
          expect(layers.replaceAll('l', '').length).toBe(groups);
        },
      ),
    );
  });

  it('always has a full layer, and as many layers as asked for', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 1, max: 30 }),
        fc.constantFrom(...hybridPlacements),
        (depth, ratio, placement) => {
          const layers = plan(depth, ratio, placement);
          expect(layers.length).toBe(depth);
          expect(layers).toContain('F');
        },
      ),
    );
  });
});

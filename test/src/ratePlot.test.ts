import fc from 'fast-check';
import { expect, it } from 'vitest';
import { ratePlot } from '../../src/ratePlot.js';

const rate = (counts: number[]) => ({ fromUs: 500, intervalUs: 1000, counts });

it('draws bars as high as the rate, with the highest rate and the duration', () => {
  const lines = ratePlot(rate([0, 8, 4, 2]), { width: 29, rows: 2 });
  expect(lines).toEqual([
    '    8k/s┤     █████',
    '       0┤     ██████████▄▄▄▄▄',
    '         0 s          0.004 s',
  ]);
});

it('keeps to the width, and is plain unless colour is asked for', () => {
  fc.assert(
    fc.property(
      fc.array(fc.nat(1e6), { minLength: 1, maxLength: 512 }),
      fc.integer({ min: 30, max: 200 }),
      (counts, width) => {
        const some = [...counts, 1];
        const lines = ratePlot(rate(some), { width });
        for (const line of lines) expect(line.length).toBeLessThanOrEqual(width);
        const text = lines.join('\n');
        expect(text).not.toContain('\u001b');
        const coloured = ratePlot(rate(some), { width, colour: true }).join('\n');
        expect(coloured).toContain('\u001b[36m');
        // eslint-disable-next-line no-control-regex
        expect(coloured.replace(/\u001b\[\d+m| +(?=\u001b|\n)/g, '')).toBe(text);
      },
    ),
  );
});

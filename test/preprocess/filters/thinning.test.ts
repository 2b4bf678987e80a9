import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseFilter } from '../../../preprocess/filters/index.js';
import type { EventRow } from '../../ingest/streams.js';
import { eventRows } from '../eventRows.js';
import { expectReference, passing, sensor } from './references.js';

describe('mask', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'saccade-mask-'));
  });
  afterAll(() => rm(folder, { recursive: true }));

  it('drops the listed pixels', () => {
    expectReference(
      'mask:pixels=1/2+0-3/0',
      ([, x, y]) => !(x === 1 && y === 2) && (y > 0 || x > 3),
    );
  });

  it('has one description for lists that mean the same', () => {
    const description = 'mask:pixels=0-2/0+4/0+1/3';
    for (const list of ['1/3+4/0+0-2/0', '0/0+1/0+2/0+4/0+1/3', '0-1/0+1-2/0+1/0+4/0+1/3']) {
      expect(parseFilter(`mask:pixels=${list}`).description).toBe(description);
    }
  });

  it('reads a file, whose content is its description', async () => {
    const file = join(folder, 'hot.txt');
    await writeFile(file, '# hot pixels\n1 3\r\n\n2,0  # a comma\n1,0\n');
    const filter = parseFilter(`mask:pixels=@${file}`);
    expect(filter.description).toBe('mask:pixels=1-2/0+1/3');
    await writeFile(file, '1 3\n');
    expect(parseFilter(`mask:pixels=@${file}`).description).toBe('mask:pixels=1/3');
  });

  it('names what is wrong with a list or a file', async () => {
    expect(() => parseFilter('mask')).toThrow(/pixels is missing, expected pixels=… \(x\/y or/);
    expect(() => parseFilter('mask:1/2')).toThrow(/"1\/2" is too much, expected mask:pixels=…/);
    expect(() => parseFilter('mask:pixels')).toThrow(/pixels has no value/);
    expect(() => parseFilter('mask:pixels=1/2,pixels=1/3')).toThrow(/pixels is given twice/);
    for (const list of ['', '1', '1/', '3-1/0', '1/2+', '-1/2', '1.5/2']) {
      expect(() => parseFilter(`mask:pixels=${list}`)).toThrow(/is no pixel, expected x\/y or/);
    }
    expect(() => parseFilter('mask:pixels=5/0').start(sensor)).toThrow(
      /lists 5\/0, expected pixels of the sensor, which has 5 columns and 4 rows/,
    );
    expect(() => parseFilter('mask:pixels=0-4/4').start(sensor)).toThrow(/lists 0-4\/4/);
    expect(() => parseFilter('mask:pixels=@nowhere.txt')).toThrow(
      /nowhere.txt: cannot read.*ENOENT/,
    );
    const file = join(folder, 'bad.txt');
    await writeFile(file, '1 2\nx y\n');
    expect(() => parseFilter(`mask:pixels=@${file}`)).toThrow(/bad.txt: line 2 is "x y"/);
    await writeFile(file, '# none\n');
    expect(() => parseFilter(`mask:pixels=@${file}`)).toThrow(/bad.txt: has no pixels/);
  });
});

describe('decimate', () => {
  it.each([1, 2, 7])('keeps one of %i', (every) => {
    expectReference(`decimate:${every}`, (_row, before) => before.length % every === 0);
    expectReference(`decimate:${every},1`, ([, x, y], before) => {
      return before.filter((row) => row[1] === x && row[2] === y).length % every === 0;
    });
  });
});

describe('randomDrop', () => {
  const rows = Array.from({ length: 20_000 }, (_, i): EventRow => [i, i % 5, i % 4, i % 2]);

  it.each([0.1, 0.5, 0.9])('drops a share of %f', (share) => {
    // Five standard deviations of the binomial distribution.
    const deviation = Math.sqrt(share * (1 - share) * rows.length);
    const dropped = rows.length - passing(`randomDrop:${share}`, rows).length;
    expect(Math.abs(dropped - share * rows.length)).toBeLessThan(5 * deviation);
  });

  it('drops nothing or everything at the ends', () => {
    expect(passing('randomDrop:0', rows)).toEqual(rows);
    expect(passing('randomDrop:1', rows)).toEqual([]);
  });

  it('drops independently from event to event and from seed to seed', () => {
    const kept = (seed: number): Set<number> =>
      new Set(passing(`randomDrop:0.5,${seed}`, rows).map(([t]) => t));
    const [first, second] = [kept(1), kept(2)];
    const shares = [
      rows.filter(([t]) => first.has(t) === first.has(t + 1)).length,
      rows.filter(([t]) => first.has(t) === second.has(t)).length,
      rows.filter(([t]) => first.has(t) === second.has(t + 1)).length,
    ];
    for (const same of shares) expect(Math.abs(same / rows.length - 0.5)).toBeLessThan(0.02);
  });

  it('counts events beyond 32 bits', () => {
    const filter = parseFilter('randomDrop:0.5');
    const state = filter.start(sensor);
    (state.own as Uint32Array).set([2 ** 32 - 1, 0]);
    expect(passing(filter, rows.slice(0, 1)).length).toBeLessThanOrEqual(1);
    filter.apply(
      {
        sensor,
        length: 2,
        tUs: Float64Array.of(1, 2),
        x: new Uint16Array(2),
        y: new Uint16Array(2),
        polarity: new Uint8Array(2),
      },
      state,
    );
    expect(state.own).toEqual(Uint32Array.of(1, 1));
  });
});

describe('rateLimit', () => {
  it('never passes more than the budget in an interval, and all where there is less', () => {
    fc.assert(
      fc.property(eventRows(sensor, [0, 60]), fc.integer({ min: 1, max: 9 }), (rows, budget) => {
        const intervalOf = (t: number): number => Math.floor((t - rows[0][0]) / 500);
        const counts = (list: readonly EventRow[]): Map<number, number> => {
          const found = new Map<number, number>();
          for (const [t] of list) found.set(intervalOf(t), (found.get(intervalOf(t)) ?? 0) + 1);
          return found;
        };
        const passed = passing(`rateLimit:${budget * 2000},500`, rows);
        for (const count of counts(passed).values()) expect(count).toBeLessThanOrEqual(budget);
        const busiest = Math.max(0, ...counts(rows).values());
        expect(passing(`rateLimit:${busiest * 2000 + 2000},500`, rows)).toEqual(rows);
      }),
    );
  });

  it('thins a steady stream evenly once it has seen an interval', () => {
    const rows = Array.from({ length: 300 }, (_, i): EventRow => [i * 10, 1, 1, 1]);
    const passed = passing('rateLimit:25000,1000', rows).map(([t]) => t);
    expect(passed.filter((t) => t < 1000)).toEqual(rows.slice(0, 25).map(([t]) => t));
    const second = passed.filter((t) => t >= 1000 && t < 2000);
    expect(second).toEqual(Array.from({ length: 25 }, (_, i) => 1030 + 40 * i));
  });

  it('lets the first events after a silence pass, and after a clock has restarted', () => {
    const burst = (fromUs: number): EventRow[] =>
      Array.from({ length: 50 }, (_, i): EventRow => [fromUs + i, 1, 1, 1]);
    const rows = [...burst(0), ...burst(10_000_000), ...burst(-5_000_000)];
    const passed = passing('rateLimit:10000,1000', rows);
    const expected = [0, 10_000_000, -5_000_000].flatMap((fromUs) => burst(fromUs).slice(0, 10));
    expect(passed).toEqual(expected);
  });

  it('refuses a budget of no event', () => {
    expect(() => parseFilter('rateLimit:10,10')).toThrow(
      /give no event in 10 µs, expected a longer/,
    );
  });
});

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createBatch } from '../../../ingest/eventBatch.js';
import { parseFilter } from '../../../preprocess/filters/index.js';
import { type EventRow, rowsOf } from '../../ingest/streams.js';
import { eventRows } from '../eventRows.js';
import { agesAround, expectReference, passing, sensor } from './references.js';

describe('spatiotemporalCorrelation', () => {
  it.each([
    [0, 1, 0],
    [200, 2, 0],
    [200, 1, 1],
    [1000, 3, 1],
    [100_000, 8, 0],
  ])(
    'of %i µs, %i pixels, same polarity %i passes what the reference passes',
    (windowUs, k, same) => {
      expectReference(`spatiotemporalCorrelation:${windowUs},${k},${same}`, (row, before) => {
        const ages = agesAround(row, before, same === 1 ? { polarity: row[3] } : {});
        return ages.filter((age) => age <= windowUs).length >= k;
      });
    },
  );

  it('without polarities is background activity with as many neighbours', () => {
    fc.assert(
      fc.property(eventRows(sensor), fc.integer({ min: 1, max: 8 }), (rows, k) => {
        const expected = passing(`backgroundActivity:250,${k}`, rows);
        expect(passing(`spatiotemporalCorrelation:250,${k}`, rows)).toEqual(expected);
      }),
    );
  });
});

describe('doubleWindow', () => {
  it.each([
    [1, 2, 1],
    [4, 1, 1],
    [10, 3, 4],
    [5, 0, 2],
  ])('of %i events, %i pixels, %i near passes what the reference passes', (size, distance, k) => {
    expectReference(
      `doubleWindow:${size},${distance},${k}`,
      ([, x, y], _before, passed, dropped) => {
        const windows = [...passed.slice(-size), ...dropped.slice(-size)];
        const near = windows.filter(
          (row) => Math.abs(row[1] - x) + Math.abs(row[2] - y) <= distance,
        );
        return near.length >= k;
      },
    );
  });
});

describe('yNoise', () => {
  it.each([
    [200, 1, 1],
    [200, 2, 2],
    [1000, 4, 2],
    [400, 3, 3],
  ])(
    'of %i µs, density %i, radius %i passes what the reference passes',
    (windowUs, density, radius) => {
      expectReference(`yNoise:${windowUs},${density},${radius}`, (row, before) => {
        const [tUs, x, y, polarity] = row;
        const own = before.findLast(
          (each) => each[1] === x && each[2] === y && each[3] === polarity,
        );
        const itself = own !== undefined && Math.abs(tUs - own[0]) <= windowUs;
        const around = agesAround(row, before, { radius, polarity }).filter(
          (age) => age <= windowUs,
        );
        const next = agesAround(row, before, { polarity }).some((age) => age <= windowUs);
        return around.length + Number(itself) >= density && next;
      });
    },
  );
});

describe('timeDecay', () => {
  it.each([
    [100, 0.3, 1],
    [300, 1.2, 1],
    [1000, 2.5, 2],
  ])(
    'of %i µs, threshold %f, radius %i passes what the reference passes',
    (decayUs, least, radius) => {
      expectReference(`timeDecay:${decayUs},${least},${radius}`, (row, before) => {
        const ages = agesAround(row, before, { radius, polarity: row[3] });
        return ages.reduce((sum, age) => sum + Math.exp(-age / decayUs), 0) >= least;
      });
    },
  );
});

describe('hotPixels', () => {
  /** From the definition, with everything counted anew for each event. */
  function reference(rows: readonly EventRow[], slow: number, factor: number, intervalUs: number) {
    const starts: number[] = [];
    rows.forEach(([tUs], i) => {
      const start = starts.at(-1);
      if (start === undefined || Math.abs(tUs - rows[start][0]) >= intervalUs) starts.push(i);
    });
    const count = (x: number, y: number, from: number, to: number): number =>
      rows.slice(from, to).filter((row) => row[1] === x && row[2] === y).length;
    const exceeds = (x: number, y: number, from: number, to: number): boolean => {
      let around = 0;
      for (const dx of [-1, 0, 1]) {
        for (const dy of [-1, 0, 1])
          if (dx !== 0 || dy !== 0) around += count(x + dx, y + dy, from, to);
      }
      const own = count(x, y, from, to);
      return own > slow && own > (factor * around) / 8;
    };
    return rows.filter(([, x, y], i) => {
      const current = starts.findLastIndex((start) => start <= i);
      const from = starts[current];
      const since = current > 0 && exceeds(x, y, starts[current - 1], from);
      const now = rows.some(
        (row, j) =>
          j >= from && j <= i && row[1] === x && row[2] === y && exceeds(x, y, from, j + 1),
      );
      return !since && !now;
    });
  }

  it.each([
    [2000, 2, 1000],
    [0, 1, 200],
    [5000, 4, 500],
  ])(
    'above %i Hz, factor %i, in %i µs passes what the reference passes',
    (hz, factor, intervalUs) => {
      fc.assert(
        fc.property(eventRows(sensor), (rows) => {
          const expected = reference(rows, (hz * intervalUs) / 1e6, factor, intervalUs);
          expect(passing(`hotPixels:${hz},${factor},${intervalUs}`, rows)).toEqual(expected);
        }),
      );
    },
  );

  it('silences a pixel from the event on that is too much, over a silence of 10 s, until it has calmed', () => {
    const burst = (fromUs: number): EventRow[] =>
      [0, 1, 2, 3, 4].map((i) => [fromUs + i * 100, 2, 2, 1]);
    const rows: EventRow[] = [
      ...burst(0),
      ...burst(10_000_000),
      [20_000_000, 2, 2, 1],
      [30_000_000, 2, 2, 1],
    ];
    // 3 events in 1000 µs are allowed; the first interval afterwards in which it is slow sets it free.
    expect(passing('hotPixels:3000,1,1000', rows)).toEqual([...rows.slice(0, 3), rows[11]]);
  });

  it('takes an edge, which sets off neighbours too, for none', () => {
    const edge = Array.from({ length: 200 }, (_, i): EventRow => [i, (i >> 2) % 5, i % 4, 1]);
    expect(passing('hotPixels:50', edge)).toEqual(edge);
    const alone = edge.filter((row) => row[1] === 2 && row[2] === 1);
    expect(passing('hotPixels:50', alone)).toEqual(alone.slice(0, 5));
  });
});

describe('antiFlicker', () => {
  it.each([
    [1000, 10_000, 1],
    [500, 50_000, 2],
    [2000, 4000, 3],
  ])('of %i to %i Hz, %i cycles passes what the reference passes', (low, high, cycles) => {
    const rows = eventRows({ width: 2, height: 1 }, [0, 150]);
    expectReference(
      `antiFlicker:${low},${high},${cycles}`,
      ([tUs, x, y, polarity], before) => {
        const own = [...before.filter((row) => row[1] === x && row[2] === y)];
        own.push([tUs, x, y, polarity]);
        const turns = own
          .filter((row, i) => row[3] === 1 && (i === 0 || own[i - 1][3] === 0))
          .map((row) => row[0]);
        if (turns.length === 0 || tUs - turns[turns.length - 1] > 1e6 / low) return true;
        const periods = turns.slice(1).map((turn, i) => turn - turns[i]);
        const outside = periods.findLastIndex((us) => us < 1e6 / high || us > 1e6 / low);
        return periods.length - 1 - outside < cycles;
      },
      rows,
    );
  });

  /** A pixel that turns ON and OFF at a frequency, and does something else now and then. */
  const flicker = (hz: number, fromUs: number, periods: number): EventRow[] =>
    Array.from({ length: periods }, (_, i): EventRow[] => [
      [Math.round(fromUs + (i * 1e6) / hz), 1, 1, 1],
      [Math.round(fromUs + ((i + 0.5) * 1e6) / hz), 1, 1, 0],
    ]).flat();

  it('drops a lamp of 100 Hz after its third period and lets go when it is off', () => {
    const lamp = flicker(100, 0, 50);
    const after: EventRow = [lamp[lamp.length - 1][0] + 20_000, 1, 1, 0];
    const passed = passing('antiFlicker:90,110,3', [...lamp, after]);
    expect(passed).toEqual([...lamp.slice(0, 6), after]);
  });

  it.each([50, 300])('keeps one of %i Hz', (hz) => {
    const lamp = flicker(hz, 0, 50);
    expect(passing('antiFlicker:90,110,3', lamp)).toEqual(lamp);
  });

  it('refuses a band that ends before it begins', () => {
    expect(() => parseFilter('antiFlicker:100,50')).toThrow(/minimumHz is 100.*maximumHz, 50/);
  });
});

describe('filters against noise', () => {
  const calls = [
    'backgroundActivity:1000000000',
    'spatiotemporalCorrelation:1000000000,1',
    'doubleWindow:10,9',
    'yNoise:1000000000,1',
    'timeDecay:1000000000,0.001',
  ];

  it.each(calls)('%s drops the first event, at whatever time it comes', (call) => {
    for (const tUs of [0, 1, 999, -5_000_000, 1.7e15]) {
      expect(passing(call, [[tUs, 2, 2, 1]])).toEqual([]);
    }
  });

  it.each(calls)('%s takes events of one time for company, also at the border', (call) => {
    for (const tUs of [0, -3, 1.7e15]) {
      const rows: EventRow[] = [
        [tUs, 0, 0, 1],
        [tUs, 0, 1, 1],
        [tUs, 4, 3, 1],
        [tUs, 4, 2, 1],
      ];
      const passed = passing(call, rows);
      expect(passed).toContainEqual(rows[1]);
      expect(passed).toContainEqual(rows[3]);
    }
  });

  const withMemoryOfTime = [
    'refractory:1000',
    'backgroundActivity:1000',
    'spatiotemporalCorrelation:1000,2',
    'yNoise:1000,2',
    'timeDecay:1000,1',
  ];
  it.each(withMemoryOfTime)('%s has forgotten everything after 10 s of silence', (call) => {
    const rows = eventRows(sensor, [0, 120], 30);
    fc.assert(
      fc.property(rows, rows, (first, second) => {
        const endUs = (first.at(-1)?.[0] ?? 0) + 10_000_000 - (second[0]?.[0] ?? 0);
        const later = second.map(([t, ...rest]): EventRow => [t + endUs, ...rest]);
        const expected = [...passing(call, first), ...passing(call, later)];
        expect(passing(call, [...first, ...later])).toEqual(expected);
      }),
    );
  });

  it.each([...calls, 'polarity:1', 'downsampleCount:2,1'])(
    '%s takes booleans for polarities',
    (call) => {
      const filter = parseFilter(call);
      const booleans = [true, false, true, true];
      const batch = (polarity: Uint8Array) =>
        createBatch(
          sensor,
          Float64Array.of(1, 2, 3, 4),
          Uint16Array.of(1, 2, 2, 1),
          Uint16Array.of(1, 1, 2, 2),
          polarity,
        );
      const fromBooleans = batch(Uint8Array.from(booleans as unknown as number[]));
      const passed = filter.apply(fromBooleans, filter.start(sensor));
      const expected = filter.apply(batch(Uint8Array.of(1, 0, 1, 1)), filter.start(sensor));
      expect(rowsOf(passed)).toEqual(rowsOf(expected));
      expect(passed.length).toBeGreaterThan(0);
    },
  );
});

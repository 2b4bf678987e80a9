import { deserialize, serialize } from 'node:v8';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { concatBatches, emptyBatch, sliceBatch } from '../../../ingest/eventBatch.js';
import {
  applyFilters,
  filters,
  filterStream,
  parseFilter,
  sensorAfterFilters,
  startFilters,
  Workspace,
} from '../../../preprocess/filters/index.js';
import { batchOf, collect, type EventRow, rowsOf, streamOf } from '../../ingest/streams.js';
import { eventRows } from '../eventRows.js';
import { agesAround, expectReference, passing, sensor } from './references.js';

/** Calls of every registered filter, for a sensor of 5 x 4 pixels. */
const examples: Readonly<Record<string, readonly string[]>> = {
  refractory: ['refractory:0', 'refractory:100', 'refractory:1000'],
  backgroundActivity: ['backgroundActivity:80', 'backgroundActivity:300,3'],
  spatiotemporalCorrelation: ['spatiotemporalCorrelation:300', 'spatiotemporalCorrelation:500,1,1'],
  doubleWindow: ['doubleWindow:3,2', 'doubleWindow:8,1,2'],
  yNoise: ['yNoise:300', 'yNoise:500,3,1'],
  timeDecay: ['timeDecay:200,0.5', 'timeDecay:300,1.5,2'],
  hotPixels: ['hotPixels:2000,2,1000', 'hotPixels:0,1,200'],
  mask: ['mask:pixels=0/0+2-4/3', 'mask:pixels=1/2'],
  antiFlicker: ['antiFlicker:1000,10000,1', 'antiFlicker:500,50000,2'],
  polarity: ['polarity:0', 'polarity:1'],
  region: ['region:1,1,3,2', 'region:4,0,100,100'],
  decimate: ['decimate:3', 'decimate:2,1'],
  randomDrop: ['randomDrop:0.5', 'randomDrop:0.2,7'],
  rateLimit: ['rateLimit:10000,500', 'rateLimit:3000,1000'],
  downsample: ['downsample:2', 'downsample:7'],
  downsampleCount: ['downsampleCount:2,2', 'downsampleCount:1'],
  undistort: ['undistort:4,4,2,1.5', 'undistort:4,4,2,1.5,-0.3,0.05,0.01,-0.02'],
  flipX: ['flipX'],
  flipY: ['flipY'],
  rotate: ['rotate:90', 'rotate:-180', 'rotate:30'],
  transpose: ['transpose'],
};

/** Filters that move events. */
const moving = new Set(
  'downsample downsampleCount undistort flipX flipY rotate transpose'.split(' '),
);

/** Filters whose state means nothing any more after a long silence. */
const forgetful = new Set(
  (
    'refractory backgroundActivity spatiotemporalCorrelation yNoise timeDecay mask polarity region ' +
    'downsample undistort flipX flipY rotate transpose'
  ).split(' '),
);

describe('refractory', () => {
  it.each([0, 1, 90, 700])('of %i µs passes what the reference passes', (periodUs) => {
    expectReference(`refractory:${periodUs}`, ([tUs, x, y], _before, passed) => {
      const last = passed.findLast((row) => row[1] === x && row[2] === y);
      return last === undefined || Math.abs(tUs - last[0]) >= periodUs;
    });
  });

  it('counts from the last event that passed, over both polarities', () => {
    const rows: EventRow[] = [
      [1000, 0, 0, 1],
      [1060, 0, 0, 0],
      [1099, 0, 0, 1],
      [1100, 0, 0, 0],
      [1101, 1, 0, 0],
    ];
    expect(passing(parseFilter('refractory:100'), rows)).toEqual([rows[0], rows[3], rows[4]]);
  });

  it('goes on at once where the clock restarts', () => {
    const rows: EventRow[] = [
      [9_000_000, 2, 2, 1],
      [10, 2, 2, 1],
      [20, 2, 2, 1],
      [200, 2, 2, 1],
    ];
    expect(passing(parseFilter('refractory:100'), rows)).toEqual([rows[0], rows[1], rows[3]]);
  });
});

describe('backgroundActivity', () => {
  it.each([
    [0, 1],
    [50, 1],
    [200, 2],
    [1000, 4],
    [100_000, 8],
  ])('of %i µs and %i neighbours passes what the reference passes', (windowUs, neighbours) => {
    expectReference(`backgroundActivity:${windowUs},${neighbours}`, (row, before) => {
      return agesAround(row, before).filter((age) => age <= windowUs).length >= neighbours;
    });
  });

  it('drops a hot pixel and keeps company, also of a dropped event', () => {
    const rows: EventRow[] = [
      [10, 1, 1, 1],
      [20, 1, 1, 1],
      [30, 2, 2, 0],
      [131, 3, 3, 0],
      [131, 4, 3, 0],
    ];
    expect(passing(parseFilter('backgroundActivity:100'), rows)).toEqual([rows[2], rows[4]]);
  });

  it('takes no opposite edge for a neighbour', () => {
    const rows: EventRow[] = [
      [10, sensor.width - 1, 1, 1],
      [11, 0, 2, 1],
      [12, 2, 0, 1],
      [13, 2, sensor.height - 1, 1],
    ];
    expect(passing(parseFilter('backgroundActivity:100'), rows)).toEqual([]);
  });
});

describe('polarity', () => {
  it.each([0, 1])('keeps %i', (kept) => {
    expectReference(`polarity:${kept}`, (row) => row[3] === kept);
  });
});

describe('region', () => {
  it('keeps a rectangle', () => {
    expectReference('region:1,2,3,1', ([, x, y]) => x >= 1 && x <= 3 && y === 2);
  });

  it('may reach beyond the sensor', () => {
    expectReference('region:0,1,65536,65536', ([, , y]) => y >= 1);
  });

  it('refuses a rectangle without a pixel of the sensor', () => {
    for (const call of ['region:5,0,1,1', 'region:0,4,1,1']) {
      const error = /starts at column \d, row \d, expected a place.* 5 columns and 4 rows/;
      expect(() => parseFilter(call).start(sensor)).toThrow(error);
    }
  });
});

describe('filters', () => {
  it('have names of their own and examples here', () => {
    expect(filters.map((filter) => filter.name).sort()).toEqual(Object.keys(examples).sort());
  });

  const calls = filters.flatMap(({ name }) => examples[name] ?? []);
  describe.each(calls)('%s conforms', (call) => {
    const filter = parseFilter(call);
    const rows = eventRows(sensor);

    it('has a description that means the same', () => {
      const again = parseFilter(filter.description);
      expect(again.description).toBe(filter.description);
      fc.assert(
        fc.property(rows, (list) => {
          expect(passing(again, list)).toEqual(passing(filter, list));
        }),
      );
    });

    it('keeps a part of the events, in order, and changes no batch', () => {
      const moves = moving.has(call.split(':')[0]);
      const comparable = ([tUs, x, y, polarity]: EventRow): string =>
        String(moves ? [tUs, polarity] : [tUs, x, y, polarity]);
      fc.assert(
        fc.property(rows, (list) => {
          const batch = batchOf(sensor, list);
          const passed = filter.apply(batch, filter.start(sensor));
          expect(passed.sensor).toEqual(filter.sensorAfter(sensor));
          let from = 0;
          for (const row of rowsOf(passed)) {
            const at = list.findIndex(
              (each, i) => i >= from && comparable(each) === comparable(row),
            );
            expect(at).toBeGreaterThanOrEqual(from);
            from = at + 1;
            expect(row[1]).toBeLessThan(passed.sensor.width);
            expect(row[2]).toBeLessThan(passed.sensor.height);
          }
          expect(rowsOf(batch)).toEqual(list);
        }),
      );
    });

    it('passes the same events however the stream is cut', async () => {
      await fc.assert(
        fc.asyncProperty(rows, fc.array(fc.nat(9), { minLength: 1 }), async (list, lengths) => {
          const batch = batchOf(sensor, list);
          for (const cut of [[1], [...lengths, 1]]) {
            const parts = [];
            for (let start = 0, i = 0; start < list.length; i++) {
              const end = Math.min(list.length, start + cut[i % cut.length]);
              parts.push(sliceBatch(batch, start, end));
              start = end;
            }
            const passed = await collect(filterStream(streamOf(parts), [filter]));
            expect(passed.every((each) => each.length > 0)).toBe(true);
            expect(passed.flatMap(rowsOf)).toEqual(passing(filter, list));
            const reusing: EventRow[] = [];
            for await (const each of filterStream(streamOf(parts), [filter], { reuse: true })) {
              reusing.push(...rowsOf(each));
            }
            expect(reusing).toEqual(passing(filter, list));
          }
        }),
        { numRuns: 60 },
      );
    });

    it('goes on from a saved state as if it had not been interrupted', () => {
      fc.assert(
        fc.property(rows, rows, (first, second) => {
          const state = filter.start(sensor);
          const before = rowsOf(filter.apply(batchOf(sensor, first), state));
          const copies = [structuredClone(state), deserialize(serialize(state)) as typeof state];
          const next = batchOf(sensor, second);
          const passed = rowsOf(filter.apply(next, state));
          expect([...before, ...passed]).toEqual(passing(filter, [...first, ...second]));
          for (const copy of copies) {
            expect(rowsOf(filter.apply(next, copy))).toEqual(passed);
            expect(copy).toEqual(state);
          }
        }),
      );
    });

    it('does not depend on where time begins', () => {
      fc.assert(
        fc.property(rows, fc.constantFrom(-1e9, -1, 1e6, 5e14), (list, shiftUs) => {
          const shifted = list.map(([t, ...rest]): EventRow => [t + shiftUs, ...rest]);
          const expected = passing(filter, list).map(([t, ...rest]) => [t + shiftUs, ...rest]);
          expect(passing(filter, shifted)).toEqual(expected);
        }),
      );
    });

    it('takes one event, equal times and 10 s of silence for what they are', () => {
      const same = [2, 3, 1, 2].map((x): EventRow => [700, x, 2, 1]);
      const later = same.map(([, ...rest]): EventRow => [10_000_700, ...rest]);
      const list = [...same, ...later];
      // What passes of a stream passes of its beginning: nothing waits for the time to go on.
      for (const count of [1, same.length, same.length + 1, list.length]) {
        const state = filter.start(sensor);
        const each = list.slice(0, count).flatMap((row) => {
          return rowsOf(filter.apply(batchOf(sensor, [row]), state));
        });
        expect(each).toEqual(passing(filter, list.slice(0, count)));
        expect(each).toEqual(passing(filter, list).slice(0, each.length));
      }
      // Where nothing is counted, drawn or learned, silence is a beginning.
      if (forgetful.has(call.split(':')[0])) {
        const after = passing(filter, list).filter(([t]) => t > 700);
        expect(after).toEqual(passing(filter, later));
      }
    });

    it('refuses events of another sensor, and such as are none, and stays as it was', () => {
      const state = filter.start(sensor);
      filter.apply(batchOf(sensor, [[5, 1, 1, 1]]), state);
      const before = structuredClone(state);
      const good: EventRow = [6, 2, 1, 1];
      for (const bad of [
        [7, sensor.width, 0, 1],
        [7, 0, sensor.height, 1],
        [NaN, 0, 0, 1],
        [-Infinity, 0, 0, 1],
        [7, 0, 0, 2],
      ] as const) {
        const batch = batchOf(sensor, [good, bad]);
        expect(() => filter.apply(batch, state)).toThrow(/^event 1 of the batch is t .*expected/);
      }
      const wider = batchOf({ width: 6, height: 4 }, [good]);
      expect(() => filter.apply(wider, state)).toThrow(
        /started for a sensor of 5 x 4 pixels, but got events of one of 6 x 4/,
      );
      expect(state).toEqual(before);
    });

    it('takes a batch without events and starts anew each time', () => {
      fc.assert(
        fc.property(rows, (list) => {
          const state = filter.start(sensor);
          expect(filter.apply(emptyBatch(sensor), state).length).toBe(0);
          expect(state).toEqual(filter.start(sensor));
          expect(rowsOf(filter.apply(batchOf(sensor, list), state))).toEqual(passing(filter, list));
        }),
      );
    });
  });
});

describe('filterStream', () => {
  it('applies filters in order, each to what the one before it passed', async () => {
    const chain = ['refractory:50', 'polarity:1', 'backgroundActivity:200'].map(parseFilter);
    await fc.assert(
      fc.asyncProperty(eventRows(sensor), async (list) => {
        const batch = batchOf(sensor, list);
        const streamed = await collect(filterStream(streamOf([batch]), chain));
        const expected = chain.reduce((rows, filter) => passing(filter, rows), list);
        expect(rowsOf(concatBatches(streamed, sensor))).toEqual(expected);
        const states = startFilters(chain, sensor);
        expect(rowsOf(applyFilters(batch, chain, states))).toEqual(expected);
        const again = startFilters(chain, sensor);
        const workspaces = chain.map(() => new Workspace());
        expect(rowsOf(applyFilters(batch, chain, again, workspaces))).toEqual(expected);
      }),
    );
  });

  it('tells each filter the sensor that the one before it gives', () => {
    const chain = ['transpose', 'downsample:2', 'region:1,2,1,1'].map(parseFilter);
    expect(sensorAfterFilters(chain, sensor)).toEqual({ width: 2, height: 3 });
    const states = startFilters(chain, sensor);
    const passed = applyFilters(
      batchOf(sensor, [
        [1, 4, 3, 1],
        [2, 0, 0, 1],
      ]),
      chain,
      states,
    );
    expect(passed.sensor).toEqual({ width: 2, height: 3 });
    expect(rowsOf(passed)).toEqual([[1, 1, 2, 1]]);
    expect(() => startFilters([...chain, parseFilter('region:2,0,1,1')], sensor)).toThrow(
      /2 columns/,
    );
  });

  it('gives back the stream where there is no filter', async () => {
    const batch = batchOf(sensor, [[5, 1, 1, 0]]);
    expect(await collect(filterStream(streamOf([batch]), []))).toEqual([batch]);
    expect(await collect(filterStream(streamOf([]), []))).toEqual([]);
  });

  it('names what is wrong with a call', () => {
    expect(() => parseFilter('refractory:never')).toThrow(
      /filter "refractory:never": periodUs is "never", expected a whole number/,
    );
    expect(() => parseFilter('median:3')).toThrow(/unknown filter "median", known are refractory/);
  });
});

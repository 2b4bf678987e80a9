import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { type EventBatch, sliceBatch } from '../../ingest/eventBatch.js';
import {
  createWindowReport,
  type EventWindow,
  type RateWindowConfig,
  type TimeOrCountWindowConfig,
  type WindowConfig,
  windowLabel,
  windowsOf,
} from '../../preprocess/windows/index.js';
import { batchOf, collect, type EventRow, rowsOf, streamOf } from '../ingest/streams.js';

const sensor = { width: 16, height: 12 };

const times = fc.array(fc.integer({ min: 0, max: 40 }), { maxLength: 60 }).map((steps) => {
  let t = 1000;
  return steps.map((step): EventRow => [(t += step), step % 16, step % 12, step % 2]);
});

const timeConfig = fc.record({
  kind: fc.constant('time' as const),
  windowUs: fc.integer({ min: 1, max: 120 }),
  strideUs: fc.option(fc.integer({ min: 1, max: 150 }), { nil: undefined }),
  incomplete: fc.constantFrom('keep' as const, 'drop' as const, 'pad' as const),
});

const countConfig = fc.record({
  kind: fc.constant('count' as const),
  count: fc.integer({ min: 1, max: 20 }),
  stride: fc.option(fc.integer({ min: 1, max: 30 }), { nil: undefined }),
  incomplete: fc.constantFrom('keep' as const, 'drop' as const),
});

const timeOrCountConfig: fc.Arbitrary<TimeOrCountWindowConfig> = fc.record({
  kind: fc.constant('timeOrCount' as const),
  windowUs: fc.integer({ min: 1, max: 120 }),
  count: fc.integer({ min: 1, max: 20 }),
  strideUs: fc.option(fc.integer({ min: 1, max: 150 }), { nil: undefined }),
  stride: fc.option(fc.integer({ min: 1, max: 30 }), { nil: undefined }),
  incomplete: fc.constantFrom('keep' as const, 'drop' as const, 'pad' as const),
});

const rateConfig: fc.Arbitrary<RateWindowConfig> = fc.record({
  kind: fc.constant('rate' as const),
  events: fc.integer({ min: 1, max: 20 }),
  minimumUs: fc.integer({ min: 1, max: 30 }),
  maximumUs: fc.integer({ min: 30, max: 200 }),
  timeConstantUs: fc.option(fc.integer({ min: 1, max: 500 }), { nil: undefined }),
  overlap: fc.option(fc.double({ min: 0, max: 0.9, noNaN: true }), { nil: undefined }),
  incomplete: fc.constantFrom('keep' as const, 'drop' as const, 'pad' as const),
});

const anyConfig = fc.oneof(timeConfig, countConfig, timeOrCountConfig, rateConfig);

function cut(batch: EventBatch, length: number): EventBatch[] {
  const parts: EventBatch[] = [];
  for (let i = 0; i < batch.length; i += length) {
    parts.push(sliceBatch(batch, i, Math.min(batch.length, i + length)));
  }
  return parts;
}

async function windows(rows: readonly EventRow[], config: WindowConfig, batchLength = 1000) {
  const found = await collect(windowsOf(streamOf(cut(batchOf(sensor, rows), batchLength)), config));
  return found.map(plain);
}

function plain({ index, startUs, endUs, events }: EventWindow) {
  return { index, startUs, endUs, rows: rowsOf(events) };
}

describe('timeWindows', () => {
  it('holds exactly the events of each interval, for rising times', async () => {
    await fc.assert(
      fc.asyncProperty(times, timeConfig, async (rows, config) => {
        const { windowUs, strideUs = windowUs, incomplete } = config;
        const expected = [];
        const [first, last] = [rows[0]?.[0] ?? 0, rows.at(-1)?.[0] ?? 0];
        for (let index = 0; first + index * strideUs <= last; index++) {
          const startUs = first + index * strideUs;
          const endUs = startUs + windowUs;
          const inside = rows.filter(([t]) => t >= startUs && t < endUs);
          const whole = last >= endUs;
          if (inside.length === 0 || (incomplete === 'drop' && !whole)) continue;
          const lastUs = inside[inside.length - 1]?.[0];
          const until = whole || incomplete === 'pad' ? endUs : lastUs + 1;
          expected.push({ index, startUs, endUs: until, rows: inside });
        }
        expect(await windows(rows, config)).toEqual(rows.length > 0 ? expected : []);
      }),
    );
  });

  it('places an event that steps back into its open window, and counts one that is too late', async () => {
    const rows: EventRow[] = [
      [0, 1, 1, 1],
      [90, 1, 1, 1],
      [50, 2, 2, 0],
      [110, 3, 3, 1],
      [95, 4, 4, 1],
      [-5, 5, 5, 1],
    ];
    const report = createWindowReport();
    const config = { kind: 'time', windowUs: 100, incomplete: 'keep' } as const;
    const found = await collect(windowsOf(streamOf([batchOf(sensor, rows)]), config, report));
    expect(found.map(({ events }) => rowsOf(events).map(([t]) => t))).toEqual([[0, 90, 50], [110]]);
    expect(report.lateEvents).toBe(2);
  });

  it('leaves out empty windows, also across a jump of years', async () => {
    const rows: EventRow[] = [
      [0, 0, 0, 1],
      [1e15, 0, 0, 1],
    ];
    const found = await windows(rows, { kind: 'time', windowUs: 10, incomplete: 'keep' });
    expect(found.map(({ index }) => index)).toEqual([0, 1e14]);
  });

  it('does not count what falls between two windows as late', async () => {
    const report = createWindowReport();
    const rows: EventRow[] = [0, 5, 12, 20, 33].map((t) => [t, 0, 0, 1]);
    const config = { kind: 'time', windowUs: 10, strideUs: 20, incomplete: 'keep' } as const;
    const found = await collect(windowsOf(streamOf([batchOf(sensor, rows)]), config, report));
    expect(found.map(({ events }) => rowsOf(events).map(([t]) => t))).toEqual([[0, 5], [20]]);
    expect(report.lateEvents).toBe(0);
  });
});

describe('countWindows', () => {
  it('holds a fixed number of events from each start', async () => {
    await fc.assert(
      fc.asyncProperty(times, countConfig, async (rows, config) => {
        const { count, stride = count, incomplete } = config;
        const found = await windows(rows, config);
        const complete = [];
        for (let at = 0; at + count <= rows.length; at += stride) {
          complete.push(rows.slice(at, at + count));
        }
        expect(found.slice(0, complete.length).map(({ rows }) => rows)).toEqual(complete);
        const rest = rows.slice(complete.length * stride);
        const kept = incomplete === 'keep' && rest.length > 0 ? [rest] : [];
        expect(found.slice(complete.length).map(({ rows }) => rows)).toEqual(kept);
        for (const { startUs, endUs, rows: inside } of found) {
          expect(startUs).toBe(Math.min(...inside.map(([t]) => t)));
          expect(endUs).toBe(Math.max(...inside.map(([t]) => t)) + 1);
        }
      }),
    );
  });
});

describe('timeOrCountWindows', () => {
  it('ends each window by time or count, whichever comes first, for rising times', async () => {
    await fc.assert(
      fc.asyncProperty(times, timeOrCountConfig, async (rows, config) => {
        const { windowUs, count, strideUs = windowUs, stride = count, incomplete } = config;
        const expected = [];
        for (let first = 0, index = 0; first < rows.length; index++) {
          const startUs = rows[first][0];
          const limit = startUs + windowUs;
          const inside = rows.slice(first, first + count).filter(([t]) => t < limit);
          const full = inside.length === count;
          const timeIsUp = !full && rows.some(([t]) => t >= limit);
          const lastUs = inside[inside.length - 1][0];
          const endUs = timeIsUp || (!full && incomplete === 'pad') ? limit : lastUs + 1;
          if (full || timeIsUp || incomplete !== 'drop') {
            expected.push({ index, startUs, endUs, rows: inside });
          }
          const opened = first;
          first = rows.findIndex(
            ([t], i) => i > opened && (i - opened >= stride || t - startUs >= strideUs),
          );
          if (first < 0) break;
        }
        expect(await windows(rows, config)).toEqual(expected);
      }),
    );
  });

  it('does not stay open where the clock restarts', async () => {
    const rows: EventRow[] = [1_000_000, 1_000_005, 0, 5, 10].map((t) => [t, 0, 0, 1]);
    const found = await windows(rows, {
      kind: 'timeOrCount',
      windowUs: 100,
      count: 50,
      incomplete: 'keep',
    });
    expect(found.map(({ startUs, endUs }) => [startUs, endUs])).toEqual([
      [1_000_000, 1_000_100],
      [0, 11],
    ]);
  });
});

describe('rateWindows', () => {
  it('lasts by the averaged rate when it opens, within its bounds', async () => {
    await fc.assert(
      fc.asyncProperty(times, rateConfig, async (rows, config) => {
        const { events, minimumUs, maximumUs, timeConstantUs = maximumUs } = config;
        const found = await windows(rows, { ...config, incomplete: 'pad' });
        for (const { startUs, endUs, rows: inside } of found) {
          const opening = rows.findIndex(([t]) => t === startUs);
          // The average, written out as a sum over all events so far.
          const durations = rows.flatMap(([t], i) => {
            if (t !== startUs || i < opening) return [];
            const level = rows
              .slice(0, i + 1)
              .reduce((sum, [before]) => sum + Math.exp((before - t) / timeConstantUs), 0);
            const wanted = (events * timeConstantUs) / level;
            return [Math.min(Math.max(wanted, minimumUs), maximumUs)];
          });
          const lasted = endUs - startUs;
          expect(durations.some((wanted) => Math.abs(wanted - lasted) <= 0.5 + 1e-6)).toBe(true);
          expect(inside.every(([t]) => t >= startUs && t < endUs)).toBe(true);
        }
      }),
    );
  });

  it('comes to windows with the wanted number of events, whatever the rate', async () => {
    for (const stepUs of [1, 10]) {
      const rows = Array.from({ length: 5000 }, (_, i): EventRow => [i * stepUs, 0, 0, 1]);
      const found = await windows(rows, {
        kind: 'rate',
        events: 100,
        minimumUs: 10,
        maximumUs: 100_000,
        timeConstantUs: 500,
        incomplete: 'drop',
      });
      const lengths = found.slice(-5).map(({ rows: inside }) => inside.length);
      for (const length of lengths) expect(Math.abs(length - 100)).toBeLessThanOrEqual(3);
    }
  });

  it('puts each event in one window where nothing overlaps', async () => {
    await fc.assert(
      fc.asyncProperty(times, rateConfig, async (rows, config) => {
        const found = await windows(rows, { ...config, overlap: 0, incomplete: 'keep' });
        expect(found.flatMap(({ rows: inside }) => inside)).toEqual(rows);
      }),
    );
  });
});

const oneOfEachKind: WindowConfig[] = [
  { kind: 'time', windowUs: 100, incomplete: 'pad' },
  { kind: 'count', count: 4, incomplete: 'keep' },
  { kind: 'timeOrCount', windowUs: 100, count: 4, incomplete: 'pad' },
  { kind: 'rate', events: 4, minimumUs: 10, maximumUs: 100, incomplete: 'pad' },
];

describe.each(oneOfEachKind)('windows by $kind', (config) => {
  it('are none for a recording without events', async () => {
    expect(await windows([], config)).toEqual([]);
  });

  it('hold a single event', async () => {
    const [window, ...more] = await windows([[7, 1, 2, 1]], config);
    expect(more).toEqual([]);
    expect(window).toMatchObject({ index: 0, startUs: 7, rows: [[7, 1, 2, 1]] });
    expect(window.endUs).toBeGreaterThan(7);
  });

  it('are no more for ten seconds of silence', async () => {
    const rows: EventRow[] = [0, 1, 2, 10_000_000, 10_000_001, 10_000_002].map((t) => [t, 0, 0, 1]);
    const found = await windows(rows, config);
    expect(found.length).toBe(2);
    expect(found.flatMap(({ rows: inside }) => inside)).toEqual(rows);
  });

  it('take any number of events of one time', async () => {
    const rows = Array.from({ length: 10 }, (_, i): EventRow => [50, i, 0, 1]);
    const found = await windows(rows, config);
    expect(found.flatMap(({ rows: inside }) => inside)).toEqual(rows);
    for (const { startUs, endUs } of found) expect(endUs).toBeGreaterThan(startUs);
    expect(found.length).toBe(config.kind === 'time' || config.kind === 'rate' ? 1 : 3);
  });
});

describe('windowLabel', () => {
  const window = { startUs: 100, endUs: 200 };

  it('is the class that covers most of the window, where it covers enough', () => {
    const at = (fromUs: number, toUs: number, label: number) => ({ fromUs, toUs, label });
    expect(windowLabel(window, [])).toBeUndefined();
    expect(windowLabel(window, [at(0, 150, 1), at(150, 1000, 2)])).toBe(1);
    expect(windowLabel(window, [at(150, 1000, 2), at(0, 150, 1)])).toBe(1);
    expect(windowLabel(window, [at(0, 149, 1), at(149, 1000, 2)])).toBe(2);
    expect(windowLabel(window, [at(0, 130, 1)])).toBeUndefined();
    expect(windowLabel(window, [at(0, 130, 1)], { minimumOverlap: 0.3 })).toBe(1);
    expect(windowLabel(window, [at(0, 100, 1), at(200, 300, 2)], { minimumOverlap: 0 })).toBe(
      undefined,
    );
  });

  it('adds up what a class covers', () => {
    const intervals = [
      { fromUs: 0, toUs: 130, label: 1 },
      { fromUs: 130, toUs: 170, label: 2 },
      { fromUs: 170, toUs: 300, label: 1 },
    ];
    expect(windowLabel(window, intervals)).toBe(1);
  });
});

describe('windowsOf', () => {
  it('keeps events inside their window’s bounds, also where time steps back', async () => {
    const steps = fc.array(fc.integer({ min: -300, max: 300 }), { maxLength: 60 });
    await fc.assert(
      fc.asyncProperty(steps, anyConfig, async (deltas, config) => {
        let t = 10_000;
        const rows = deltas.map((step): EventRow => [(t += step), 0, 0, 1]);
        for (const { startUs, endUs, rows: inside } of await windows(rows, config)) {
          expect(inside.length).toBeGreaterThan(0);
          expect(inside.every(([time]) => time >= startUs && time < endUs)).toBe(true);
        }
      }),
    );
  });

  it('never depends on how the stream is cut into batches', async () => {
    await fc.assert(
      fc.asyncProperty(
        times,
        anyConfig,
        fc.integer({ min: 1, max: 9 }),
        async (rows, config, batchLength) => {
          expect(await windows(rows, config, batchLength)).toEqual(await windows(rows, config));
        },
      ),
    );
  });
});

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { type EventBatch, sliceBatch } from '../../ingest/eventBatch.js';
import {
  createWindowReport,
  type EventWindow,
  type WindowConfig,
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
  incomplete: fc.constantFrom('keep' as const, 'drop' as const),
});

const countConfig = fc.record({
  kind: fc.constant('count' as const),
  count: fc.integer({ min: 1, max: 20 }),
  stride: fc.option(fc.integer({ min: 1, max: 30 }), { nil: undefined }),
  incomplete: fc.constantFrom('keep' as const, 'drop' as const),
});

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
          if (inside.length === 0 || (incomplete === 'drop' && last < endUs)) continue;
          expected.push({ index, startUs, endUs, rows: inside });
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

describe('windowsOf', () => {
  it('never depends on how the stream is cut into batches', async () => {
    await fc.assert(
      fc.asyncProperty(
        times,
        fc.oneof(timeConfig, countConfig),
        fc.integer({ min: 1, max: 9 }),
        async (rows, config, batchLength) => {
          expect(await windows(rows, config, batchLength)).toEqual(await windows(rows, config));
        },
      ),
    );
  });
});

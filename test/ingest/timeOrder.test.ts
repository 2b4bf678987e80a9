import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { EventBatch } from '../../ingest/eventBatch.js';
import { requireOrder, sortEvents } from '../../ingest/timeOrder.js';
import { batchOf, collect, type EventRow, rowsOf, streamOf } from './streams.js';

const sensor = { width: 65_536, height: 4 };
const file = 'some.raw';

/** Times of the given values; x says where each event was. */
const batchesOf = (times: readonly number[], batchLength: number): EventBatch[] => {
  const rows = times.map((tUs, i): EventRow => [tUs, i, i % 4, i & 1]);
  return Array.from({ length: Math.ceil(rows.length / batchLength) }, (_, i) =>
    batchOf(sensor, rows.slice(i * batchLength, (i + 1) * batchLength)),
  );
};

describe('sortEvents', () => {
  it('gives what a stable sort of all events gives, in memory and through a file', async () => {
    const times = fc.array(fc.integer({ min: 0, max: 40 }), { maxLength: 120 });
    await fc.assert(
      fc.asyncProperty(
        times,
        fc.integer({ min: 1, max: 50 }),
        fc.integer({ min: 1, max: 200 }),
        async (list, batchLength, runLength) => {
          const batches = batchesOf(list, batchLength);
          const expected = batches.flatMap(rowsOf).sort((a, b) => a[0] - b[0]);
          const sorted = await collect(sortEvents(streamOf(batches), { file, runLength }));
          expect(sorted.flatMap(rowsOf)).toEqual(expected);
        },
      ),
      { numRuns: 150 },
    );
  });

  it('merges runs of many blocks', async () => {
    const times = Array.from({ length: 60_000 }, (_, i) => (i * 7_919) % 50_021);
    const batches = batchesOf(times, 1_000);
    const sorted = await collect(sortEvents(streamOf(batches), { file, runLength: 13_000 }));
    const expected = batches.flatMap(rowsOf).sort((a, b) => a[0] - b[0]);
    expect(sorted.flatMap(rowsOf)).toEqual(expected);
  });
});

describe('requireOrder', () => {
  it('passes on events in order, and names the first that goes back', async () => {
    const good = batchesOf([1, 1, 2, 5, 9], 2);
    expect(await collect(requireOrder(streamOf(good), { file }))).toEqual(good);
    const bad = collect(requireOrder(streamOf(batchesOf([1, 2, 5, 4], 2)), { file }));
    await expect(bad).rejects.toThrow('some.raw: event 3 goes back in time, from 5 to 4 µs');
    await expect(bad).rejects.toMatchObject({ kind: 'input' });
  });
});

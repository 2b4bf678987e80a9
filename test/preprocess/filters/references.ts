import fc from 'fast-check';
import { expect } from 'vitest';
import type { SensorSize } from '../../../ingest/eventBatch.js';
import { type EventFilter, parseFilter } from '../../../preprocess/filters/index.js';
import { batchOf, type EventRow, rowsOf } from '../../ingest/streams.js';
import { eventRows } from '../eventRows.js';

export const sensor: SensorSize = { width: 5, height: 4 };

/** What comes out of a filter that has seen nothing before. */
export function passing(
  filter: EventFilter | string,
  rows: readonly EventRow[],
  size = sensor,
): EventRow[] {
  const parsed = typeof filter === 'string' ? parseFilter(filter) : filter;
  return rowsOf(parsed.apply(batchOf(size, rows), parsed.start(size)));
}

/** Whether an event passes, as a rule on the events before it. */
export type Reference = (
  row: EventRow,
  before: readonly EventRow[],
  passed: readonly EventRow[],
  dropped: readonly EventRow[],
) => boolean;

/** Compares a filter with its definition, on random events. */
export function expectReference(
  call: string,
  reference: Reference,
  rows: fc.Arbitrary<EventRow[]> = eventRows(sensor),
): void {
  const filter = parseFilter(call);
  fc.assert(
    fc.property(rows, (list) => {
      const passed: EventRow[] = [];
      const dropped: EventRow[] = [];
      list.forEach((row, i) => {
        (reference(row, list.slice(0, i), passed, dropped) ? passed : dropped).push(row);
      });
      expect(passing(filter, list)).toEqual(passed);
    }),
    { numRuns: 200 },
  );
}

/**
 * For each pixel around an event, its own left out, in the order of rows: the time since its last event, of
 * the given polarity if there is one, µs; Infinity where there is none.
 */
export function agesAround(
  [tUs, x, y]: EventRow,
  before: readonly EventRow[],
  { radius = 1, polarity }: { readonly radius?: number; readonly polarity?: number } = {},
): number[] {
  const ages: number[] = [];
  for (let row = y - radius; row <= y + radius; row++) {
    for (let column = x - radius; column <= x + radius; column++) {
      if (row === y && column === x) continue;
      const last = before.findLast(
        (event) =>
          event[1] === column &&
          event[2] === row &&
          (polarity === undefined || event[3] === polarity),
      );
      ages.push(last === undefined ? Infinity : Math.abs(tUs - last[0]));
    }
  }
  return ages;
}

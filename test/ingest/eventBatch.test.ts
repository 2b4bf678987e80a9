import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  BatchBuilder,
  concatBatches,
  createBatch,
  emptyBatch,
  selectEvents,
  sliceBatch,
} from '../../ingest/eventBatch.js';
import { batchOf, type EventRow, rowsOf } from './streams.js';

const sensor = { width: 30, height: 20 };
const row = fc.tuple(
  fc.maxSafeInteger(),
  fc.nat(29),
  fc.nat(19),
  fc.nat(1),
) satisfies fc.Arbitrary<EventRow>;
const rowLists = fc.array(row, { maxLength: 30 });

describe('event batches', () => {
  it('join and cut like lists', () => {
    fc.assert(
      fc.property(fc.array(rowLists, { maxLength: 4 }), fc.nat(40), fc.nat(40), (lists, a, b) => {
        const joined = concatBatches(
          lists.map((list) => batchOf(sensor, list)),
          sensor,
        );
        const flat = lists.flat();
        expect(rowsOf(joined)).toEqual(flat);
        expect(rowsOf(sliceBatch(joined, a, b))).toEqual(flat.slice(a, Math.max(a, b)));
      }),
    );
  });

  it('select by flags', () => {
    fc.assert(
      fc.property(rowLists, fc.array(fc.nat(2), { minLength: 30, maxLength: 30 }), (list, keep) => {
        const selected = selectEvents(batchOf(sensor, list), Uint8Array.from(keep));
        expect(rowsOf(selected)).toEqual(list.filter((_, i) => keep[i] !== 0));
      }),
    );
  });

  it('must have arrays of one length, and a sensor', () => {
    const [t, x] = [new Float64Array(2), new Uint16Array(2)];
    expect(() => createBatch(sensor, t, x, x, new Uint8Array(3))).toThrow(/polarity 3/);
    expect(() => concatBatches([])).toThrow(/without a sensor/);
    expect(emptyBatch(sensor).length).toBe(0);
  });
});

describe('BatchBuilder', () => {
  it('grows, mixes single events and batches, and starts anew after take', () => {
    const builder = new BatchBuilder(sensor, 1);
    builder.push(1, 2, 3, 1);
    builder.append(
      batchOf(sensor, [
        [2, 3, 4, 0],
        [3, 4, 5, 1],
      ]),
    );
    builder.push(2 ** 52, 5, 6, 0);
    const first = builder.take();
    builder.push(9, 9, 9, 1);
    expect(rowsOf(first)).toEqual([
      [1, 2, 3, 1],
      [2, 3, 4, 0],
      [3, 4, 5, 1],
      [2 ** 52, 5, 6, 0],
    ]);
    expect(rowsOf(builder.take())).toEqual([[9, 9, 9, 1]]);
    expect(builder.length).toBe(0);
  });
});

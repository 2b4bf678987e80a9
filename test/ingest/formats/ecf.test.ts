import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeEcf, encodeEcf as encodeShortest } from '../../../ingest/formats/ecf.js';
import type { EventRow } from '../streams.js';
import { encodeEcf, type EcfPacking } from './ecfEncoder.js';

const packings: EcfPacking[] = ['all', 'xAndPolarity', 'runs'];

/** Rows of runs, with steps of all sizes. */
const chunk = fc
  .tuple(
    fc.integer({ min: 0, max: 2 ** 45 }),
    fc.array(
      fc.record({
        step: fc.oneof(fc.nat(20), fc.nat(2 ** 30)),
        x: fc.nat(2040),
        y: fc.nat(2047),
        length: fc.oneof(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 1, max: 200 })),
        along: fc.boolean(),
        polarity: fc.integer({ min: 0, max: 1 }),
      }),
      { minLength: 1, maxLength: 20 },
    ),
  )
  .map(([start, runs]) => {
    let tUs = start;
    return runs.flatMap(({ step, x, y, length, along, polarity }) => {
      tUs += step;
      return Array.from({ length }, (_, i): EventRow => [
        tUs,
        along ? (x + i) % 2048 : x,
        y,
        polarity,
      ]);
    });
  });

const rowsOf = (bytes: Uint8Array): EventRow[] => {
  const { length, tUs, x, y, polarity } = decodeEcf(bytes);
  return Array.from({ length }, (_, i) => [tUs[i], x[i], y[i], polarity[i]] as const);
};

describe('ECF', () => {
  it.each(packings)('decodes what was encoded, packed as %s', (packing) => {
    fc.assert(
      fc.property(chunk, (rows) => {
        expect(rowsOf(encodeEcf(rows, packing))).toEqual(rows);
      }),
      { numRuns: 100 },
    );
  });

  it('encodes as the naive encoder does, in the shortest layout', () => {
    fc.assert(
      fc.property(chunk, (rows) => {
        const events = {
          length: rows.length,
          tUs: Float64Array.from(rows, (row) => row[0]),
          x: Uint16Array.from(rows, (row) => row[1]),
          y: Uint16Array.from(rows, (row) => row[2]),
          polarity: Uint8Array.from(rows, (row) => row[3]),
        };
        const bytes = encodeShortest(events)!;
        const naive = packings.map((packing) => encodeEcf(rows, packing));
        expect(naive.map((one) => Buffer.compare(one, bytes))).toContain(0);
        expect(bytes.length).toBe(Math.min(...naive.map((one) => one.length)));
        expect(rowsOf(bytes)).toEqual(rows);
        events.tUs[0] = rows[rows.length - 1][0] + 1;
        if (rows.length > 1) expect(encodeShortest(events)).toBeUndefined();
        events.tUs[0] = rows[0][0];
        events.x[0] = 2_048;
        expect(encodeShortest(events)).toBeUndefined();
      }),
      { numRuns: 100 },
    );
  });

  it('decodes bytes made by hand', () => {
    // 5 events at 1000, 1000, 1003, 1040, 1040 µs; step 37 = 5 + 2 * 16 in digits.
    const times = [0xe8, 3, 0, 0, 0, 0, 0, 0, 0x02, 0x31, 0xf5, 0xf2, 0x02];
    // y 7 three times, 9 twice; x 100 with 101 and 103, then 5, 5; ON twice, OFF three times.
    const rows = [(7 << 5) | 3, (9 << 5) | 2, (100 << 5) | 0b10100, 5 << 5, 5 << 5];
    const bytes = [5 << 2, 0, 0, 0, ...times, ...rows.flatMap((word) => [word & 255, word >> 8])];
    expect(rowsOf(Uint8Array.from([...bytes, 0x82, 0x03]))).toEqual([
      [1000, 100, 7, 1],
      [1000, 101, 7, 1],
      [1003, 103, 7, 0],
      [1040, 5, 9, 0],
      [1040, 5, 9, 0],
    ]);
  });

  it('answers damage with events or a RangeError', () => {
    const flips = fc.array(fc.nat(), { minLength: 1, maxLength: 8 });
    fc.assert(
      fc.property(
        chunk,
        fc.constantFrom(...packings),
        flips,
        fc.nat(),
        (rows, packing, at, cut) => {
          const bytes = encodeEcf(rows, packing);
          for (const bit of at) bytes[(bit >> 3) % bytes.length] ^= 1 << (bit & 7);
          try {
            expect(decodeEcf(bytes.slice(0, cut % (bytes.length + 1))).length).toBeLessThan(65_536);
          } catch (error) {
            expect(error).toBeInstanceOf(RangeError);
          }
        },
      ),
      { numRuns: 500 },
    );
  });
});

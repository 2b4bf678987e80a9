import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  areaUnderRoc,
  keptShares,
  meanStructuralRatio,
} from '../../../preprocess/denoising/metrics.js';
import { addNoise, eventKinds } from '../../../preprocess/denoising/noise.js';
import { sweeps } from '../../../preprocess/denoising/sweeps.js';
import { keptFlags, parseFilter } from '../../../preprocess/filters/index.js';
import { batchOf, type EventRow, rowsOf } from '../../ingest/streams.js';
import { eventRows } from '../eventRows.js';

const sensor = { width: 8, height: 6 };
const noise = { shotHz: 50, hotPixels: 3, hotHz: 400, seed: 1 };
const signal: EventRow[] = Array.from({ length: 1000 }, (_, i) => [i * 1000 - 3, i % 8, i % 6, 1]);

describe('addNoise', () => {
  const { events, kinds } = addNoise(batchOf(sensor, signal), noise);
  const rows = rowsOf(events);
  const ofKind = (kind: number): EventRow[] => rows.filter((_, i) => kinds[i] === kind);

  it('keeps the signal and is in order of time, within its limits', () => {
    expect(ofKind(eventKinds.signal)).toEqual(signal);
    rows.forEach(([t], i) => {
      expect(Number.isInteger(t)).toBe(true);
      expect(t).toBeGreaterThanOrEqual(i === 0 ? -3 : rows[i - 1][0]);
    });
    expect(rows[rows.length - 1][0]).toBeLessThanOrEqual(999_000);
  });

  it('has the rates that were asked for', () => {
    // Five standard deviations of the Poisson distribution, over 0.999 s.
    const near = (count: number, mean: number): void => {
      expect(Math.abs(count - mean)).toBeLessThan(5 * Math.sqrt(mean));
    };
    const shot = ofKind(eventKinds.shot);
    const hot = ofKind(eventKinds.hot);
    near(shot.length, 50 * 48);
    near(shot.filter((row) => row[3] === 1).length, 25 * 48);
    near(shot.filter((row) => row[1] < 4).length, 25 * 48);
    near(hot.length, 3 * 400);
    expect(new Set(hot.map(([, x, y]) => `${x} ${y}`)).size).toBe(3);
  });

  it('depends on the seed alone', () => {
    expect(addNoise(batchOf(sensor, signal), noise)).toEqual({ events, kinds });
    const other = addNoise(batchOf(sensor, signal), { ...noise, seed: 2 });
    expect(other.events).not.toEqual(events);
    const none = addNoise(batchOf(sensor, signal), { ...noise, shotHz: 0, hotPixels: 0 });
    expect(rowsOf(none.events)).toEqual(signal);
  });
});

describe('keptShares', () => {
  it('counts each kind by itself', () => {
    const kinds = Uint8Array.of(0, 0, 0, 0, 1, 1, 2, 2);
    const keep = Uint8Array.of(1, 1, 1, 0, 1, 0, 0, 0);
    expect(keptShares(kinds, keep)).toEqual({ signal: 0.75, shot: 0.5, hot: 0, noise: 0.25 });
    const shares = keptShares(Uint8Array.of(0), Uint8Array.of(1));
    expect(shares).toEqual({ signal: 1, shot: null, hot: null, noise: null });
  });
});

describe('areaUnderRoc', () => {
  it.each([
    [[], 0.5],
    [[{ noise: 0, signal: 1 }], 1],
    [[{ noise: 1, signal: 0 }], 0],
    [[{ noise: 0.3, signal: 0.3 }], 0.5],
    [
      [
        { noise: 0.5, signal: 1 },
        { noise: 0, signal: 0.5 },
      ],
      0.875,
    ],
  ])('of %j is %f', (points, area) => {
    expect(areaUnderRoc(points)).toBeCloseTo(area, 12);
  });
});

describe('meanStructuralRatio', () => {
  it('is what the formula gives', () => {
    fc.assert(
      fc.property(eventRows(sensor), fc.integer({ min: 2, max: 30 }), (rows, packet) => {
        const ratios: number[] = [];
        for (let from = 0; from + packet <= rows.length; from += packet) {
          const part = rows.slice(from, from + packet);
          let pairs = 0;
          let spread = 48;
          for (let pixel = 0; pixel < 48; pixel++) {
            const n = part.filter(([, x, y]) => y * 8 + x === pixel).length;
            pairs += (n * (n - 1)) / (packet * (packet - 1));
            spread -= (1 - 2 / 3) ** n;
          }
          ratios.push(Math.sqrt(pairs * spread));
        }
        const ratio = meanStructuralRatio(batchOf(sensor, rows), packet);
        if (ratios.length === 0) expect(ratio).toBeNull();
        else expect(ratio).toBeCloseTo(ratios.reduce((a, b) => a + b) / ratios.length, 9);
      }),
    );
  });

  it('counts what is kept only, and is higher for structure than for noise', () => {
    const line = Array.from({ length: 60 }, (_, i): EventRow => [i, i % 8, 2, 1]);
    const all = Array.from({ length: 60 }, (_, i): EventRow => [i, i % 8, i % 6, 1]);
    const mixed = line.flatMap((row, i) => [row, all[i]]);
    const keep = Uint8Array.from(mixed, (_, i) => 1 - (i % 2));
    const ofLine = meanStructuralRatio(batchOf(sensor, line), 30);
    expect(meanStructuralRatio(batchOf(sensor, mixed), 30, keep)).toBe(ofLine);
    expect(ofLine!).toBeGreaterThan(meanStructuralRatio(batchOf(sensor, all), 30)!);
  });
});

describe('keptFlags', () => {
  it.each(sweeps.flatMap(({ calls }) => calls.slice(3, 5)))(
    'of %s are those of the filter',
    (call) => {
      fc.assert(
        fc.property(eventRows(sensor), (rows) => {
          const batch = batchOf(sensor, rows);
          const flags = keptFlags(call, batch);
          const filter = parseFilter(call);
          const passed = rowsOf(filter.apply(batch, filter.start(sensor)));
          expect(rows.filter((_, i) => flags[i] === 1)).toEqual(passed);
        }),
        { numRuns: 30 },
      );
    },
  );

  it('are refused where a filter moves events', () => {
    expect(() => keptFlags('flipX', batchOf(sensor, []))).toThrow(/"flipX" moves events/);
  });
});

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { sliceBatch } from '../../ingest/eventBatch.js';
import {
  addToTokens,
  fitHots,
  hotsWith,
  learnedSpikeTensor,
  parseRepresentation,
  representWindow,
  startTokens,
  tokenFeatures,
} from '../../preprocess/representations/index.js';
import { preprocessSchema } from '../../preprocess/pipeline/index.js';
import { batchOf, type EventRow, streamOf } from '../ingest/streams.js';
import { eventRows } from './eventRows.js';

const sensor = { width: 7, height: 5 };
const settings = { patch: 3, threshold: 2.5, refractoryUs: 40, decayPerSecond: 4000 };

/** The tokens, patch by patch, in order of time. */
function direct(rows: readonly EventRow[]): number[][] {
  const tokens: [number, number[]][] = [];
  for (let row = 0; row < 2; row++) {
    for (let column = 0; column < 3; column++) {
      let potential = 0;
      let last: number | undefined;
      let fired = -Infinity;
      let counts = new Array<number>(18).fill(0);
      rows.forEach(([t, x, y, p], i) => {
        if (Math.floor(x / 3) !== column || Math.floor(y / 3) !== row || t - fired < 40) return;
        potential += 1 - (4000 * Math.max(0, t - (last ?? t))) / 1e6;
        last = t;
        counts[p * 9 + (y % 3) * 3 + (x % 3)]++;
        if (potential <= 0) {
          potential = 0;
          counts.fill(0);
        }
        if (potential < 2.5) return;
        tokens.push([i, [Math.fround(t - rows[0][0]), column, row, ...counts]]);
        potential = 0;
        last = undefined;
        fired = t;
        counts = new Array<number>(18).fill(0);
      });
    }
  }
  return tokens.sort(([a], [b]) => a - b).map(([, token]) => token);
}

describe('tokens', () => {
  it('equal their definition, however the stream is cut', () => {
    expect(tokenFeatures(settings)).toBe(21);
    fc.assert(
      fc.property(
        eventRows(sensor, [-20, 60], 200),
        fc.integer({ min: 1, max: 50 }),
        (rows, cut) => {
          const events = batchOf(sensor, rows);
          const expected = direct(rows).flat();
          expect(Array.from(addToTokens(startTokens(settings, sensor), events))).toEqual(expected);
          const state = startTokens(settings, sensor);
          const parts: number[] = [];
          for (let i = 0; i < events.length; i += cut) {
            parts.push(
              ...addToTokens(state, sliceBatch(events, i, Math.min(events.length, i + cut))),
            );
          }
          expect(parts).toEqual(expected);
          expect(events).toEqual(batchOf(sensor, rows));
        },
      ),
    );
  });

  it('keep every event without decay and rest: those in tokens and those still waiting', () => {
    fc.assert(
      fc.property(eventRows(sensor, [0, 60], 200), (rows) => {
        const state = startTokens(
          { patch: 2, threshold: 3, refractoryUs: 0, decayPerSecond: 0 },
          sensor,
        );
        const tokens = addToTokens(state, batchOf(sensor, rows));
        const inTokens = tokens.filter((_, i) => i % 11 >= 3).reduce((a, b) => a + b, 0);
        expect(inTokens + state.counts.reduce((a, b) => a + b, 0)).toBe(rows.length);
        expect(inTokens).toBe((3 * tokens.length) / 11);
      }),
    );
  });

  it('refuse events of another sensor', () => {
    const state = startTokens(settings, sensor);
    expect(() => addToTokens(state, batchOf({ width: 8, height: 5 }, []))).toThrow(
      /expected 7 × 5/,
    );
  });
});

describe('a fitted HOTS dictionary', () => {
  const surface = { radius: 1, tauUs: 100, prototypes: 3 };
  const rows: EventRow[] = Array.from({ length: 60 }, (_, i) => [7 * i, i % 7, (3 * i) % 5, i % 2]);
  const events = batchOf(sensor, rows);
  const window = { index: 0, startUs: 0, endUs: 420, events };
  const size = { bins: 2, height: 1, width: 1 };

  it('does not depend on the cut, and counts every event for its nearest prototype', async () => {
    const whole = await fitHots([streamOf([events])], surface);
    const halves = [sliceBatch(events, 0, 23), sliceBatch(events, 23, 60)];
    expect(await fitHots([streamOf(halves)], surface)).toEqual(whole);
    expect(whole.prototypes.map(({ length }) => length)).toEqual([18, 18, 18]);
    const counts = representWindow(window, hotsWith(whole), size);
    expect(counts.length).toBe(6);
    expect(counts.reduce((a, b) => a + b, 0)).toBe(60);
    // A dictionary whose second prototype alone is anything like a surface takes all.
    const one = [1, 0, 1].map((value) => new Array<number>(18).fill(value * 9));
    const all = representWindow(window, hotsWith({ ...surface, prototypes: one }), size);
    expect(Array.from(all)).toEqual([0, 30, 0, 0, 30, 0]);
  });

  it('is called by the name of its file, and described by what is in it', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'saccade-'));
    try {
      const file = join(folder, 'hots.json');
      const dictionary = await fitHots([streamOf([events])], surface);
      await writeFile(file, JSON.stringify(dictionary));
      const called = parseRepresentation(`hotsFitted:dictionary=@${file}`);
      expect(called.description).toBe(hotsWith(dictionary).description);
      const again = parseRepresentation(called.description);
      const expected = representWindow(window, hotsWith(dictionary), size);
      for (const each of [called, again]) {
        expect(representWindow(window, each, size)).toEqual(expected);
      }
      const first = dictionary.prototypes[0].map((value) => value + 1);
      const other = { ...dictionary, prototypes: [first, ...dictionary.prototypes.slice(1)] };
      await writeFile(file, JSON.stringify(other));
      const changed = parseRepresentation(`hotsFitted:dictionary=@${file}`);
      expect(changed.description).not.toBe(called.description);
      const experiment = {
        window: { kind: 'count', count: 9 },
        representation: `hotsFitted:dictionary=@${file}`,
      };
      expect(preprocessSchema.parse(experiment).representation).toBe(changed.description);
      await writeFile(file, JSON.stringify({ ...dictionary, radius: 2 }));
      const call = `hotsFitted:dictionary=@${file}`;
      expect(() => parseRepresentation(call)).toThrow(/50 values/);
      await writeFile(file, '{');
      expect(() => parseRepresentation(call)).toThrow(/is no JSON/);
      await rm(file);
      expect(() => parseRepresentation(call)).toThrow(/cannot be read \(ENOENT\)/);
      expect(() => parseRepresentation('hotsFitted:dictionary=x')).toThrow(/expected object/);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it('is refused where it does not fit, or where there are too few events', async () => {
    const wrong = { radius: 1, tauUs: 9, prototypes: [[1, 2]] };
    expect(() => hotsWith(wrong)).toThrow(/18 values/);
    const none = fitHots([streamOf([sliceBatch(events, 0, 2)])], surface);
    await expect(none).rejects.toThrow(/2 events/);
  });
});

describe('a learned kernel of the event spike tensor', () => {
  it('is the trilinear one where its layers say so', () => {
    // max(0, 1 - |2 d|) for three bins, as a sum of rectified lines; leaks cancel at 0.1 of their slope.
    const relu = (leak: number): number => 1 / (1 - leak * leak);
    const unit = relu(0.1);
    const lines: [slope: number, bias: number, share: number][] = [
      [2, 1, 1],
      [2, 0, -2],
      [2, -1, 1],
    ];
    // relu(z) = (leaky(z) + 0.1 leaky(-z)) / (1 - 0.01).
    const weights = lines.flatMap(([slope]) => [[slope], [-slope]]);
    const biases = lines.flatMap(([, bias]) => [bias, -bias]);
    const mix = lines.flatMap(([, , share]) => [share * unit, 0.1 * share * unit]);
    const learned = learnedSpikeTensor([
      { weights, biases },
      { weights: [mix], biases: [0] },
    ]);
    const trilinear = parseRepresentation('est');
    fc.assert(
      fc.property(eventRows(sensor, [0, 20], 40), (rows) => {
        const startUs = rows[0]?.[0] ?? 0;
        const window = { index: 0, startUs, endUs: startUs + 800, events: batchOf(sensor, rows) };
        const size = { bins: 3, height: 5, width: 7 };
        const expected = representWindow(window, trilinear, size);
        representWindow(window, learned, size).forEach((value, i) =>
          expect(value).toBeCloseTo(expected[i], 4),
        );
      }),
    );
  });

  it('is refused where layers do not follow on one another', () => {
    const layer = { weights: [[1, 2]], biases: [0] };
    expect(() => learnedSpikeTensor([layer])).toThrow(/one input to one output/);
  });
});

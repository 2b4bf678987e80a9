import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createRandom, type Random } from '../../engine/support/random.js';
import type { SensorSize } from '../../ingest/eventBatch.js';
import {
  augment,
  augmentations,
  augmentSample,
  parseAugmentation,
} from '../../preprocess/augmentations/index.js';
import type { EventWindow } from '../../preprocess/windows/window.js';
import { batchOf, type EventRow, rowsOf } from '../ingest/streams.js';
import { eventRows } from './eventRows.js';

const sensor: SensorSize = { width: 12, height: 9 };

/** Calls of every registered augmentation. */
const examples: Readonly<Record<string, readonly string[]>> = {
  flipX: ['flipX', 'flipX:1'],
  flipY: ['flipY', 'flipY:1'],
  flipPolarity: ['flipPolarity', 'flipPolarity:1'],
  crop: ['crop', 'crop:0.01', 'crop:1'],
  translate: ['translate:3', 'translate:65535'],
  spatialJitter: ['spatialJitter:0', 'spatialJitter:1.5'],
  timeJitter: ['timeJitter:0', 'timeJitter:40'],
  timeSkew: ['timeSkew:0.5', 'timeSkew:0.9'],
  dropEvents: ['dropEvents:0.5', 'dropEvents:1'],
  dropTime: ['dropTime:0.5', 'dropTime:1'],
  dropArea: ['dropArea:0.5', 'dropArea:1'],
  reverseTime: ['reverseTime', 'reverseTime:1,0'],
  rotate: ['rotate:0', 'rotate:180'],
  noise: ['noise:0', 'noise:2'],
  eventMix: ['eventMix', 'eventMix:1,1'],
  randAugment: ['randAugment:2,5', 'randAugment:4,10'],
};

/** Those that add events; all others only drop or move some. */
const makesEvents = ['noise', 'randAugment'];

function windowOf(rows: readonly EventRow[], startUs?: number, endUs?: number): EventWindow {
  const times = rows.map((row) => row[0]);
  const first = startUs ?? Math.min(...times, 1000);
  const end = endUs ?? Math.max(...times, first) + 1;
  return { index: 3, startUs: first, endUs: end, events: batchOf(sensor, rows) };
}

const rowsArbitrary = eventRows(sensor, [0, 50]);
const windows = rowsArbitrary.map((rows) =>
  windowOf(rows, rows.length === 0 ? 0 : rows[0][0] - 7, rows.length === 0 ? 10 : undefined),
);
const seeds = fc.nat();

/** The rows of a window after one augmentation. */
function after(call: string, window: EventWindow, random: Random): EventRow[] {
  return rowsOf(parseAugmentation(call).apply(window, random).events);
}

function forWindows(check: (window: EventWindow, random: Random) => void): void {
  fc.assert(
    fc.property(windows, seeds, (window, seed) => check(window, createRandom(seed, 'test'))),
    { numRuns: 150 },
  );
}

/** Random numbers that are all the same. */
function constantRandom(value: number): Random {
  return {
    uniform: () => value,
    integer: (bound) => Math.floor(value * bound),
    normal: () => value,
    exponential: () => value,
  };
}

/** A window with one event at every pixel, one µs after the other. */
const full = windowOf(
  Array.from({ length: 108 }, (_, i): EventRow => [i, i % 12, Math.floor(i / 12), i % 2]),
  0,
  108,
);

describe('augmentations', () => {
  it('have names of their own and examples here', () => {
    const names = augmentations.map((augmentation) => augmentation.name);
    expect(names.sort()).toEqual(Object.keys(examples).sort());
  });

  const calls = augmentations.flatMap(({ name }) => examples[name] ?? []);
  describe.each(calls)('%s conforms', (call) => {
    const augmentation = parseAugmentation(call);

    it('gives the same for the same seed, also by its description', () => {
      const again = parseAugmentation(augmentation.description);
      expect(again.description).toBe(augmentation.description);
      fc.assert(
        fc.property(windows, seeds, (window, seed) => {
          const result = augmentation.apply(window, createRandom(seed));
          expect(again.apply(window, createRandom(seed))).toEqual(result);
        }),
      );
    });

    it('keeps to the bounds, the sensor and the number of events, and changes no input', () => {
      forWindows((window, random) => {
        const before = structuredClone(window);
        const result = augmentation.apply(window, random);
        expect(window).toEqual(before);
        const { index, startUs, endUs } = window;
        expect(result).toMatchObject({ index, startUs, endUs });
        const { events } = result;
        if (!makesEvents.some((name) => call.startsWith(name))) {
          expect(events.length).toBeLessThanOrEqual(window.events.length);
        }
        expect(events.sensor.width).toBeLessThanOrEqual(sensor.width);
        expect(events.sensor.height).toBeLessThanOrEqual(sensor.height);
        for (const [tUs, x, y, polarity] of rowsOf(events)) {
          expect(Number.isInteger(tUs) && tUs >= startUs && tUs < endUs).toBe(true);
          expect(x < events.sensor.width && y < events.sensor.height && polarity <= 1).toBe(true);
        }
      });
    });

    it('takes a window without events', () => {
      for (let seed = 0; seed < 20; seed++) {
        const empty = windowOf([], 100, 200);
        const result = augmentation.apply(empty, createRandom(seed));
        expect(result.events.length).toBe(0);
        expect(result).toMatchObject({ index: 3, startUs: 100, endUs: 200 });
      }
    });
  });
});

describe('flips', () => {
  const mirrored: Record<string, (row: EventRow) => EventRow> = {
    flipX: ([tUs, x, y, polarity]) => [tUs, 11 - x, y, polarity],
    flipY: ([tUs, x, y, polarity]) => [tUs, x, 8 - y, polarity],
    flipPolarity: ([tUs, x, y, polarity]) => [tUs, x, y, 1 - polarity],
  };

  it.each(Object.keys(mirrored))('%s mirrors all events or none', (name) => {
    forWindows((window, random) => {
      const rows = rowsOf(window.events);
      expect(after(`${name}:1`, window, random)).toEqual(rows.map(mirrored[name]));
      expect(after(`${name}:0`, window, random)).toEqual(rows);
    });
  });

  it.each(Object.keys(mirrored))('%s happens as often as it is told', (name) => {
    const random = createRandom(5, name);
    const one = windowOf([[5, 0, 0, 0]], 0, 10);
    let flipped = 0;
    for (let i = 0; i < 2000; i++) {
      if (String(after(`${name}:0.3`, one, random)) !== '5,0,0,0') flipped++;
    }
    expect(flipped / 2000).toBeCloseTo(0.3, 1);
  });
});

describe('crop', () => {
  it('cuts out one rectangle within its sizes, which becomes the sensor', () => {
    fc.assert(
      fc.property(seeds, fc.double({ min: 0.01, max: 1, noNaN: true }), (seed, minimum) => {
        const result = parseAugmentation(`crop:${minimum}`).apply(full, createRandom(seed));
        const { width, height } = result.events.sensor;
        expect(width).toBeGreaterThanOrEqual(Math.max(1, Math.round(12 * minimum)));
        expect(height).toBeGreaterThanOrEqual(Math.max(1, Math.round(9 * minimum)));
        // Every pixel of the full window has one event, so the rectangle must be full too, from one place.
        const rows = rowsOf(result.events);
        expect(rows.length).toBe(width * height);
        const x0 = (rows[0][0] % 12) - rows[0][1];
        const y0 = Math.floor(rows[0][0] / 12) - rows[0][2];
        for (const [tUs, x, y, polarity] of rows) {
          expect([x + x0, y + y0, polarity]).toEqual([tUs % 12, Math.floor(tUs / 12), tUs % 2]);
        }
      }),
    );
  });

  it('reaches every corner', () => {
    const corners = new Set<number>();
    for (let seed = 0; seed < 300; seed++) {
      for (const [tUs] of after('crop:0.5', full, createRandom(seed))) corners.add(tUs);
    }
    expect([0, 11, 96, 107].every((corner) => corners.has(corner))).toBe(true);
  });

  it('changes nothing with 1', () => {
    forWindows((window, random) => {
      expect(parseAugmentation('crop:1').apply(window, random)).toEqual(window);
    });
  });
});

describe('translate', () => {
  it('shifts everything alike, by all whole numbers of pixels', () => {
    const shifts = new Set<string>();
    for (let seed = 0; seed < 400; seed++) {
      const rows = after('translate:2', full, createRandom(seed));
      const dx = rows[0][1] - (rows[0][0] % 12);
      const dy = rows[0][2] - Math.floor(rows[0][0] / 12);
      shifts.add(`${dx},${dy}`);
      const expected = rowsOf(full.events)
        .map(([tUs, x, y, polarity]): EventRow => [tUs, x + dx, y + dy, polarity])
        .filter(([, x, y]) => x >= 0 && x < 12 && y >= 0 && y < 9);
      expect(rows).toEqual(expected);
      expect(Math.max(Math.abs(dx), Math.abs(dy))).toBeLessThanOrEqual(2);
    }
    expect(shifts.size).toBe(25);
  });
});

describe('spatialJitter', () => {
  it('moves events by rounded normal deviates and drops those that leave', () => {
    const rows: EventRow[] = [
      [1, 0, 0, 1],
      [2, 5, 5, 0],
      [3, 11, 8, 1],
    ];
    // 1.5 * 1 = 1.5, rounded 2.
    expect(after('spatialJitter:1.5', windowOf(rows, 0, 9), constantRandom(1))).toEqual([
      [1, 2, 2, 1],
      [2, 7, 7, 0],
    ]);
    expect(after('spatialJitter:0', windowOf(rows, 0, 9), constantRandom(1))).toEqual(rows);
  });

  it('has the deviation that it is told, each event and axis on its own', () => {
    const centre = windowOf(Array.from({ length: 4000 }, (_, i): EventRow => [i, 6, 4, 1]));
    const rows = after('spatialJitter:1', centre, createRandom(2));
    const variance = (values: number[]): number => {
      const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
      return values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length;
    };
    // Rounding to whole pixels adds 1 / 12.
    expect(variance(rows.map((row) => row[1]))).toBeCloseTo(13 / 12, 1);
    expect(variance(rows.map((row) => row[2]))).toBeCloseTo(13 / 12, 1);
    expect(new Set(rows.map(([, x, y]) => `${x},${y}`)).size).toBeGreaterThan(20);
  });
});

describe('timeJitter', () => {
  it('moves each time by its deviate, and sorts them in a stable way', () => {
    forWindows((window, random) => {
      const deviates: number[] = [];
      const watched = {
        ...random,
        normal: () => {
          deviates.push(random.normal());
          return deviates[deviates.length - 1];
        },
      };
      const rows = after('timeJitter:30', window, watched);
      const expected = rowsOf(window.events)
        .map(([tUs, x, y, polarity], i): EventRow => {
          const moved = tUs + Math.round(30 * deviates[i]);
          const last = window.endUs - 1;
          return [Math.min(Math.max(moved, window.startUs), last), x, y, polarity];
        })
        .sort((a, b) => a[0] - b[0]);
      expect(rows).toEqual(expected);
    });
  });

  it('puts what leaves the window at its bounds', () => {
    const window = windowOf([[50, 1, 1, 1]], 0, 100);
    expect(after('timeJitter:1000', window, constantRandom(1))).toEqual([[99, 1, 1, 1]]);
    expect(after('timeJitter:1000', window, constantRandom(-1))).toEqual([[0, 1, 1, 1]]);
  });

  it('with 0 only sorts, for events that step backwards', () => {
    fc.assert(
      fc.property(eventRows(sensor), (rows) => {
        const sorted = [...rows].sort((a, b) => a[0] - b[0]);
        expect(after('timeJitter:0', windowOf(rows), createRandom(1))).toEqual(sorted);
      }),
    );
  });
});

describe('timeSkew', () => {
  it('stretches about the middle', () => {
    const window = windowOf(
      [
        [0, 1, 1, 1],
        [30, 2, 1, 0],
        [50, 3, 1, 1],
        [90, 4, 1, 1],
      ],
      0,
      100,
    );
    expect(after('timeSkew:0.5', window, constantRandom(0))).toEqual([
      [25, 1, 1, 1],
      [40, 2, 1, 0],
      [50, 3, 1, 1],
      [70, 4, 1, 1],
    ]);
    // A factor of 1.25: the first comes at -13 and the last at 100, both outside.
    expect(after('timeSkew:0.5', window, constantRandom(0.75))).toEqual([
      [25, 2, 1, 0],
      [50, 3, 1, 1],
    ]);
  });

  it('keeps the order and changes nothing with 0', () => {
    forWindows((window, random) => {
      const times = after('timeSkew:0.9', window, random).map((row) => row[0]);
      expect(times).toEqual([...times].sort((a, b) => a - b));
      expect(after('timeSkew:0', window, random)).toEqual(rowsOf(window.events));
    });
  });
});

describe('drops', () => {
  /** The events of the full window that are missing afterwards. */
  function dropped(call: string, seed: number): EventRow[] {
    const kept = new Set(after(call, full, createRandom(seed)).map(String));
    return rowsOf(full.events).filter((row) => !kept.has(String(row)));
  }

  it.each(['dropEvents', 'dropTime', 'dropArea'])('%s only drops, and nothing with 0', (name) => {
    forWindows((window, random) => {
      const rows = rowsOf(window.events);
      const before = new Set(rows.map(String));
      expect(after(`${name}:0.7`, window, random).every((row) => before.has(String(row)))).toBe(
        true,
      );
      expect(after(`${name}:0`, window, random)).toEqual(rows);
    });
  });

  it.each(['dropEvents', 'dropTime', 'dropArea'])('%s drops half its share on average', (name) => {
    let count = 0;
    for (let seed = 0; seed < 500; seed++) count += dropped(`${name}:0.6`, seed).length;
    const share = count / 500 / full.events.length;
    // Whole pixels make the area smaller.
    expect(share).toBeGreaterThan(name === 'dropArea' ? 0.2 : 0.27);
    expect(share).toBeLessThan(0.33);
  });

  it.each(['dropTime', 'dropArea'])('%s reaches every place', (name) => {
    const reached = new Set<number>();
    for (let seed = 0; seed < 400; seed++) {
      for (const [tUs] of dropped(`${name}:0.8`, seed)) reached.add(tUs);
    }
    expect(reached.size).toBe(108);
  });

  it('dropTime drops one stretch that is no longer than its share', () => {
    for (let seed = 0; seed < 100; seed++) {
      const times = dropped('dropTime:0.4', seed).map((row) => row[0]);
      expect(times).toEqual(times.map((_, i) => times[0] + i));
      expect(times.length).toBeLessThanOrEqual(Math.ceil(0.4 * 108));
    }
  });

  it('dropArea drops one full rectangle that is no larger than its share', () => {
    for (let seed = 0; seed < 100; seed++) {
      const rows = dropped('dropArea:0.4', seed);
      const columns = new Set(rows.map((row) => row[1])).size;
      const lines = new Set(rows.map((row) => row[2])).size;
      expect(rows.length).toBe(columns * lines);
      expect(rows.length).toBeLessThanOrEqual(0.4 * 108);
      if (rows.length > 0) {
        const last = rows[rows.length - 1];
        expect([last[1] - rows[0][1] + 1, last[2] - rows[0][2] + 1]).toEqual([columns, lines]);
      }
    }
  });
});

describe('augment', () => {
  it('applies all in order with the one generator', () => {
    const chain = ['crop:0.6', 'flipX', 'spatialJitter:0.5', 'dropTime:0.3'].map(parseAugmentation);
    fc.assert(
      fc.property(windows, seeds, (window, seed) => {
        const random = createRandom(seed);
        let expected = window;
        for (const { apply } of chain) expected = apply(expected, random);
        expect(augment(window, chain, createRandom(seed))).toEqual(expected);
      }),
    );
  });

  it('gives back the window where there is none', () => {
    expect(augment(full, [], createRandom(1))).toBe(full);
  });

  it('names what is wrong with a call', () => {
    expect(() => parseAugmentation('flipX:2')).toThrow(
      /augmentation "flipX:2": probability is "2", expected a number from 0 to 1/,
    );
    expect(() => parseAugmentation('roll:9')).toThrow(/unknown augmentation "roll", known are/);
  });
});

describe('reverseTime', () => {
  it('is undone by itself, and swaps ON and OFF unless told not to', () => {
    forWindows((window, random) => {
      const once = parseAugmentation('reverseTime:1').apply(window, random);
      const twice = parseAugmentation('reverseTime:1').apply(once, random);
      expect(twice).toEqual(window);
      const kept = after('reverseTime:1,0', window, random);
      const { startUs, endUs } = window;
      const expected = rowsOf(window.events).map(([t, x, y, p]): EventRow => [
        startUs + endUs - 1 - t,
        x,
        y,
        p,
      ]);
      expect(kept).toEqual(expected.reverse());
      expect(rowsOf(once.events)).toEqual(kept.map(([t, x, y, p]) => [t, x, y, 1 - p]));
    });
  });
});

describe('rotate', () => {
  it('turns about the middle: half a turn mirrors both axes', () => {
    // The angle is degrees · (2u - 1), so u = 1 gives the greatest one.
    const turned = after('rotate:180', full, constantRandom(1));
    expect(turned).toEqual(rowsOf(full.events).map(([t, x, y, p]) => [t, 11 - x, 8 - y, p]));
    expect(after('rotate:180', full, constantRandom(0.5))).toEqual(rowsOf(full.events));
  });

  it('keeps distances to within the rounding', () => {
    forWindows((window, random) => {
      const radius = ([, x, y]: EventRow): number => Math.hypot(x - 5.5, y - 4);
      const before = new Map(rowsOf(window.events).map((row) => [row[0], row]));
      for (const row of after('rotate:90', window, random)) {
        const same = rowsOf(window.events).filter(([t]) => t === row[0]);
        expect(before.has(row[0])).toBe(true);
        expect(same.some((one) => Math.abs(radius(one) - radius(row)) <= Math.SQRT1_2 + 1e-9)).toBe(
          true,
        );
      }
    });
  });
});

describe('noise', () => {
  it('keeps all events, in order, and adds up to its share', () => {
    forWindows((window, random) => {
      const noisy = after('noise:1.5', window, random);
      const times = noisy.map(([t]) => t);
      expect(times).toEqual([...times].sort((a, b) => a - b));
      expect(noisy.length).toBeLessThanOrEqual(2.5 * window.events.length + 0.5);
      const rest = noisy.map(String);
      for (const row of rowsOf(window.events)) {
        const found = rest.indexOf(String(row));
        expect(found).toBeGreaterThanOrEqual(0);
        rest.splice(found, 1);
      }
    });
  });

  it('is spread over the sensor and both polarities', () => {
    const added = after('noise:10', full, constantRandomCount(1));
    const columns = new Set(added.map(([, x]) => x));
    const rows = new Set(added.map(([, , y]) => y));
    expect([columns.size, rows.size]).toEqual([sensor.width, sensor.height]);
    const share = added.reduce((sum, [, , , p]) => sum + p, 0) / added.length;
    expect(Math.abs(share - 0.5)).toBeLessThan(0.1);
  });
});

/** Random numbers of a seed, of which the first is as large as can be. */
function constantRandomCount(seed: number): Random {
  const random = createRandom(seed);
  let first = true;
  return {
    ...random,
    uniform: () => {
      if (!first) return random.uniform();
      first = false;
      return 1;
    },
  };
}

describe('eventMix', () => {
  const other = { window: { ...full, startUs: 1000, endUs: 1216, index: 9 }, label: 2 };
  const partner = {
    ...other.window,
    events: { ...full.events, tUs: full.events.tUs.map((t) => 1000 + 2 * t) },
  };
  const { mix } = parseAugmentation('eventMix:1');

  it('shares the label as the events are shared', () => {
    const ownShares: number[] = [];
    for (let seed = 0; seed < 200; seed++) {
      const ons = {
        ...full,
        events: { ...full.events, polarity: full.events.polarity.map(() => 1) },
      };
      const offs = {
        ...partner,
        events: { ...partner.events, polarity: full.events.polarity.map(() => 0) },
      };
      const { window, ownShare } = mix!(ons, () => offs, createRandom(seed));
      const rows = rowsOf(window.events);
      const own = rows.filter(([, , , p]) => p === 1);
      expect(ownShare).toBeCloseTo(rows.length === 0 ? 1 : own.length / rows.length, 12);
      // Both windows have one event at each pixel and share of the time, so the mask takes each once.
      expect(rows.length).toBe(108);
      expect(new Set(rows.map(([t, x, y]) => `${t}/${x}/${y}`)).size).toBe(108);
      expect(window).toMatchObject({ index: 3, startUs: 0, endUs: 108 });
      ownShares.push(ownShare);
    }
    const mean = ownShares.reduce((a, b) => a + b) / ownShares.length;
    expect(Math.abs(mean - 0.5)).toBeLessThan(0.1);
  });

  it('scales a partner of another sensor', () => {
    const large = windowOf([[10, 23, 17, 1]], 0, 20);
    const wide = { ...large, events: { ...large.events, sensor: { width: 24, height: 18 } } };
    const none = windowOf([], 0, 100);
    const found = new Set<string>();
    for (let seed = 0; seed < 50; seed++) {
      const { window, ownShare } = mix!(none, () => wide, createRandom(seed));
      if (window.events.length > 0) expect(ownShare).toBe(0);
      for (const row of rowsOf(window.events)) found.add(String(row));
    }
    expect([...found]).toEqual(['50,11,8,1']);
  });

  it('leaves a window alone by chance, without reading a partner', () => {
    const random = createRandom(1);
    const never = parseAugmentation('eventMix:0').mix!;
    const read = (): never => {
      throw new Error('is not to be read');
    };
    expect(never(full, read, random)).toEqual({ window: full, ownShare: 1 });
  });
});

describe('augmentSample', () => {
  it('does as augment does where nothing is mixed', () => {
    const chain = ['crop:0.6', 'flipX', 'randAugment:2,9'].map(parseAugmentation);
    fc.assert(
      fc.property(windows, seeds, (window, seed) => {
        const { window: changed, shares } = augmentSample(
          { window, label: 4 },
          chain,
          createRandom(seed),
          () => {
            throw new Error('no partner is wanted');
          },
        );
        expect(changed).toEqual(augment(window, chain, createRandom(seed)));
        expect([...shares]).toEqual([[4, 1]]);
      }),
    );
  });

  it('gives shares that sum to 1, and the same for the same seed', () => {
    const chain = ['flipX', 'eventMix:0.8', 'dropEvents:0.2', 'eventMix:0.8'].map(
      parseAugmentation,
    );
    const sample = (seed: number) =>
      augmentSample({ window: full, label: 0 }, chain, createRandom(seed), (random) => ({
        window: full,
        label: 1 + random.integer(3),
      }));
    let mixed = 0;
    for (let seed = 0; seed < 100; seed++) {
      const { window, shares } = sample(seed);
      const sum = [...shares.values()].reduce((a, b) => a + b);
      expect(sum).toBeCloseTo(1, 12);
      if (shares.size > 1) mixed++;
      expect(sample(seed)).toEqual({ window, shares });
    }
    expect(mixed).toBeGreaterThan(50);
  });
});

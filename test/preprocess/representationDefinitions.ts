import { dataText } from '../../preprocess/arguments.js';
import type { ClipGrid } from '../../preprocess/representations/representation.js';
import type { EventRow } from '../ingest/streams.js';

// Representations as they are defined, value by value from the whole list of events; slow.

/** A value of a clip: its place, and the events, with what the place sees of them. */
interface Place {
  readonly bin: number;
  readonly channel: number;
  /** Events of the pixel, in order, with their bin. */
  readonly events: readonly PlacedEvent[];
  readonly all: readonly PlacedEvent[];
  readonly grid: ClipGrid;
}

interface PlacedEvent {
  readonly index: number;
  readonly t: number;
  /** Share of the interval. */
  readonly share: number;
  readonly bin: number;
  readonly x: number;
  readonly y: number;
  readonly p: number;
}

type Definition = (rows: readonly EventRow[], grid: ClipGrid) => number[];

function placed(rows: readonly EventRow[], { bins, fromUs, toUs }: ClipGrid): PlacedEvent[] {
  return rows.map(([t, x, y, p], index) => {
    let bin = 0;
    while (bin < bins - 1 && (t - fromUs) * bins >= (bin + 1) * (toUs - fromUs)) bin++;
    return { index, t, share: (t - fromUs) / (toUs - fromUs), bin, x, y, p };
  });
}

function define(channels: number, value: (place: Place) => number): Definition {
  return (rows, grid) => {
    const all = placed(rows, grid);
    const values: number[] = [];
    for (let bin = 0; bin < grid.bins; bin++) {
      for (let channel = 0; channel < channels; channel++) {
        for (let row = 0; row < grid.height; row++) {
          for (let column = 0; column < grid.width; column++) {
            const events = all.filter(
              ({ x, y }) => grid.rows[y] === row && grid.columns[x] === column,
            );
            values.push(value({ bin, channel, events, all, grid }));
          }
        }
      }
    }
    return values;
  };
}

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
const sign = ({ p }: PlacedEvent): number => (p === 1 ? 1 : -1);
const endOf = ({ fromUs, toUs, bins }: ClipGrid, bin: number): number =>
  fromUs + ((toUs - fromUs) * (bin + 1)) / bins;

function surface(channels: number, value: (ageUs: number) => number): Definition {
  return define(channels, ({ bin, channel, events, grid }) => {
    const seen = events.filter((e) => e.bin <= bin && (channels === 1 || e.p === channel));
    return Math.max(0, ...seen.map(({ t }) => value(endOf(grid, bin) - t)));
  });
}

function est(
  timestamps: boolean,
  kernel = (offset: number, bins: number) => Math.max(0, 1 - Math.abs(offset) * (bins - 1)),
): Definition {
  return define(2, ({ bin, channel, events, grid: { bins } }) =>
    sum(
      events
        .filter(({ p }) => p === channel)
        .map(
          ({ share }) =>
            (timestamps ? share : 1) * kernel(bin / Math.max(1, bins - 1) - share, bins),
        ),
    ),
  );
}

/** Prototypes as they are learned, surface by surface. */
function hots(
  wanted: number,
  radius: number,
  tauUs: number,
  fixed: readonly number[][] = [],
): Definition {
  return (rows, grid) => {
    const all = placed(rows, grid);
    const prototypes = [...fixed];
    const uses: number[] = [];
    const chosen = all.map((event) => {
      const vector = [0, 1].flatMap((p) =>
        Array.from({ length: (2 * radius + 1) ** 2 }, (_, offset) => {
          const x = event.x + (offset % (2 * radius + 1)) - radius;
          const y = event.y + Math.floor(offset / (2 * radius + 1)) - radius;
          const seen = all.filter(
            (e) => e.index <= event.index && e.x === x && e.y === y && e.p === p,
          );
          return Math.max(0, ...seen.map((e) => Math.exp((e.t - event.t) / tauUs)));
        }),
      );
      if (prototypes.length < wanted) {
        uses.push(1);
        return prototypes.push(vector) - 1;
      }
      const distances = prototypes.map((c) => sum(c.map((value, i) => (value - vector[i]) ** 2)));
      const k = distances.indexOf(Math.min(...distances));
      if (fixed.length > 0) return k;
      const dot = (a: number[], b: number[]): number => sum(a.map((value, i) => value * b[i]));
      const c = prototypes[k];
      const cosine = dot(c, vector) / Math.sqrt(dot(c, c) * dot(vector, vector));
      const alpha = 0.01 / (1 + uses[k]++ / 20_000);
      prototypes[k] = c.map((value, i) => value + alpha * (vector[i] - cosine * value));
      return k;
    });
    return define(
      wanted,
      ({ bin, channel, events }) =>
        events.filter((e) => e.bin === bin && chosen[e.index] === channel).length,
    )(rows, grid);
  };
}

function adaptive(minimum: number, threshold: number): Definition {
  return (rows, grid) => {
    const { width, height } = grid.sensor;
    const image = (events: readonly PlacedEvent[]): Map<string, number> => {
      const result = new Map<string, number>();
      const inside = (x: number, y: number): boolean => x >= 0 && y >= 0 && x < width && y < height;
      for (const p of [0, 1]) {
        const count = (x: number, y: number): number =>
          events.filter((e) => e.x === x && e.y === y && e.p === p).length;
        const square = (x: number, y: number, step: number): [number, number][] =>
          [
            [x, y],
            [x + step, y],
            [x, y + step],
            [x + step, y + step],
          ].filter(([a, b]) => inside(a, b)) as [number, number][];
        for (const { x, y } of events) {
          // An opening raises nothing: where no event is, its image is 0.
          if (result.has([x, y, p].join())) continue;
          const least = ([a, b]: [number, number]): number =>
            Math.min(...square(a, b, -1).map(([c, d]) => count(c, d)));
          result.set([x, y, p].join(), Math.max(...square(x, y, 1).map(least)));
        }
      }
      const pixels = new Map<string, number>();
      for (const [key, value] of result) {
        const pixel = key.slice(0, -2);
        pixels.set(pixel, (pixels.get(pixel) ?? 0) + value);
      }
      return pixels;
    };
    const divide = (events: readonly PlacedEvent[]): (readonly PlacedEvent[])[] => {
      if (events.length < 2) return events.length === 0 ? [] : [events];
      const middle = Math.floor(events.length / 2);
      const halves = [events.slice(0, middle), events.slice(middle)];
      const [a, b] = halves.map((half) => image(half));
      const pixels = new Set([...a.keys(), ...b.keys()]);
      const difference = sum(
        [...pixels].map((pixel) => Math.abs((a.get(pixel) ?? 0) - (b.get(pixel) ?? 0))),
      );
      if (difference <= threshold * events.length) return [events];
      return middle <= minimum ? halves : halves.flatMap(divide);
    };
    const frames = divide(placed(rows, grid));
    const frameOf = (bin: number): readonly PlacedEvent[] =>
      frames.length <= grid.bins
        ? (frames[bin] ?? [])
        : frames[Math.floor(((bin + 0.5) * frames.length) / grid.bins)];
    return define(3, ({ bin, channel, events }) => {
      const own = frameOf(bin).filter((e) => events.some(({ index }) => index === e.index));
      return own.some(({ p }) => channel === 1 || p === channel / 2) ? 1 : 0;
    })(rows, grid);
  };
}

const histogram = define(
  2,
  ({ bin, channel, events }) => events.filter((e) => e.bin === bin && e.p === channel).length,
);

const prototypes = [0, 1, 2].map((k) =>
  Array.from({ length: 18 }, (_, i) => (i % 3 === k || i === 4 * k ? 0.7 : 0.1 * k)),
);

/** Representations that were fitted, called with what was learned. */
export const fittedCalls = {
  hots: `hotsFitted:dictionary=${dataText({ radius: 1, tauUs: 80, prototypes })}`,
  est: `estLearned:kernel=${dataText([
    { weights: [[2], [-3]], biases: [0.5, 0.25] },
    { weights: [[1.5, -1]], biases: [0.125] },
  ])}`,
};
const leaky = (value: number): number => (value < 0 ? 0.1 * value : value);

/** By call. Events must be in order of time. */
export const definitions: Readonly<Record<string, Definition>> = {
  histogram,
  spikes: (rows, grid) => histogram(rows, grid).map((count) => Math.min(1, count)),
  frame: define(1, ({ bin, events }) => sum(events.filter((e) => e.bin === bin).map(sign))),
  'frame:binary=1': define(1, ({ bin, events }) => (events.some((e) => e.bin === bin) ? 1 : 0)),
  voxel: define(1, ({ bin, events, grid: { bins } }) =>
    sum(events.map((e) => sign(e) * Math.max(0, 1 - Math.abs(bin - (bins - 1) * e.share)))),
  ),
  est: est(true),
  'est:timestamps=0': est(false),
  [fittedCalls.est]: est(true, (d) => 1.5 * leaky(2 * d + 0.5) - leaky(0.25 - 3 * d) + 0.125),
  'timeSurface:tauUs=90': surface(2, (ageUs) => Math.exp(-ageUs / 90)),
  'timeSurface:tauUs=90,linear=1': surface(2, (ageUs) => 1 - ageUs / 90),
  'timeSurface:70,0,1': surface(1, (ageUs) => Math.exp(-ageUs / 70)),
  sae: define(2, ({ bin, channel, events }) =>
    Math.max(0, ...events.filter((e) => e.bin <= bin && e.p === channel).map((e) => e.share)),
  ),
  'tore:depth=2': define(4, ({ bin, channel, events, grid }) => {
    const seen = events.filter((e) => e.bin <= bin && e.p === Math.floor(channel / 2));
    const times = seen.map(({ t }) => t).sort((a, b) => b - a);
    const ageUs = endOf(grid, bin) - (times[channel % 2] ?? -Infinity);
    return Math.max(0, Math.log(Math.min(5e6, ageUs) + 1) - Math.log(151));
  }),
  'hats:radius=1,tauUs=100,memoryUs=150': define(18, ({ bin, channel, events }) => {
    const own = events.filter((e) => e.bin === bin);
    const offset = channel % 9;
    const surfaces = own
      .filter(({ p }) => p === Math.floor(channel / 9))
      .map((e) =>
        sum(
          events
            .filter(
              (past) =>
                past.index < e.index &&
                past.p === e.p &&
                past.t < e.t &&
                past.t >= e.t - 150 &&
                past.x === e.x + (offset % 3) - 1 &&
                past.y === e.y + Math.floor(offset / 3) - 1,
            )
            .map((past) => Math.exp((past.t - e.t) / 100)),
        ),
      );
    return own.length === 0 ? 0 : sum(surfaces) / own.length;
  }),
  'hots:prototypes=3,radius=1,tauUs=80': hots(3, 1, 80),
  [fittedCalls.hots]: hots(3, 1, 80, prototypes),
  'binaRep:bits=3': define(2, ({ bin, channel, events, grid: { bins } }) => {
    const slices = events
      .filter(({ p }) => p === channel)
      .map(({ share }) => Math.min(3 * bins - 1, Math.floor(3 * bins * share)));
    return sum([0, 1, 2].filter((i) => slices.includes(3 * bin + i)).map((i) => 2 ** i)) / 7;
  }),
  'mdes:levels=3': define(3, ({ bin, channel, events, all }) => {
    const own = all.filter((e) => e.bin === bin);
    const count = Math.floor(own.length / 2 ** channel);
    const kept = count === 0 ? [] : own.slice(-count);
    const here = kept.filter((e) => events.some(({ index }) => index === e.index));
    return here.length === 0 ? 0 : sign(here[here.length - 1]);
  }),
  'afe:minimumEvents=4,threshold=0.2': adaptive(4, 0.2),
};

import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { nativeLoops } from '../../engine/native/eventLoops.js';
import { loadAddon } from '../../engine/native/addon.js';
import {
  type EventLoops,
  eventRepresentations,
  fitsBytes,
  plainLoops,
} from '../../engine/ops/eventLoops.js';
import { blankBatch, type EventBatch, sliceBatch } from '../../ingest/eventBatch.js';
import { parseNpyHeader } from '../../ingest/formats/npyHeader.js';
import { openRecording, writeRecording } from '../../ingest/recording.js';
import { writeNpy } from '../../preprocess/npyFile.js';
import {
  addToClip,
  type ClipSize,
  finishClip,
  parseRepresentation,
  type Representation,
  representationNames,
  representRecording,
  representWindow,
  startClip,
  storageTypes,
  storeClip,
} from '../../preprocess/representations/index.js';
import { clipGrid } from '../../preprocess/representations/representation.js';
import { expectNear } from '../expectNear.js';
import { batchOf, type EventRow, streamOf } from '../ingest/streams.js';
import { definitions, fittedCalls } from './representationDefinitions.js';

const sensor = { width: 12, height: 9 };

const rowsArbitrary = fc.array(
  fc.tuple(
    fc.integer({ min: 0, max: 500 }),
    fc.integer({ min: 0, max: 11 }),
    fc.integer({ min: 0, max: 8 }),
    fc.integer({ min: 0, max: 1 }),
  ),
  { minLength: 1, maxLength: 80 },
) as fc.Arbitrary<EventRow[]>;

const sizeArbitrary = fc.record({
  bins: fc.integer({ min: 1, max: 7 }),
  height: fc.integer({ min: 1, max: 14 }),
  width: fc.integer({ min: 1, max: 14 }),
});

/** Every representation at least once, with settings that small clips reach. */
const calls = [
  ...['spikes', 'histogram', 'frame', 'frame:binary=1', 'voxel', 'est', 'est:timestamps=0'],
  ...['timeSurface:tauUs=90', 'timeSurface:tauUs=90,linear=1', 'timeSurface:70,0,1', 'sae'],
  ...[
    'tore:depth=2',
    'hats:radius=1,tauUs=100,memoryUs=150',
    'hots:prototypes=3,radius=1,tauUs=80',
  ],
  ...[fittedCalls.hots, fittedCalls.est],
  ...['binaRep:bits=3', 'mdes:levels=3', 'afe:minimumEvents=4,threshold=0.2'],
];

/** In order of time, as the definitions of those that look back want it. */
const sorted = (rows: readonly EventRow[]): EventRow[] => [...rows].sort((a, b) => a[0] - b[0]);

function represent(
  representation: Representation,
  rows: readonly EventRow[],
  size: { bins: number; height: number; width: number },
  [startUs, endUs]: readonly [number, number] = [0, 500],
): Float32Array {
  const window = { index: 0, startUs, endUs, events: batchOf(sensor, rows) };
  return representWindow(window, representation, size);
}

it('covers every representation that is registered', () => {
  expect(new Set(calls.map((call) => call.split(':')[0]))).toEqual(new Set(representationNames));
});

describe.each(calls.map((call) => [call.slice(0, 60), call]))('%s', (_title, call) => {
  const representation = parseRepresentation(call);
  const { channels, values: range } = representation;
  const size = { bins: 3, height: sensor.height, width: sensor.width };

  it('equals its definition', () => {
    fc.assert(
      fc.property(rowsArbitrary, sizeArbitrary, (rows, any) => {
        const ordered = sorted(rows);
        const values = represent(representation, ordered, any, [-20, 501]);
        const grid = clipGrid(sensor, { fromUs: -20, toUs: 501 }, any);
        const expected = definitions[call](ordered, grid);
        expect(values.length).toBe(any.bins * channels * any.height * any.width);
        expectNear(values, expected, 4);
      }),
      { numRuns: 50 },
    );
  });

  it('does not depend on how events are handed over, also when read in between', () => {
    fc.assert(
      fc.property(rowsArbitrary, sizeArbitrary, fc.nat(80), fc.boolean(), (rows, any, at, read) => {
        const events = batchOf(sensor, rows);
        const interval = { fromUs: 0, toUs: 500 };
        const whole = startClip(representation, sensor, interval, any);
        addToClip(whole, events);
        const parts = startClip(representation, sensor, interval, any);
        const middle = Math.min(at, events.length);
        addToClip(parts, sliceBatch(events, 0, middle));
        if (read) finishClip(parts);
        for (let i = middle; i < events.length; i++) addToClip(parts, sliceBatch(events, i, i + 1));
        expect(finishClip(parts)).toEqual(finishClip(whole));
      }),
      { numRuns: 40 },
    );
  });

  it('moves with time', () => {
    fc.assert(
      fc.property(rowsArbitrary, fc.constantFrom(1, 10_000_019, 1.7e15), (rows, shiftUs) => {
        const later = rows.map(([t, x, y, p]): EventRow => [t + shiftUs, x, y, p]);
        const moved = represent(representation, later, size, [shiftUs, 500 + shiftUs]);
        expect(moved).toEqual(represent(representation, rows, size));
      }),
      { numRuns: 20 },
    );
  });

  it('exchanges channels or signs where polarities are exchanged', () => {
    if (representation.name.startsWith('hots')) return; // Prototypes hold both polarities: they change themselves.
    fc.assert(
      fc.property(rowsArbitrary, (rows) => {
        const values = represent(representation, rows, size);
        const flipped = represent(
          representation,
          rows.map(([t, x, y, p]): EventRow => [t, x, y, 1 - p]),
          size,
        );
        const plane = size.height * size.width;
        const symmetric = channels === 1 ? range === 'binary' || range === 'unit' : false;
        const half = channels / 2;
        const expected = values.map((_, i) => {
          const channel = Math.floor(i / plane) % channels;
          const bin = Math.floor(i / plane / channels);
          const other =
            representation.name === 'afe'
              ? 2 - channel
              : channels > 1 && representation.name !== 'mdes'
                ? (channel + half) % channels
                : channel;
          const sign = other === channel && !symmetric && representation.name !== 'afe' ? -1 : 1;
          return sign * flipped[(bin * channels + other) * plane + (i % plane)];
        });
        expectNear(values, expected, 5);
      }),
      { numRuns: 20 },
    );
  });

  it('has defined values for no, one and simultaneous events, and for 10 s of silence', () => {
    const empty = represent(representation, [], size);
    const none = representation.name === 'tore' ? Math.log(5e6 + 1) - Math.log(151) : 0;
    expectNear(empty, new Array(empty.length).fill(none), 5);
    const silent = represent(
      representation,
      [
        [0, 3, 4, 1],
        [10_000_000, 3, 4, 1],
      ],
      size,
      [0, 10_000_000],
    );
    expect(silent.every((value) => Number.isFinite(value))).toBe(true);
    for (const count of [1, 7]) {
      const same = Array.from({ length: count }, (_, i): EventRow => [250, i, 4, i % 2]);
      for (const interval of [
        [0, 500],
        [250, 250],
      ] as const) {
        const values = represent(representation, same, size, interval);
        expect(values.every((value) => Number.isFinite(value))).toBe(true);
        const told = ['hats', 'estLearned'].includes(representation.name) || call === 'est';
        if (!told && count === 1 && representation.name !== 'tore') {
          expect(values.some((value) => value !== 0)).toBe(true);
        }
      }
    }
  });

  it('refuses what does not fit, and leaves the clip and the callers’ arrays as they are', () => {
    const clip = startClip(representation, sensor, { fromUs: 0, toUs: 500 }, size);
    const good = batchOf(sensor, [[100, 3, 4, 1]]);
    addToClip(clip, good);
    expect(good).toEqual(batchOf(sensor, [[100, 3, 4, 1]]));
    const before = finishClip(clip).slice();
    const wrong = (change: Partial<EventBatch>): EventBatch => ({
      ...batchOf(sensor, [
        [1, 1, 1, 1],
        [2, 2, 2, 0],
      ]),
      ...change,
    });
    for (const [change, message] of [
      [{ tUs: Float64Array.of(1, NaN) }, /event 1 .*finite time/],
      [{ x: Uint16Array.of(12, 1) }, /event 0 .*x below 12/],
      [{ y: Uint16Array.of(0, 9) }, /event 1 .*y below 9/],
      [{ polarity: Uint8Array.of(0, 255) }, /event 1 .*polarity 0 or 1/],
      [{ sensor: { width: 9, height: 12 } }, /sensor of 9 × 12 pixels, expected 12 × 9/],
    ] as const) {
      expect(() => addToClip(clip, wrong(change))).toThrow(message);
    }
    expect(finishClip(clip)).toEqual(before);
    const start = (from: number, bins: number): unknown =>
      startClip(representation, sensor, { fromUs: from, toUs: 500 }, { ...size, bins });
    expect(() => start(501, 1)).toThrow(/do not fall/);
    expect(() => start(NaN, 1)).toThrow(/finite/);
    expect(() => start(0, 0)).toThrow(/bins/);
  });

  it('is written as bytes where it can be, and else says that it cannot', () => {
    fc.assert(
      fc.property(rowsArbitrary, (rows) => {
        const floats = represent(representation, rows, size);
        const window = { index: 0, startUs: 0, endUs: 500, events: batchOf(sensor, rows) };
        const out = new Uint8Array(floats.length).fill(9);
        const bytes = (): Uint8Array => representWindow(window, representation, size, out);
        if (representation.bytes !== true) expect(bytes).toThrow(/cannot be written as bytes/);
        else expect(Array.from(bytes())).toEqual(Array.from(floats));
      }),
      { numRuns: 10 },
    );
  });

  it('keeps its values within its range, so that they can be stored', () => {
    fc.assert(
      fc.property(rowsArbitrary, (rows) => {
        const data = represent(representation, rows, size);
        const shape = [size.bins, channels, size.height, size.width];
        for (const type of storageTypes(range)) {
          const stored = storeClip({ shape, data }, range, type);
          if (type === 'f32') expect(stored.data).toBe(data);
          if (type === 'u8') {
            const scale = range === 'unit' ? 255 : 1;
            const differences = Array.from(stored.data, (value, i) =>
              Math.abs(value - scale * data[i]),
            );
            expect(Math.max(...differences)).toBeLessThanOrEqual(0.5001);
          }
          if (type === 'bits') {
            const bytes = Math.ceil(size.width / 8);
            expect(stored.shape).toEqual([...shape.slice(0, 3), bytes]);
            const bits = data.map((_, i) => {
              const [row, column] = [Math.floor(i / size.width), i % size.width];
              const byte = stored.data[row * bytes + Math.floor(column / 8)];
              return (byte >> (7 - (column % 8))) & 1;
            });
            expect(bits).toEqual(data);
          }
        }
      }),
      { numRuns: 10 },
    );
  });
});

describe('conservation', () => {
  const total = (call: string, rows: readonly EventRow[], size: ClipSize): number =>
    represent(parseRepresentation(call), rows, size).reduce((a, b) => a + b, 0);

  it('keeps the number of events and the sum of polarities', () => {
    fc.assert(
      fc.property(rowsArbitrary, sizeArbitrary, (rows, size) => {
        const signs = rows.reduce((sum, [, , , p]) => sum + (p === 1 ? 1 : -1), 0);
        expect(total('histogram', rows, size)).toBe(rows.length);
        expect(total('hots:prototypes=3', rows, size)).toBe(rows.length);
        expect(total('est:timestamps=0', rows, size)).toBeCloseTo(rows.length, 3);
        expect(total('frame', rows, size)).toBe(signs);
        expect(total('voxel', rows, size)).toBeCloseTo(signs, 3);
      }),
    );
  });
});

describe('native loops', () => {
  let native: EventLoops | undefined;
  try {
    native = nativeLoops(loadAddon().kernels);
  } catch {
    console.warn('native loops are not tested: the addon was not built');
  }

  it.runIf(native !== undefined)('give what the plain ones give', () => {
    fc.assert(
      fc.property(
        rowsArbitrary,
        sizeArbitrary,
        fc.constantFrom(0, 251, 500),
        fc.constantFrom([0, 1], [-40, 1], [1.7e15, 1000], [9e15, 1]),
        (rows, size, lastUs, [fromUs, scale]) => {
          const later = rows.map(([t, ...rest]): EventRow => [fromUs + scale * t, ...rest]);
          const events = batchOf(sensor, later);
          const toUs = scale * lastUs;
          const grid = clipGrid(sensor, { fromUs, toUs: fromUs + toUs }, size);
          const plane = size.height * size.width;
          for (const kind of eventRepresentations) {
            const [one, other] = [0, 1].map(() => new Float32Array(size.bins * 2 * plane).fill(2));
            plainLoops.addToBins(one, events, grid, kind);
            native!.addToBins(other, events, grid, kind);
            expect(other).toEqual(one);
          }
          for (const kind of eventRepresentations.filter(fitsBytes)) {
            const [one, other] = [0, 1].map(() => new Uint8Array(size.bins * 2 * plane).fill(250));
            plainLoops.addToBins(one, events, grid, kind);
            native!.addToBins(other, events, grid, kind);
            expect(other).toEqual(one);
          }
          const [one, other] = [0, 1].map(() =>
            new Float64Array(size.bins * 2 * plane).fill(-Infinity),
          );
          plainLoops.raiseToLatest(one, events, grid);
          native!.raiseToLatest(other, events, grid);
          expect(other).toEqual(one);
          const [a, b] = [0, 1].map(() => new Float32Array(one.length));
          plainLoops.decaySince(a, one, toUs, 90 * scale);
          native!.decaySince(b, one, toUs, 90 * scale);
          expectNear(b, a, 6);
        },
      ),
    );
    fc.assert(
      fc.property(
        rowsArbitrary,
        fc.array(fc.integer({ min: 0, max: 2 }), { minLength: 80, maxLength: 80 }),
        fc.nat(60),
        fc.integer({ min: 1, max: 8 }),
        fc.nat(1),
        (rows, flags, windowUs, needed, perPolarity) => {
          const events = batchOf(sensor, rows);
          const stride = sensor.width + 2;
          const plane = perPolarity * stride * (sensor.height + 2);
          const results = [plainLoops, native!].map((loops) => {
            const keep = new Uint8Array(rows.length + 3).fill(7);
            const lastUs = new Float64Array(2 * stride * (sensor.height + 2)).fill(-Infinity);
            loops.markSupported(keep, lastUs, events, { stride, plane, windowUs, needed });
            const to = blankBatch(sensor, rows.length + 1);
            const kept = loops.select(to, events, Uint8Array.from(flags));
            return { keep, lastUs, kept, events: sliceBatch(to, 0, kept) };
          });
          expect(results[1]).toEqual(results[0]);
        },
      ),
    );
    const odd = (change: Partial<EventBatch>): EventBatch => ({
      ...batchOf(sensor, [[1, 11, 8, 1]]),
      ...change,
    });
    for (const events of [
      ...[odd({}), odd({ x: Uint16Array.of(12) }), odd({ y: Uint16Array.of(9) })],
      ...[odd({ polarity: Uint8Array.of(2) }), odd({ tUs: Float64Array.of(NaN) })],
      ...[odd({ tUs: Float64Array.of(Infinity) }), batchOf(sensor, [])],
      ...[odd({ tUs: Float64Array.of(-Infinity) }), odd({ tUs: Float64Array.of(-1e300) })],
    ]) {
      expect(native!.sound(events, 12, 9)).toBe(plainLoops.sound(events, 12, 9));
      expect(native!.whole(events, 12, 9)).toBe(plainLoops.whole(events, 12, 9));
    }
    for (const value of [0, -0, 1e-40, -3e38, NaN, Infinity, -Infinity]) {
      // At the end of a run of vectors, too.
      const values = new Float32Array(67).fill(1);
      values[66] = value;
      expect([native!.finite(values), plainLoops.finite(values)]).toEqual([
        Number.isFinite(value),
        Number.isFinite(value),
      ]);
    }
    const times = [0.5, -0.5, 2 ** 51, -(2 ** 51), 2 ** 51 - 1, 2 ** 50 + 0.25, 2 ** 53, -0];
    for (const time of times) {
      const events = odd({ tUs: Float64Array.of(time), polarity: Uint8Array.of(7) });
      const whole = Number.isInteger(time) && Math.abs(time) < 2 ** 51;
      expect([native!, plainLoops].map((loops) => loops.whole(events, 12, 9))).toEqual([
        whole,
        whole,
      ]);
    }
  });
});

describe('representRecording', () => {
  it('bins over [first, last], with the last event in the last bin', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'saccade-'));
    try {
      const path = join(folder, 'a.es');
      const rows: EventRow[] = [
        [0, 0, 0, 1],
        [249, 1, 0, 0],
        [250, 2, 0, 1],
        [500, 3, 0, 1],
        [1000, 4, 0, 1],
      ];
      await writeRecording(path, streamOf([batchOf(sensor, rows)]), { sensor });
      const recording = await openRecording(path);
      const size = { bins: 4, height: 9, width: 12 };
      const { shape, data } = await representRecording(recording, {
        representation: parseRepresentation('histogram'),
        ...size,
      });
      expect(shape).toEqual([4, 2, 9, 12]);
      const grid = clipGrid(sensor, { fromUs: 0, toUs: 1000 }, size);
      expect(Array.from(data)).toEqual(definitions.histogram(rows, grid));
      const spikes = await representRecording(recording, {
        representation: parseRepresentation('spikes'),
        ...size,
      });
      expect(spikes.data).toBeInstanceOf(Uint8Array);
      const voxel = await representRecording(recording, {
        representation: parseRepresentation('voxel'),
        ...size,
      });
      expect(voxel.shape).toEqual([4, 9, 12]);
      expect(Array.from(voxel.data).reduce((a, b) => a + b, 0)).toBeCloseTo(3, 5);
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});

describe('parseRepresentation', () => {
  it('names those that are known, and describes a call in full', () => {
    expect(() => parseRepresentation('voxels')).toThrow(/spikes; histogram; frame.*; voxel/);
    expect(() => parseRepresentation('tore:depth=0')).toThrow(/depth.*from 1/);
    expect(parseRepresentation('timeSurface:9').description).toBe(
      'timeSurface:tauUs=9,linear=0,polarities=2',
    );
  });
});

describe('writeNpy', () => {
  it('writes what NPY readers expect', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'saccade-'));
    try {
      await fc.assert(
        fc.asyncProperty(
          fc.array(fc.integer({ min: 0, max: 4 }), { minLength: 1, maxLength: 4 }),
          fc.boolean(),
          async (shape, bytes) => {
            const path = join(folder, 'a.npy');
            const length = shape.reduce((a, b) => a * b, 1);
            const values = Array.from({ length }, (_, i) => i % 200);
            const data = bytes ? Uint8Array.from(values) : Float32Array.from(values);
            await writeNpy(path, { shape, data });
            const file = await readFile(path);
            expect(file.subarray(0, 8)).toEqual(
              Buffer.from([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0]),
            );
            const start = 10 + file.readUInt16LE(8);
            expect(start % 64).toBe(0);
            const header = parseNpyHeader(file.toString('latin1', 10, start));
            expect(header.shape).toEqual(shape);
            expect(header.fields[0].scalar).toBe(bytes ? 'u1' : 'f4');
            const body = file.subarray(start);
            const read = Array.from({ length }, (_, i) =>
              bytes ? body[i] : body.readFloatLE(4 * i),
            );
            expect(read).toEqual(values);
            expect(body.length).toBe(length * (bytes ? 1 : 4));
          },
        ),
        { numRuns: 25 },
      );
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});

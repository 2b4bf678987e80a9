import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { sliceBatch } from '../../ingest/eventBatch.js';
import { openRecording, writeRecording } from '../../ingest/recording.js';
import { parseNpyHeader } from '../../ingest/formats/npyHeader.js';
import { writeNpy } from '../../preprocess/npyFile.js';
import {
  clipLength,
  representationByName,
  representations,
  representRecording,
  representWindow,
} from '../../preprocess/representations/index.js';
import { batchOf, type EventRow, streamOf } from '../ingest/streams.js';

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

/** The definitions, event by event and cell by cell. */
function naive(
  kind: string,
  rows: readonly EventRow[],
  [fromUs, toUs]: readonly [number, number],
  { bins, height, width }: { bins: number; height: number; width: number },
): number[] {
  const channels = kind === 'voxel' ? 1 : 2;
  const values = new Array<number>(bins * channels * height * width).fill(0);
  for (const [t, x, y, p] of rows) {
    const row = Math.floor((y * height) / sensor.height);
    const column = Math.floor((x * width) / sensor.width);
    const at = (bin: number, channel: number): number =>
      ((bin * channels + channel) * height + row) * width + column;
    if (kind === 'voxel') {
      const position = ((bins - 1) * (t - fromUs)) / (toUs - fromUs);
      for (let bin = 0; bin < bins; bin++) {
        const weight = Math.max(0, 1 - Math.abs(bin - position));
        values[at(bin, 0)] += (p === 1 ? 1 : -1) * weight;
      }
    } else {
      let bin = 0;
      while (bin < bins - 1 && (t - fromUs) * bins >= (bin + 1) * (toUs - fromUs)) bin++;
      values[at(bin, p)] = kind === 'spikes' ? 1 : values[at(bin, p)] + 1;
    }
  }
  return values;
}

describe.each(representations.map((representation) => [representation.name, representation]))(
  '%s',
  (name, representation) => {
    it('equals its definition', () => {
      fc.assert(
        fc.property(rowsArbitrary, sizeArbitrary, (rows, size) => {
          const window = { index: 0, startUs: -20, endUs: 501, events: batchOf(sensor, rows) };
          const values = Array.from(representWindow(window, representation, size));
          const expected = naive(name, rows, [-20, 501], size);
          values.forEach((value, i) => expect(value).toBeCloseTo(expected[i], 4));
          expect(values.length).toBe(expected.length);
        }),
      );
    });

    it('does not depend on how events are handed over', () => {
      fc.assert(
        fc.property(rowsArbitrary, sizeArbitrary, fc.nat(80), (rows, size, at) => {
          const events = batchOf(sensor, rows);
          const whole = new Float32Array(clipLength(representation, size));
          const parts = whole.slice();
          const interval = { fromUs: 0, toUs: 500 };
          representation.accumulate(whole, events, interval, size);
          const middle = Math.min(at, events.length);
          representation.accumulate(parts, sliceBatch(events, 0, middle), interval, size);
          representation.accumulate(
            parts,
            sliceBatch(events, middle, events.length),
            interval,
            size,
          );
          expect(parts).toEqual(whole);
        }),
      );
    });

    it('is empty without events, and takes events outside the interval into its ends', () => {
      const size = { bins: 3, height: 9, width: 12 };
      const none = { index: 0, startUs: 0, endUs: 10, events: batchOf(sensor, []) };
      expect(representWindow(none, representation, size).every((value) => value === 0)).toBe(true);
      const outside: EventRow[] = [
        [-100, 3, 4, 1],
        [900, 3, 4, 1],
      ];
      const values = representWindow(
        { index: 0, startUs: 0, endUs: 10, events: batchOf(sensor, outside) },
        representation,
        size,
      );
      const plane = 9 * 12;
      const sums = [0, 1, 2].map((bin) =>
        values
          .subarray(
            bin * representation.channels * plane,
            (bin + 1) * representation.channels * plane,
          )
          .reduce((a, b) => a + b, 0),
      );
      expect(sums).toEqual([1, 0, 1]);
    });
  },
);

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
      const { shape, data } = await representRecording(recording, { kind: 'histogram', ...size });
      expect(shape).toEqual([4, 2, 9, 12]);
      expect(Array.from(data)).toEqual(naive('histogram', rows, [0, 1000], size));
      const spikes = await representRecording(recording, { kind: 'spikes', ...size });
      expect(spikes.data).toBeInstanceOf(Uint8Array);
      const voxel = await representRecording(recording, { kind: 'voxel', ...size });
      expect(voxel.shape).toEqual([4, 9, 12]);
      expect(Array.from(voxel.data).reduce((a, b) => a + b, 0)).toBeCloseTo(3, 5);
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});

describe('representationByName', () => {
  it('names those that are known', () => {
    expect(() => representationByName('voxels')).toThrow(/spikes, histogram, voxel/);
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

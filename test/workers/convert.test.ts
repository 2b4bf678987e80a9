import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { createRandom } from '../../engine/support/random.js';
import type { SensorSize } from '../../ingest/eventBatch.js';
import { openRecording, writeRecording } from '../../ingest/recording.js';
import { convertJob } from '../../workers/convert.js';
import { batchOf, collect, type EventRow, rowsOf, streamOf } from '../ingest/streams.js';

const sensor = { width: 20, height: 10 };
const random = createRandom(1, 'convert');
const rows = Array.from({ length: 500 }, (_, i): EventRow => [
  i * 10,
  random.integer(sensor.width),
  random.integer(sensor.height),
  random.integer(2),
]);

/** Filters that change where events lie, and what they do to a sensor and to an event's place. */
const moves: Record<
  string,
  { sensor(size: SensorSize): SensorSize; place(x: number, y: number, size: SensorSize): number[] }
> = {
  transpose: {
    sensor: ({ width, height }) => ({ width: height, height: width }),
    place: (x, y) => [y, x],
  },
  'downsample:2': {
    sensor: ({ width, height }) => ({
      width: Math.ceil(width / 2),
      height: Math.ceil(height / 2),
    }),
    place: (x, y) => [Math.floor(x / 2), Math.floor(y / 2)],
  },
  flipX: {
    sensor: (size) => size,
    place: (x, y, { width }) => [width - 1 - x, y],
  },
};

let folder: string;
let from: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'saccade-convert-'));
  from = join(folder, 'from.es');
  const batches = Array.from({ length: 5 }, (_, i) =>
    batchOf(sensor, rows.slice(100 * i, 100 * i + 100)),
  );
  await writeRecording(from, streamOf(batches), { sensor });
});
afterAll(() => rm(folder, { recursive: true }));

describe('convertJob', () => {
  it('writes the sensor that its filters leave, and every event where they put it', () =>
    fc.assert(
      fc.asyncProperty(
        fc.array(fc.constantFrom(...Object.keys(moves)), { maxLength: 3 }),
        fc.constantFrom('es', 'raw'),
        async (filters, extension) => {
          const to = join(folder, `to.${extension}`);
          const { events } = await convertJob({ from, to, filters });
          expect(events).toEqual({ read: rows.length, written: rows.length });
          let size: SensorSize = sensor;
          let expected: readonly EventRow[] = rows;
          for (const { sensor: sensorAfter, place } of filters.map((name) => moves[name])) {
            const before = size;
            expected = expected.map(([t, x, y, p]) => {
              const [newX, newY] = place(x, y, before);
              return [t, newX, newY, p];
            });
            size = sensorAfter(before);
          }
          const recording = await openRecording(to);
          expect(recording.sensor).toEqual(size);
          expect((await collect(recording.batches())).flatMap(rowsOf)).toEqual(expected);
        },
      ),
      { numRuns: 25 },
    ));

  it('cuts, tells how far it is, and writes the same file again', async () => {
    const job = { from, to: join(folder, 'cut.es'), fromUs: 1000, toUs: 3000 };
    const done: number[] = [];
    const outcome = await convertJob(job, { onProgress: (progress) => done.push(progress.done) });
    expect(outcome.events).toEqual({ read: 200, written: 200 });
    expect(done.at(-1)).toBe(200);
    const first = await readFile(job.to);
    expect(await convertJob(job)).toEqual(outcome);
    expect(await readFile(job.to)).toEqual(first);
  });

  it('tells a filter that is none before it writes', async () => {
    const to = join(folder, 'never.es');
    await expect(convertJob({ from, to, filters: ['blur:3'] })).rejects.toMatchObject({
      kind: 'usage',
    });
    await expect(readFile(to)).rejects.toThrow(/ENOENT/);
  });
});

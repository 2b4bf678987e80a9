import { mkdtemp, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createRandom } from '../../engine/support/random.js';
import type { ByteSource } from '../../ingest/bytes.js';
import { concatBatches } from '../../ingest/eventBatch.js';
import { createReport } from '../../ingest/format.js';
import { evt3 } from '../../ingest/formats/evt3.js';
import { openRecording, type Recording, writeRecording } from '../../ingest/recording.js';
import { type Decode, makeTimeIndex, readTimeIndex, TimeIndex } from '../../ingest/timeIndex.js';
import {
  batchOf,
  collect,
  encodeRows,
  type EventRow,
  rowsOf,
  sourceOf,
  streamOf,
} from './streams.js';

const sensor = { width: 64, height: 48 };
const random = createRandom(5, 'index');
/** Mostly rising times, with steps back of up to 500 µs. */
const rows = Array.from({ length: 40_000 }, (_, i): EventRow => [
  20 * i + random.integer(500),
  random.integer(64),
  random.integer(48),
  i & 1,
]);

let folder = '';
let path = '';
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'saccade-test-'));
  path = join(folder, 'a.csv');
  await writeRecording(path, streamOf([batchOf(sensor, rows)]), { sensor });
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

async function slice(recording: Recording, fromUs: number, toUs: number): Promise<EventRow[]> {
  const batches = await collect(recording.batches({ fromUs, toUs }));
  return rowsOf(concatBatches(batches, recording.sensor));
}

const expected = (fromUs: number, toUs: number): EventRow[] =>
  rows.filter(([tUs]) => tUs >= fromUs && tUs < toUs);

describe('the index beside a recording', () => {
  const recorded = (): { path: string; format: string } => ({ path, format: 'csv' });

  it('is made at the first slice when asked for, and used from then on', async () => {
    const plain = await openRecording(path);
    expect(await slice(plain, 100_000, 120_000)).toEqual(expected(100_000, 120_000));
    expect(await readTimeIndex(recorded())).toBeUndefined();
    const recording = await openRecording(path, { index: 'make' });
    expect(await slice(recording, 100_000, 120_000)).toEqual(expected(100_000, 120_000));
    expect(await readTimeIndex(recorded())).toBeInstanceOf(TimeIndex);
    const again = await openRecording(path);
    expect(again).toMatchObject({ sensor: recording.sensor, sensorFrom: 'inferred' });
    for (const [fromUs, toUs] of [
      [0, 1],
      [799_000, 900_000],
      [-Infinity, 300],
      [790_000, Infinity],
      [5, 5],
      [9, 3],
      [1e9, 2e9],
    ]) {
      expect(await slice(again, fromUs, toUs)).toEqual(expected(fromUs, toUs));
    }
    expect(await slice(again, -Infinity, Infinity)).toEqual(rows);
  });

  it('is taken after a copy, but not for other content', async () => {
    await slice(await openRecording(path, { index: 'make' }), 0, 1);
    await utimes(path, 1, 1);
    expect(await readTimeIndex(recorded())).toBeInstanceOf(TimeIndex);
    expect(await readTimeIndex(recorded())).toBeInstanceOf(TimeIndex); // with the new time
    const bytes = await readFile(path);
    const middle = bytes.indexOf('\n', 300_123) - 1;
    bytes[middle] ^= 1; // the polarity of an event between the samples
    await writeFile(path, bytes);
    expect(await readTimeIndex(recorded())).toBeUndefined();
    await writeFile(path, bytes.subarray(0, bytes.length - 20));
    expect(await readTimeIndex(recorded())).toBeUndefined();
  });

  it('is passed over where it is damaged, or of another format, layout or sensor', async () => {
    await slice(await openRecording(path, { index: 'make' }), 0, 1);
    expect(await readTimeIndex({ path, format: 'evt2' })).toBeUndefined();
    const layout = { columns: { t: 'ts' } };
    expect(await readTimeIndex({ ...recorded(), layout })).toBeUndefined();
    const small = { width: 8, height: 8 };
    const recording = await openRecording(path, { sensor: small });
    const inside = expected(0, 9_000).filter(([, x, y]) => x < 8 && y < 8);
    expect(await slice(recording, 0, 9_000)).toEqual(inside);
    const text = await readFile(`${path}.idx`, 'utf8');
    for (const damaged of [text.slice(0, -9), text.replace('[', '"["'), '{}', '']) {
      await writeFile(`${path}.idx`, damaged);
      expect(await readTimeIndex(recorded())).toBeUndefined();
    }
  });
});

it('slices read their own part of the bytes only', async () => {
  const bytes = await encodeRows(evt3, sensor, rows);
  let read = 0;
  const counted = (source: ByteSource): ByteSource => ({
    async *[Symbol.asyncIterator]() {
      for await (const chunk of source) {
        read += chunk.length;
        yield chunk;
      }
    },
    from: (offset) => counted(source.from!(offset)),
  });
  const decode: Decode = (options) =>
    evt3.decode(counted(sourceOf(bytes, 100)), { ...options, file: 'read' });
  const index = (await makeTimeIndex(decode, sensor, { blockLength: 500 }))!;
  expect(read).toBe(bytes.length);
  expect(index.blocks.length).toBe(80);
  for (const fromUs of [0, 300_000, 795_000]) {
    read = 0;
    const report = createReport();
    await collect(index.read(decode, fromUs, fromUs + 4_000, { sensor, report }));
    expect(read).toBeGreaterThan(0);
    expect(read).toBeLessThan(bytes.length / 20);
  }
});

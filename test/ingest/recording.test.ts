import { chmod, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ByteBuffer } from 'flatbuffers';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createRandom } from '../../engine/support/random.js';
import { concatBatches } from '../../ingest/eventBatch.js';
import { csv } from '../../ingest/formats/csv.js';
import { eventStream } from '../../ingest/formats/eventStream.js';
import { formatByName, formats } from '../../ingest/formats/index.js';
import {
  decodeStream,
  openRecording,
  type ReadOptions,
  type Recording,
  summarise,
  writeRecording,
} from '../../ingest/recording.js';
import {
  batchOf,
  chunksOf,
  collect,
  encodeRows,
  type EventRow,
  rowsOf,
  streamOf,
} from './streams.js';

const sensor = { width: 30, height: 20 };
const rows: EventRow[] = [
  [10, 1, 2, 1],
  [20, 29, 19, 0],
  [15, 3, 4, 1],
  [30, 5, 6, 0],
];

let folder = '';
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'saccade-test-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

const write = (name: string, list = rows, format?: string): Promise<unknown> =>
  writeRecording(join(folder, name), streamOf([batchOf(sensor, list)]), { sensor, format });

async function readRows(recording: Recording, options?: ReadOptions): Promise<EventRow[]> {
  return rowsOf(concatBatches(await collect(recording.batches(options)), sensor));
}

describe('openRecording', () => {
  const sorted = [...rows].sort((a, b) => a[0] - b[0]);

  it.each(formats)('opens what was written as $name, whatever it is called', async ({ name }) => {
    const result = await write('file.odd', sorted, name);
    const bytes = (await readFile(join(folder, 'file.odd'))).length;
    expect(result).toEqual({ events: 4, bytes });
    const recording = await openRecording(join(folder, 'file.odd'));
    expect(recording.format.name).toBe(name);
    expect(await readRows(recording)).toEqual(sorted);
    expect(await readRows(recording)).toEqual(sorted); // and once more
  });

  it('takes the sensor size from the file, else from the caller, else from the events', async () => {
    await write('a.raw');
    await write('b.csv');
    await writeFile(join(folder, 'c.csv'), 't,x,y,p\n1,1500,10,1\n');
    const open = async (name: string, given?: typeof sensor): Promise<unknown> => {
      const recording = await openRecording(join(folder, name), { sensor: given });
      const [batch] = await collect(recording.batches());
      expect(batch.sensor).toEqual(recording.sensor);
      return [recording.sensorFrom, recording.sensor.width, recording.sensor.height];
    };
    expect(await open('a.raw', { width: 99, height: 99 })).toEqual(['file', 30, 20]);
    expect(await open('b.csv', { width: 99, height: 99 })).toEqual(['option', 99, 99]);
    expect(await open('b.csv')).toEqual(['inferred', 128, 128]);
    expect(await open('c.csv')).toEqual(['inferred', 1501, 11]);
  });

  it('reads a part of the time, also where times go back', async () => {
    await write('a.csv');
    const recording = await openRecording(join(folder, 'a.csv'), { sensor });
    expect(await readRows(recording, { fromUs: 15 })).toEqual(rows.slice(1));
    expect(await readRows(recording, { toUs: 20 })).toEqual([rows[0], rows[2]]);
    expect(await readRows(recording, { fromUs: 15, toUs: 30, batchLength: 1 })).toEqual(
      rows.slice(1, 3),
    );
    expect(await readRows(recording, { fromUs: 31 })).toEqual([]);
  });

  it('reports what the last read could not use', async () => {
    await writeFile(join(folder, 'a.csv'), 't,x,y,p\n1,1,1,1\n2,2,2\n3,200,1,1\n');
    const recording = await openRecording(join(folder, 'a.csv'), { sensor });
    await readRows(recording);
    await readRows(recording);
    expect(recording.report).toMatchObject({
      damages: [{ offset: 16 }],
      damageCount: 1,
      skipped: { outsideSensor: 1 },
    });
  });

  it('says what is wrong with a path', async () => {
    await writeFile(join(folder, 'empty.raw'), '');
    await writeFile(join(folder, 'text.raw'), 'nothing of events');
    const open = (name: string, format?: string): Promise<Recording> =>
      openRecording(join(folder, name), { format });
    await expect(open('none.raw')).rejects.toThrow(/none\.raw: cannot read: there is no such file/);
    await expect(open('none.raw')).rejects.toMatchObject({ kind: 'input' });
    await expect(open('.')).rejects.toThrow(/this is a folder/);
    await expect(open('empty.raw')).rejects.toThrow(
      /empty\.raw: the file is empty; known formats are aedat1/,
    );
    await expect(open('empty.raw', 'evt2')).rejects.toThrow(/empty\.raw: the file is empty/);
    await expect(open('text.raw')).rejects.toThrow(/text\.raw: not an event recording.*evt2/);
    await expect(open('text.raw', 'nope')).rejects.toMatchObject({ kind: 'usage' });
    const wrong = await open('text.raw', 'evt2').catch((error: unknown) => error);
    expect(wrong).toMatchObject({ kind: 'input', place: { offset: 0 } });
  });

  it.skipIf(process.getuid?.() === 0)('says that a file is not readable', async () => {
    await write('a.csv');
    await chmod(join(folder, 'a.csv'), 0);
    await expect(openRecording(join(folder, 'a.csv'))).rejects.toThrow(/permission denied/);
  });

  it('stops when asked to', async () => {
    await write('a.csv');
    const recording = await openRecording(join(folder, 'a.csv'), { sensor });
    const read = readRows(recording, { signal: AbortSignal.abort() });
    await expect(read).rejects.toMatchObject({ kind: 'interrupted' });
  });
});

describe('summarise', () => {
  it('counts events, polarities and backward steps', async () => {
    await write('a.raw');
    expect(await summarise(await openRecording(join(folder, 'a.raw')))).toEqual({
      format: 'evt2',
      width: 30,
      height: 20,
      events: 4,
      tFirstUs: 10,
      tLastUs: 30,
      onEvents: 2,
      offEvents: 2,
      backwardSteps: 1,
    });
  });

  it('has no times where there is no event', async () => {
    await write('a.raw', []);
    const summary = await summarise(await openRecording(join(folder, 'a.raw')));
    expect(summary).toMatchObject({ events: 0, tFirstUs: null, tLastUs: null, onEvents: 0 });
  });
});

describe('writeRecording', () => {
  it('states the table of packets at the front of AEDAT 4.0 files, and compresses them', async () => {
    const path = join(folder, 'out.aedat4');
    const lengths: number[] = [];
    for (const compression of ['none', 'lz4', 'zstd'] as const) {
      const many = Array.from({ length: 20_000 }, (_, i): EventRow => [i, i % 30, i % 20, i & 1]);
      const batches = streamOf([batchOf(sensor, many)]);
      const { bytes } = await writeRecording(path, batches, { sensor, compression });
      const content = await readFile(path);
      expect(content.length).toBe(bytes);
      lengths.push(bytes);
      // Behind the line, the header states how long it is, and where the table begins.
      const header = new ByteBuffer(content);
      const root = 18 + content.readInt32LE(18);
      const table = Number(content.readBigInt64LE(root + header.__offset(root, 6)));
      expect(table).toBeGreaterThan(18);
      expect(table).toBeLessThan(bytes);
      const recording = await openRecording(path);
      expect(await readRows(recording)).toEqual(many);
      expect(recording.report.damages).toEqual([]);
    }
    expect(lengths[1]).toBeLessThan(lengths[0]);
    expect(lengths[2]).toBeLessThan(lengths[0]);
  });

  it('writes ROS bags with either message', async () => {
    for (const rosMessage of ['EventArray', 'EventPacket'] as const) {
      const path = join(folder, 'out.bag');
      await writeRecording(path, streamOf([batchOf(sensor, rows)]), { sensor, rosMessage });
      expect((await readFile(path)).includes(`/${rosMessage}`)).toBe(true);
      expect(await readRows(await openRecording(path))).toEqual(rows);
    }
  });

  it('leaves nothing behind where an event does not fit, and keeps the old file', async () => {
    await writeFile(join(folder, 'a.es'), 'old');
    await expect(write('a.es')).rejects.toThrow(/a\.es: cannot write event 2 .*cannot go back/);
    expect(await readdir(folder)).toEqual(['a.es']);
    expect(await readFile(join(folder, 'a.es'), 'utf8')).toBe('old');
  });

  it('needs a known extension or format, and a place to write', async () => {
    await expect(write('a.mp4')).rejects.toMatchObject({ kind: 'usage' });
    await writeFile(join(folder, 'plain'), '');
    await expect(write('plain/a.csv')).rejects.toMatchObject({ kind: 'environment' });
  });
});

describe('decodeStream', () => {
  it('tells the format and the size of a stream, and reads it once', async () => {
    const random = createRandom(3, 'stream');
    const list = Array.from({ length: 50_000 }, (_, i): EventRow => [
      10 * i,
      random.integer(30),
      random.integer(20),
      i & 1,
    ]);
    const bytes = await encodeRows(eventStream, sensor, list);
    const pieces = Array.from({ length: Math.ceil(bytes.length / 1000) }, (_, i) =>
      bytes.slice(1000 * i, 1000 * (i + 1)),
    );
    const recording = await decodeStream(streamOf(pieces), { file: 'standard input' });
    expect(recording).toMatchObject({ sensor, sensorFrom: 'file', format: { name: 'es' } });
    expect(await readRows(recording)).toEqual(list);
    await expect(readRows(recording)).rejects.toThrow(/only once/);
  });

  it('needs the size where the stream does not state it', async () => {
    const bytes = await encodeRows(csv, sensor, rows);
    const options = { file: 'standard input', format: 'csv' };
    await expect(decodeStream(streamOf([bytes]), options)).rejects.toMatchObject({
      kind: 'input',
      place: { field: 'sensor' },
    });
    const recording = await decodeStream(streamOf([bytes]), { ...options, sensor });
    expect(recording.sensorFrom).toBe('option');
    expect(await readRows(recording)).toEqual(rows);
  });

  it.each(['bag', 'mcap', 'db3', 'hdf5', 'npy', 'npz', 'mat'])(
    'of a container (%s) learns the size from its events',
    async (name) => {
      const list = Array.from({ length: 30_000 }, (_, i): EventRow => [i, i % 340, i % 250, i & 1]);
      const davis = { width: 346, height: 260 };
      const bytes = await encodeRows(formatByName(name), davis, list, 5_000);
      const before = await temporaryFiles();
      const options = { file: 'standard input' };
      const recording = await decodeStream(streamOf(chunksOf(bytes, [10_001])), options);
      const sensorFrom = ['npy', 'npz', 'mat'].includes(name) ? 'inferred' : 'file';
      expect(recording).toMatchObject({ sensor: davis, sensorFrom, path: 'standard input' });
      expect(await readRows(recording)).toEqual(list);
      await expect(readRows(recording)).rejects.toThrow(/only once/);
      expect(await temporaryFiles()).toEqual(before);
      // A part of it, of which nothing behind is read.
      const again = await decodeStream(streamOf(chunksOf(bytes, [10_001])), options);
      for await (const batch of again.batches({ batchLength: 10 })) {
        expect(rowsOf(batch)).toEqual(list.slice(0, 10));
        break;
      }
      expect(await temporaryFiles()).toEqual(before);
    },
  );

  it('of a container that is none, names the stream', async () => {
    const options = { file: 'standard input', format: 'hdf5' };
    await expect(decodeStream(streamOf([Uint8Array.of(1, 2)]), options)).rejects.toMatchObject({
      kind: 'input',
      place: { file: 'standard input' },
    });
  });
});

async function temporaryFiles(): Promise<string[]> {
  const names = await readdir(tmpdir());
  return names.filter((name) => name.startsWith(`saccade-${process.pid}-`));
}

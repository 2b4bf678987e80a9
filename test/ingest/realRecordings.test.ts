import { existsSync, readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { concatBatches, type EventBatch } from '../../ingest/eventBatch.js';
import { openRecording, summarise } from '../../ingest/recording.js';

const dataFolder = process.env.SACCADE_TEST_DATA ?? '';
const manifestPath = join(dataFolder, 'manifest.csv');
const available = dataFolder !== '' && existsSync(manifestPath);

/** Format names of the manifest (their beginnings) and ours. */
const formatNames: readonly (readonly [RegExp, string])[] = [
  [/^AEDAT2\.0/, 'aedat2'],
  [/^EVT2\.0/, 'evt2'],
  [/^Event Stream/, 'es'],
  [/^(SLAYER bs2|N-MNIST|N-Caltech101)/, 'nmnist'],
  [/^NPY/, 'npy'],
  [/^TXT/, 'csv'],
  [/^rosbag1/, 'bag'],
  [/^rosbag2/, 'db3'],
  [/^MCAP/, 'mcap'],
];

interface Row {
  readonly path: string;
  readonly format: string;
  readonly fields: Readonly<Record<string, string>>;
}

/** The rows of the manifest; `format` is our name, or empty for formats that are not ours. */
function manifestRows(): Row[] {
  const [header, ...lines] = readFileSync(manifestPath, 'utf8').trim().split('\n');
  const names = header.split(',');
  const rows = lines.map((line) => {
    const cells = [...line.matchAll(/("(?:[^"]|"")*"|[^,]*)(?:,|$)/g)].map((cell) =>
      cell[1].replace(/^"|"$/g, ''),
    );
    return Object.fromEntries(names.map((name, i) => [name, cells[i].trim()]));
  });
  return rows.map((fields) => {
    const format = formatNames.find(([pattern]) => pattern.test(fields.format))?.[1] ?? '';
    return { path: fields.path, format, fields };
  });
}

/** All rows but for the many small N-MNIST ones, of which every tenth is enough. */
function sampledRows(): Row[] {
  let nmnist = 0;
  return manifestRows().filter((row) => !row.path.startsWith('nmnist/') || nmnist++ % 10 === 0);
}

describe.skipIf(!available)('real recordings (needs SACCADE_TEST_DATA)', () => {
  const all = available ? sampledRows() : [];
  const rows = all.filter((row) => row.format !== '');

  it('cover every format', () => {
    expect(new Set(rows.map((row) => row.format))).toEqual(
      new Set(formatNames.map(([, name]) => name)),
    );
  });

  it.each(rows)('$path decodes to what the manifest lists', async ({ path, format, fields }) => {
    const recording = await openRecording(join(dataFolder, path));
    const summary = await summarise(recording);
    const onFraction = summary.onEvents / summary.events;
    expect({ ...summary, onFraction: onFraction.toFixed(4) }).toMatchObject({
      format,
      events: Number(fields.events),
      tFirstUs: Number(fields.t_first_us),
      tLastUs: Number(fields.t_last_us),
      backwardSteps: Number(fields.backward_steps),
      onFraction: Number(fields.on_fraction).toFixed(4),
      width: Number(fields.width),
      height: Number(fields.height),
    });
    expect(recording.report.damages).toEqual([]);
    expect(recording.report.skipped.outsideSensor).toBeUndefined();
  });

  it('of other formats are refused, not misread', async () => {
    const others = all.filter((row) => row.format === '');
    expect(others.length).toBeGreaterThan(10);
    for (const { path } of others) {
      await expect(openRecording(join(dataFolder, path)), path).rejects.toThrow(/known formats/);
    }
  });

  it('pips: AEDAT files equal their headerless DAT twins, whose times start at zero', async () => {
    const paths = rows.map((row) => row.path).filter((path) => path.startsWith('pips/aedat/'));
    let twins = 0;
    for (const path of paths) {
      const twin = join(
        dataFolder,
        path.replace('pips/aedat/', 'pips/dat/').replace('.aedat', '_td.dat'),
      );
      if (!existsSync(twin)) continue;
      twins++;
      const batches: EventBatch[] = [];
      for await (const batch of (await openRecording(join(dataFolder, path))).batches()) {
        batches.push(batch);
      }
      const { tUs, x, y, polarity } = concatBatches(batches);
      const expected = decodeHeaderlessDat(await readFile(twin));
      expect(Array.from(tUs, (t) => t - tUs[0])).toEqual(expected.tUs);
      expect([...x]).toEqual(expected.x);
      expect([...y]).toEqual(expected.y);
      expect([...polarity]).toEqual(expected.polarity);
    }
    expect(twins).toBeGreaterThan(50);
  });
});

/** ATIS DAT version 1: little-endian words t and (x bits 0-8, y bits 9-16, polarity bit 17). */
function decodeHeaderlessDat(bytes: Buffer): Record<'tUs' | 'x' | 'y' | 'polarity', number[]> {
  const indices = Array.from({ length: Math.floor(bytes.length / 8) }, (_, i) => 8 * i);
  const words = indices.map((i) => bytes.readUInt32LE(i + 4));
  return {
    tUs: indices.map((i) => bytes.readUInt32LE(i)),
    x: words.map((word) => word & 0x1ff),
    y: words.map((word) => (word >>> 9) & 0xff),
    polarity: words.map((word) => (word >>> 17) & 1),
  };
}

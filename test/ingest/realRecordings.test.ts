import { existsSync, readFileSync } from 'node:fs';
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
  [/^AEDAT4/, 'aedat4'],
  [/^EVT2\.0/, 'evt2'],
  [/^EVT3\.0/, 'evt3'],
  [/DAT v[12]/, 'dat'],
  [/^Event Stream/, 'es'],
  [/^(SLAYER bs2|N-MNIST|N-Caltech101)/, 'nmnist'],
  [/^NPY/, 'npy'],
  [/^TXT/, 'csv'],
  [/^rosbag1/, 'bag'],
  [/^rosbag2/, 'db3'],
  [/^MCAP/, 'mcap'],
  [/^MAT v5/, 'mat'],
  [/^HDF5/, 'hdf5'],
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
    // Some files hold several things, of which the manifest names one.
    const variable = /\bvar (\w+)/.exec(fields.format)?.[1];
    const recording = await openRecording(join(dataFolder, path), { layout: { path: variable } });
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
      const events = await readAll(join(dataFolder, path));
      const expected = await readAll(twin);
      const firstUs = events.tUs[0];
      expect(events.tUs.map((tUs) => tUs - firstUs)).toEqual(expected.tUs);
      expect(events.x).toEqual(expected.x);
      expect(events.y).toEqual(expected.y);
      expect(events.polarity).toEqual(expected.polarity);
    }
    expect(twins).toBeGreaterThan(50);
  });
});

async function readAll(path: string): Promise<EventBatch> {
  const batches: EventBatch[] = [];
  for await (const batch of (await openRecording(path)).batches()) batches.push(batch);
  return concatBatches(batches);
}

import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';

import { beforeAll, describe, expect, it } from 'vitest';
import { ZipFile } from 'yazl';

import { Workplace } from './cliProcess.js';

const manifest = resolve('package.json');
const place = new Workplace();

interface Event {
  readonly t: number;
  readonly x: number;
  readonly y: number;
  readonly p: 0 | 1;
}

const [width, height] = [12, 9];
const sensor = `${width}x${height}`;

/** Seeded by its own arithmetic: nothing here shares code with what is tested. */
const events: Event[] = Array.from({ length: 500 }, (_, i) => {
  const hash = (i * 2654435761) % 4294967296;
  return {
    t: 1000 + 37 * i + (hash % 30),
    x: hash % width,
    y: (hash >>> 8) % height,
    p: ((hash >>> 16) & 1) as 0 | 1,
  };
});

const asCsv = (list: readonly Event[]): string =>
  `t,x,y,p\n${list.map(({ t, x, y, p }) => `${t},${x},${y},${p}\n`).join('')}`;

const fromCsv = (text: string): Event[] =>
  text
    .trimEnd()
    .split('\n')
    .slice(1)
    .map((line) => {
      const [t, x, y, p] = line.split(',').map(Number);
      return { t, x, y, p: p as 0 | 1 };
    });

beforeAll(async () => {
  await writeFile(place.path('events.csv'), asCsv(events));
  await writeFile(place.path('notes.txt'), 'These are no events.\nNot at all.\n');
  await writeFile(place.path('empty.es'), '');
});

describe('saccade', () => {
  const commands = [
    'info',
    'view',
    'convert',
    'represent',
    'fit-hots',
    'simulate',
    'dataset list',
    'dataset check',
    'dataset prepare',
    'cache list',
    'cache clear',
    'cache limit',
    'cache sheet',
    'train',
    'eval',
    'compare',
    'infer',
    'stream',
    'bench denoise',
    'bench models',
    'bench recall',
    'demo',
    'doctor',
  ];

  it('prints its version, its help and its exit codes', async () => {
    const { version } = JSON.parse(await readFile(manifest, 'utf8')) as { version: string };
    expect(await place.print('--version')).toBe(`${version}\n`);
    const help = await place.print('--help');
    for (const name of commands) expect(help).toContain(`\n  ${name.split(' ')[0]} `);
    expect(help).toMatch(/Exit codes:\n {2}0 {4}done/);
  });

  it.each(commands)('%s --help has examples that begin with the command', async (name) => {
    const help = await place.print(...name.split(' '), '--help');
    expect(help).toMatch(/^Usage: saccade /);
    expect(help).toContain(`Examples:\n  $ `);
    expect(help).toContain(`saccade ${name} `.trimEnd());
  });

  it('says what is wrong with a command line', async () => {
    await place.fails('usage', ['inof'], [/unknown command 'inof'/, /Did you mean info\?/]);
    await place.fails('usage', ['info'], [/missing required argument 'file'/]);
    await place.fails('usage', ['info', 'events.csv', '--jsom'], [/--jsom/, /--json/]);
    const { exitCode, stdout, stderr } = await place.run([]);
    expect([exitCode, stdout]).toEqual([2, '']);
    expect(stderr).toMatch(/^Usage: saccade/);
  });

  it('says it in JSON where JSON is asked for', async () => {
    const { exitCode, stdout, stderr } = await place.run(['info', 'gone.es', '--json']);
    expect([exitCode, stdout]).toEqual([3, '']);
    expect(JSON.parse(stderr)).toEqual({
      error: { kind: 'input', file: 'gone.es', message: expect.stringContaining('gone.es') },
    });
  });
});

describe('saccade info', () => {
  it('says what a recording holds', async () => {
    const onEvents = events.filter(({ p }) => p === 1).length;
    const summary = await place.json('info', 'events.csv', '--sensor', sensor);
    expect(summary).toMatchObject({
      format: 'csv',
      width,
      height,
      events: events.length,
      tFirstUs: events[0].t,
      tLastUs: events[events.length - 1].t,
      onEvents,
      offEvents: events.length - onEvents,
      backwardSteps: 0,
    });
    const text = await place.print('info', 'events.csv', '--sensor', sensor);
    expect(text).toMatch(/sensor +12x9 \(as given\)/);
    expect(text).toMatch(/events +500\n/);
  });

  it('counts backward steps, and reads standard input', async () => {
    const swapped = [events[1], events[0], events[3], events[2], events[4]];
    const { exitCode, stdout } = await place.run(['info', '-', '--sensor', sensor, '--json'], {
      input: asCsv(swapped),
    });
    expect(exitCode).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      events: 5,
      backwardSteps: 2,
      tFirstUs: events[1].t,
      tLastUs: events[4].t,
    });
  });

  it('reads what is readable of a damaged recording, and says where the damage is', async () => {
    const lines = asCsv(events).split('\n');
    lines[10] = 'broken';
    await writeFile(place.path('damaged.csv'), lines.join('\n'));
    const { exitCode, stdout, stderr } = await place.run(['info', 'damaged.csv', '--json']);
    expect(exitCode).toBe(0);
    const offset = lines.slice(0, 10).join('\n').length + 1;
    expect(JSON.parse(stdout)).toMatchObject({
      events: events.length - 1,
      damageCount: 1,
      damages: [{ offset, message: expect.stringContaining('expected') }],
    });
    expect(stderr).toMatch(`byte ${offset}`);
  });

  it.each([
    ['a missing file', 'gone.es', [/gone\.es/, /no such file/]],
    ['a folder', '.', [/folder/]],
    ['an empty file', 'empty.es', [/empty\.es/, /empty/]],
    ['a text', 'notes.txt', [/notes\.txt/, /known formats are .*evt2/]],
  ])('refuses %s', async (_, file, expected) => {
    await place.fails('input', ['info', file], expected);
  });

  it('refuses wrong options', async () => {
    await place.fails('usage', ['info', 'events.csv', '--format', 'mp4'], [/--format/, /aedat2/]);
    await place.fails('usage', ['info', 'events.csv', '--sensor', '12'], [/--sensor/, /346x260/]);
  });
});

describe('the rate that info shows', () => {
  it('counts every event, and is drawn without colour where there is no terminal', async () => {
    const { rate } = (await place.json('info', 'events.csv', '--sensor', sensor)) as {
      rate: { fromUs: number; intervalUs: number; counts: number[] };
    };
    expect(rate.counts.reduce((a, b) => a + b)).toBe(events.length);
    const { fromUs, intervalUs } = rate;
    expect(rate.counts[3]).toBe(
      events.filter(({ t }) => Math.floor((t - fromUs) / intervalUs) === 3).length,
    );
    const { stdout } = await place.run(['info', 'events.csv', '--sensor', sensor], {
      env: { COLUMNS: '50' },
    });
    expect(stdout).toMatch(/k\/s┤.*[▁▂▃▄▅▆▇█]/);
    expect(stdout).not.toContain('\u001b');
    const plot = stdout
      .slice(stdout.indexOf('\n\n') + 2)
      .trimEnd()
      .split('\n');
    for (const line of plot) expect(line.length).toBeLessThanOrEqual(50);
  });
});

describe('saccade convert', () => {
  it('keeps every event from format to format', async () => {
    // Each format on the way holds these events.
    for (const [from, to] of [
      ['events.csv', 'a.npy'],
      ['a.npy', 'b.raw'],
      ['b.raw', 'c.aedat'],
      ['c.aedat', 'd.es'],
      ['d.es', 'back.csv'],
    ]) {
      const given = from === 'events.csv' || from === 'a.npy' ? ['--sensor', '128x128'] : [];
      expect(await place.json('convert', from, to, ...given)).toMatchObject({
        from,
        to,
        events: { read: events.length, filtered: 0, written: events.length },
        bytes: (await stat(place.path(to))).size,
        damageCount: 0,
      });
    }
    expect(fromCsv(await readFile(place.path('back.csv'), 'utf8'))).toEqual(events);
  });

  it('cuts from (included) and to (not included), and filters in order', async () => {
    const [fromUs, toUs] = [events[100].t, events[400].t];
    const cut = events.slice(100, 400);
    await place.print('convert', 'events.csv', 'cut.csv', '--from', `${fromUs}`, '--to', `${toUs}`);
    expect(fromCsv(await readFile(place.path('cut.csv'), 'utf8'))).toEqual(cut);

    const on = cut.filter(({ p }) => p === 1);
    const lastUs = new Map<number, number>();
    const kept = on.filter(({ t, x, y }) => {
      const pixel = y * width + x;
      if (t - (lastUs.get(pixel) ?? -Infinity) < 6000) return false;
      lastUs.set(pixel, t);
      return true;
    });
    expect(kept.length).toBeGreaterThan(10);
    expect(kept.length).toBeLessThan(on.length);
    const document = await place.json(
      ...['convert', 'events.csv', 'filtered.csv', '--from', `${fromUs}`, '--to', `${toUs}`],
      ...['--filter', 'polarity:1', '--filter', 'refractory:periodUs=6000'],
    );
    expect(document).toMatchObject({
      events: { read: cut.length, filtered: cut.length - kept.length, written: kept.length },
    });
    expect(fromCsv(await readFile(place.path('filtered.csv'), 'utf8'))).toEqual(kept);
  });

  it('writes other layouts of a format', async () => {
    const from = ['convert', 'events.csv', '--sensor', sensor];
    for (const [to, variant] of [
      ['one.dat', '1'],
      ['prophesee.h5', 'ecf'],
      ['matlab.mat', '7.3'],
    ]) {
      await place.print(...from, to, '--variant', variant);
      await place.print('convert', to, 'again.csv', '--sensor', sensor);
      expect(fromCsv(await readFile(place.path('again.csv'), 'utf8'))).toEqual(events);
    }
    expect(await readFile(place.path('one.dat'), 'latin1')).toMatch(/% Version 1\n/);
    await place.fails('usage', [...from, 'x.dat', '--variant', '3'], [/dat has only 1/]);
    await place.fails('usage', [...from, 'x.csv', '--variant', '1'], [/csv has no variants/]);
    const live = 'tcp://127.0.0.1:9?format=es';
    await place.fails('usage', [...from, live, '--variant', 'atis'], [/--variant/, /files/]);
  });

  it('works in a pipe, with the results on standard error', async () => {
    const { exitCode, stdout, stderr } = await place.run(
      ['convert', '-', '-', '--sensor', sensor, '--to', `${events[7].t}`, '--json'],
      { input: asCsv(events) },
    );
    expect(exitCode).toBe(0);
    expect(fromCsv(stdout)).toEqual(events.slice(0, 7));
    expect(JSON.parse(stderr)).toMatchObject({ from: '-', to: '-', events: { written: 7 } });
  });

  it('refuses what cannot be read or written, and leaves nothing behind', async () => {
    await writeFile(place.path('late.csv'), asCsv([events[5], events[4]]));
    const before = await readdir(place.folder);
    await place.fails('input', ['convert', 'gone.csv', 'x.es'], [/gone\.csv/, /no such file/]);
    await place.fails('input', ['convert', 'notes.txt', 'x.es'], [/notes\.txt/, /known formats/]);
    await place.fails('usage', ['convert', 'events.csv', 'x.mp4'], [/x\.mp4/, /\.aedat/]);
    await place.fails('usage', ['convert', 'events.csv', 'events.csv'], [/the input itself/]);
    // An event that the format cannot hold: times of Event Stream never go back.
    await place.fails('input', ['convert', 'late.csv', 'x.es'], [/x\.es/, /event 1/, /go back/]);
    expect(await readdir(place.folder)).toEqual(before);
  });

  it('keeps times that go back, or sorts them, or refuses them', async () => {
    const swapped = [events[1], events[0], events[3], events[2], events[4]];
    await writeFile(place.path('swapped.csv'), asCsv(swapped));
    const args = ['convert', 'swapped.csv', 'order.csv', '--sensor', sensor];
    const written = async (): Promise<Event[]> =>
      fromCsv(await readFile(place.path('order.csv'), 'utf8'));
    const kept = await place.run(args);
    expect(kept.exitCode, kept.stderr).toBe(0);
    expect(kept.stderr).toMatch(/time goes back 2 times; they were kept \(--sort and --strict/);
    expect(await written()).toEqual(swapped);
    const sorted = await place.run([...args, '--sort']);
    expect(sorted.stderr).toMatch(/time goes back 2 times; events were sorted/);
    expect(await written()).toEqual(events.slice(0, 5));
    await place.fails('input', [...args, '--strict'], [/swapped\.csv/, /event 1/]);
    await place.fails('usage', [...args, '--sort', '--strict'], [/--sort/, /--strict/]);
    // Nothing is refused where there is nothing to refuse.
    await place.print('convert', 'events.csv', 'order.csv', '--sensor', sensor, '--strict');
    expect(await written()).toEqual(events);
  });

  it('reads columns in the order and unit that are given', async () => {
    // Nothing tells which is which: x, polarity, another column, y, time in ms.
    const some = events.slice(0, 20).map((event) => ({ ...event, t: 1000 * event.t }));
    const rows = some.map(({ t, x, y, p }) => `${x} ${p} 9 ${y} ${t / 1000}`);
    await writeFile(place.path('odd.txt'), `${rows.join('\n')}\n`);
    const args = ['convert', 'odd.txt', 'plain.csv', '--sensor', sensor];
    await place.print(...args, '--column-order', 'x,p,-,y,t', '--time-unit', 'ms');
    expect(fromCsv(await readFile(place.path('plain.csv'), 'utf8'))).toEqual(some);
    await place.fails(
      'usage',
      [...args, '--column-order', 'x,y,t'],
      [/--column-order/, /once each/],
    );
    const npy = [...args, '--in-format', 'npy', '--column-order', 't,x,y,p'];
    await place.fails('usage', npy, [/--column-order/, /csv/]);
  });

  it('reads the events of the container that --events-at names', async () => {
    const few = events.slice(0, 20);
    const archive = new ZipFile();
    const fields = "[('t', '<i8'), ('x', '<u2'), ('y', '<u2'), ('p', '|u1')]";
    const written = { first: few.slice(0, 5), second: few.slice(5) };
    for (const [name, some] of Object.entries(written)) {
      const records = some.map((event) => {
        const record = Buffer.alloc(13);
        record.writeBigInt64LE(BigInt(event.t));
        record.writeUInt16LE(event.x, 8);
        record.writeUInt16LE(event.y, 10);
        record[12] = event.p;
        return record;
      });
      const text = `{'descr': ${fields}, 'fortran_order': False, 'shape': (${some.length},)}`;
      const magic = Buffer.from('\x93NUMPY\x01\x00\xf6\x00', 'latin1');
      const content = Buffer.concat([magic, Buffer.from(`${text.padEnd(245)}\n`), ...records]);
      archive.addBuffer(content, `${name}.npy`);
    }
    archive.end();
    const parts: Buffer[] = [];
    for await (const part of archive.outputStream) parts.push(part as Buffer);
    await writeFile(place.path('two.npz'), Buffer.concat(parts));
    const args = ['convert', 'two.npz', 'one.csv', '--sensor', sensor];
    for (const [name, some] of Object.entries(written)) {
      await place.print(...args, '--events-at', name);
      expect(fromCsv(await readFile(place.path('one.csv'), 'utf8'))).toEqual(some);
    }
    await place.fails('input', [...args, '--events-at', 'third'], [/"first", "second"/]);
  });

  it('makes an index beside the recording where asked to, and gives the same events with it', async () => {
    await place.print('convert', 'events.csv', 'indexed.raw', '--sensor', sensor);
    const slice = async (...more: string[]): Promise<Event[]> => {
      const range = ['--from', `${events[100].t}`, '--to', `${events[200].t}`];
      await place.print('convert', 'indexed.raw', 'slice.csv', ...range, ...more);
      return fromCsv(await readFile(place.path('slice.csv'), 'utf8'));
    };
    expect(await slice()).toEqual(events.slice(100, 200));
    expect(await readdir(place.folder)).not.toContain('indexed.raw.idx');
    expect(await slice('--index')).toEqual(events.slice(100, 200));
    expect(await readdir(place.folder)).toContain('indexed.raw.idx');
    expect(await slice()).toEqual(events.slice(100, 200));
    // An index of another recording is not used.
    await place.print('convert', 'events.csv', 'indexed.raw', '--sensor', sensor, '--to', '6000');
    const cut = events.filter(({ t }) => t < 6000 && t >= events[100].t);
    expect(await slice()).toEqual(cut);
  });

  it('refuses wrong options before anything is read', async () => {
    const refused = (option: string, value: string, ...expected: RegExp[]): Promise<void> =>
      place.fails('usage', ['convert', 'gone.csv', 'x.es', option, value], expected);
    await refused('--filter', 'blur:3', /blur/, /refractory:periodUs/);
    await refused('--filter', 'refractory:soon', /periodUs/, /expected a whole number/);
    await refused('--from', '1.5', /--from/, /µs/);
  });
});

/** Reads an NPY file of version 1 as NumPy describes it. */
async function readNpy(
  path: string,
): Promise<{ type: string; shape: number[]; values: Float32Array | Uint8Array }> {
  const bytes = await readFile(path);
  expect(bytes.toString('latin1', 0, 8)).toBe('\x93NUMPY\x01\x00');
  const end = 10 + bytes.readUInt16LE(8);
  expect(end % 64).toBe(0);
  const match = /^\{'descr': '(.*)', 'fortran_order': False, 'shape': \((.*)\), \} *\n$/.exec(
    bytes.toString('latin1', 10, end),
  )!;
  const shape = match[2]
    .split(',')
    .filter((part) => part.trim() !== '')
    .map(Number);
  const data = bytes.buffer.slice(bytes.byteOffset + end, bytes.byteOffset + bytes.length);
  const values = match[1] === '|u1' ? new Uint8Array(data) : new Float32Array(data);
  expect(values.length).toBe(shape.reduce((a, b) => a * b, 1));
  return { type: match[1], shape, values };
}

describe('saccade represent', () => {
  const bins = 5;
  const [tFirst, tLast] = [events[0].t, events[events.length - 1].t];

  /** Dictionary of cells, filled event by event; a different way to the same definition. */
  function cells(
    rows: number,
    columns: number,
    add: (event: Event, row: number, column: number) => readonly [key: string, value: number][],
  ): Map<string, number> {
    const sums = new Map<string, number>();
    for (const event of events) {
      const row = Math.floor((event.y / height) * rows);
      const column = Math.floor((event.x / width) * columns);
      for (const [key, value] of add(event, row, column)) {
        sums.set(key, (sums.get(key) ?? 0) + value);
      }
    }
    return sums;
  }

  function histogram(rows: number, columns: number): Map<string, number> {
    const edges = Array.from(
      { length: bins + 1 },
      (_, i) => tFirst + (i * (tLast - tFirst)) / bins,
    );
    return cells(rows, columns, ({ t, p }, row, column) => {
      const bin = t === tLast ? bins - 1 : edges.findIndex((edge) => t < edge) - 1;
      return [[[bin, p, row, column].join(), 1]];
    });
  }

  function voxels(rows: number, columns: number): Map<string, number> {
    return cells(rows, columns, ({ t, p }, row, column) => {
      const position = ((bins - 1) * (t - tFirst)) / (tLast - tFirst);
      return Array.from({ length: bins }, (_, bin) => {
        const share = Math.max(0, 1 - Math.abs(position - bin));
        return [[bin, row, column].join(), share * (p === 1 ? 1 : -1)] as const;
      });
    });
  }

  function expectCells(
    { shape, values }: { shape: number[]; values: Float32Array | Uint8Array },
    expected: Map<string, number>,
  ): void {
    values.forEach((value, flat) => {
      const index: number[] = [];
      for (let axis = shape.length - 1, rest = flat; axis >= 0; axis--) {
        index.unshift(rest % shape[axis]);
        rest = Math.floor(rest / shape[axis]);
      }
      expect(value, index.join()).toBeCloseTo(expected.get(index.join()) ?? 0, 4);
    });
  }

  it('counts the prototypes of a dictionary that was fitted', async () => {
    const args = ['events.csv', '--sensor', sensor, '--out', 'hots.json', '--prototypes', '3'];
    expect(await place.json('fit-hots', ...args)).toEqual({
      ...{ file: 'hots.json', recordings: 1, events: events.length, prototypes: 3 },
    });
    const { shape, values } = await represent('hotsFitted:dictionary=@hots.json');
    expect(shape).toEqual([bins, 3, height, width]);
    expect(Array.from(values).reduce((a, b) => a + b)).toBe(events.length);
    await writeFile(place.path('wrong.json'), '{"radius": 2}');
    const tail = ['--as', 'hotsFitted:dictionary=@wrong.json', '--bins', '1', '--sensor', sensor];
    await place.fails('config', ['represent', 'events.csv', 'x.npy', ...tail], [/--as/, /tauUs/]);
  });

  const represent = async (
    kind: string,
    ...more: string[]
  ): Promise<Awaited<ReturnType<typeof readNpy>>> => {
    const args = ['events.csv', 'out.npy', '--as', kind, '--bins', `${bins}`, '--sensor', sensor];
    const document = await place.json('represent', ...args, ...more);
    const tensor = await readNpy(place.path('out.npy'));
    expect(document).toMatchObject({ file: 'out.npy', as: kind, shape: tensor.shape });
    return tensor;
  };

  it('counts events: histogram, also scaled', async () => {
    const tensor = await represent('histogram');
    expect(tensor).toMatchObject({ type: '<f4', shape: [bins, 2, height, width] });
    expectCells(tensor, histogram(height, width));
    const scaled = await represent('histogram', '--size', '3x4');
    expect(scaled.shape).toEqual([bins, 2, 3, 4]);
    expectCells(scaled, histogram(3, 4));
    expect(Array.from(scaled.values).reduce((a, b) => a + b)).toBe(events.length);
  });

  it('marks where events are: spikes', async () => {
    const tensor = await represent('spikes', '--size', '3x4');
    expect(tensor).toMatchObject({ type: '|u1', shape: [bins, 2, 3, 4] });
    const counts = [...histogram(3, 4)];
    expect(counts.some(([, count]) => count > 1)).toBe(true);
    expectCells(tensor, new Map(counts.map(([key, count]) => [key, Math.min(1, count)])));
  });

  it('spreads polarities over time: voxel', async () => {
    const tensor = await represent('voxel');
    expect(tensor).toMatchObject({ type: '<f4', shape: [bins, height, width] });
    expectCells(tensor, voxels(height, width));
  });

  it('refuses files that are missing or no recording, and wrong options', async () => {
    const tail = ['--as', 'voxel', '--bins', '5'];
    await place.fails('input', ['represent', 'gone.es', 'x.npy', ...tail], [/gone\.es/]);
    await place.fails('input', ['represent', 'notes.txt', 'x.npy', ...tail], [/known formats/]);
    const file = ['represent', 'events.csv'];
    await place.fails('usage', [...file, 'x.bin', ...tail], [/x\.bin/, /\.npy/]);
    await place.fails(
      'usage',
      [...file, 'x.npy', '--as', 'picture', '--bins', '5'],
      [/--as/, /histogram/],
    );
    await place.fails(
      'usage',
      [...file, 'x.npy', '--as', 'voxel', '--bins', '0'],
      [/--bins/, /from 1/],
    );
    await place.fails('usage', [...file, 'x.npy', ...tail, '--size', '32'], [/--size/, /32x48/]);
  });
});

describe('saccade simulate', () => {
  const short = ['--duration', '60000', '--sensor', '32x32'];

  it('makes one recording, the same for the same options', async () => {
    const args = ['--gesture', 'arm_roll', '--seed', '3', ...short];
    const made = await place.json('simulate', 'roll.es', ...args);
    expect(made).toMatchObject({ synthetic: true, gesture: 'arm_roll', width: 32, height: 32 });
    const summary = await place.json('info', 'roll.es');
    expect(summary).toMatchObject({ format: 'es', width: 32, height: 32, events: made.events });
    expect(await place.print('simulate', 'again.es', ...args)).toMatch(/synthetic arm_roll/);
    const [one, two] = await Promise.all(
      ['roll.es', 'again.es'].map((name) => readFile(place.path(name))),
    );
    expect(two.equals(one)).toBe(true);
  });

  it('makes a set, and goes on where it was', async () => {
    const args = [
      'simulate',
      'set',
      '--gestures',
      'arm_roll,air_drums',
      '--subjects',
      '2',
      ...short,
    ];
    expect(await place.json(...args, '--repetitions', '1')).toMatchObject({
      synthetic: true,
      classes: ['arm_roll', 'air_drums'],
      recordings: 4,
      written: 4,
    });
    expect(await place.json(...args, '--repetitions', '1')).toMatchObject({ written: 0 });
    expect((await readdir(place.path('set'))).sort()).toEqual([
      'air_drums',
      'arm_roll',
      'dataset.json',
    ]);
  });

  it('makes events of a video, and says beside it that they are synthetic', async () => {
    const frame = (column: number): Buffer =>
      Buffer.from(Array.from({ length: 256 }, (_, i) => (i % 16 === column ? 220 : 40)));
    const video = Buffer.concat([
      Buffer.from('YUV4MPEG2 W16 H16 F100:1 Cmono\n'),
      ...[2, 5, 8, 11].flatMap((column) => [Buffer.from('FRAME\n'), frame(column)]),
    ]);
    await writeFile(place.path('moves.y4m'), video);
    const model = ['--mismatch', '0', '--shot-noise', '0', '--leak', '0', '--refractory', '0'];
    const made = await place.json('simulate', 'moves.es', '--from', 'moves.y4m', ...model);
    expect(made).toMatchObject({
      synthetic: true,
      frames: 4,
      width: 16,
      height: 16,
      durationUs: 40_000,
      noise: { onThreshold: 0.2, thresholdMismatch: 0, shotNoiseHz: 0 },
    });
    expect(made.events).toBeGreaterThan(0);
    expect(await place.json('info', 'moves.es')).toMatchObject({
      synthetic: true,
      events: made.events,
    });
    expect(await place.print('info', 'moves.es')).toMatch(/origin +synthetic \(moves\.es\.json/);
    const origin = JSON.parse(await readFile(place.path('moves.es.json'), 'utf8')) as unknown;
    expect(origin).toMatchObject({ synthetic: true, from: 'moves.y4m', seed: 0 });

    const piped = await place.run(
      ['simulate', 'piped.es', '--from', '-', ...model, '--on-threshold', '0.5', '--json'],
      { input: video },
    );
    expect(piped.exitCode, piped.stderr).toBe(0);
    const fewer = JSON.parse(piped.stdout) as { events: number };
    expect(fewer.events).toBeLessThan(made.events as number);
  });

  it('refuses videos that are none, and options that do not belong to them', async () => {
    const from = ['simulate', 'x.es', '--from'];
    await place.fails('input', [...from, 'gone.y4m'], [/gone\.y4m/, /no such file/]);
    await place.fails('input', [...from, '.'], [/0 pictures/]);
    await place.fails('usage', [...from, 'events.csv', '--gesture', 'arm_roll'], [/--gesture/]);
    await place.fails('usage', [...from, 'events.csv', '--leak', '-1'], [/--leak/, /from 0/]);
    await place.fails('usage', ['simulate', 'x.es', '--fps', '30'], [/--fps/, /--from/]);
    // Without ffmpeg on the path, other videos are told what they need.
    await place.fails('environment', [...from, 'events.csv'], [/ffmpeg/, /install it/], {
      env: { PATH: '' },
    });
  });

  it('refuses unknown gestures, and options of its other use', async () => {
    await place.fails('usage', ['simulate', 'x.es'], [/--gesture/, /arm_roll/]);
    await place.fails('usage', ['simulate', 'x.es', '--gesture', 'yawn'], [/yawn/, /arm_roll/]);
    await place.fails('usage', ['simulate', 'more', '--gestures', 'yawn'], [/yawn/, /arm_roll/]);
    await place.fails('usage', ['simulate', 'x.es', '--subjects', '3'], [/--subjects/, /sets/]);
    await place.fails('usage', ['simulate', 'more', '--duration', '1'], [/--duration/, /1000/]);
  });
});

describe('saccade doctor', () => {
  it('says what works', async () => {
    const diagnosis = await place.json('doctor');
    expect(diagnosis).toMatchObject({
      ok: true,
      node: process.versions.node,
      sharp: { live: true },
      cache: { live: true, folder: place.path('cache') },
    });
    const backends = diagnosis.backends as { name: string; live: boolean; fix?: string }[];
    expect(backends.map(({ name }) => name)).toEqual([
      'cuda',
      'native',
      'tensorflow',
      'wasm',
      'cpu',
    ]);
    for (const { live, fix } of backends) expect(live || fix !== undefined).toBe(true);
    expect(await place.print('doctor')).toMatch(/backend wasm +ok: WebAssembly/);
  });

  it('says what to do about a cache that cannot be written', async () => {
    const env = { SACCADE_CACHE: place.path('events.csv/cache') };
    const { exitCode, stdout } = await place.run(['doctor'], { env });
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/cache +\S*events\.csv\/cache NO: .*; name a folder .* SACCADE_CACHE/);
  });
});

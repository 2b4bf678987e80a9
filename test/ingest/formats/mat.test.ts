import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { deflateSync } from 'node:zlib';
import type { Dataset } from 'h5wasm/node';
import { describe, expect, it } from 'vitest';
import { hdf5 } from '../../../ingest/formats/hdf5.js';
import { mat } from '../../../ingest/formats/mat.js';
import { describeFormat, withVariant } from '../formatConformance.js';
import { decodeBytes, encodeRows, type EventRow } from '../streams.js';

const epochUs = 1_744_227_144_732_712;

describeFormat(mat, {
  sensor: { width: 1280, height: 720 },
  firstUs: [-epochUs, epochUs],
  stepUs: [-(2 ** 40), 2 ** 40],
  lowestUs: -epochUs,
  headerLength: 128,
  mayRefuse: true,
});

const mat73 = withVariant(mat, '7.3', hdf5);
describeFormat(
  mat73,
  {
    sensor: { width: 1280, height: 720 },
    firstUs: [-epochUs, epochUs],
    stepUs: [-(2 ** 40), 2 ** 40],
    lowestUs: -epochUs,
    headerLength: 520,
    mayRefuse: true,
    notesTime: true,
    share: 0.2,
  },
  'as version 7.3',
);

/** Builds MAT-files; big-endian ones, too. */
class MatBuilder {
  constructor(private readonly little = true) {}

  uint32(...values: number[]): Buffer {
    const bytes = Buffer.alloc(4 * values.length);
    values.forEach((value, i) =>
      this.little ? bytes.writeUInt32LE(value, 4 * i) : bytes.writeUInt32BE(value, 4 * i),
    );
    return bytes;
  }

  element(type: number, data: Buffer): Buffer {
    const padding = Buffer.alloc((8 - (data.length % 8)) % 8);
    return Buffer.concat([this.uint32(type, data.length), data, padding]);
  }

  doubles(values: readonly number[]): Buffer {
    const bytes = Buffer.alloc(8 * values.length);
    values.forEach((value, i) =>
      this.little ? bytes.writeDoubleLE(value, 8 * i) : bytes.writeDoubleBE(value, 8 * i),
    );
    return this.element(9, bytes);
  }

  matrix(name: string, arrayClass: number, shape: number[], ...content: Buffer[]): Buffer {
    const head = [
      this.element(6, this.uint32(arrayClass, 0)),
      this.element(5, this.uint32(...shape)),
      this.element(1, Buffer.from(name)),
    ];
    return this.element(14, Buffer.concat([...head, ...content]));
  }

  numbers(name: string, values: readonly number[], columns = 1): Buffer {
    const shape = [values.length / columns, columns];
    return this.matrix(name, 6, shape, this.doubles(values));
  }

  structure(name: string, fields: Record<string, readonly number[]>): Buffer {
    const names = Object.keys(fields).map((field) => Buffer.from(field.padEnd(8, '\0')));
    const content = Object.values(fields).map((values) => this.numbers('', values));
    return this.matrix(
      name,
      2,
      [1, 1],
      this.element(5, this.uint32(8)),
      this.element(1, Buffer.concat(names)),
      ...content,
    );
  }

  compressed(element: Buffer): Buffer {
    const data = deflateSync(element);
    return Buffer.concat([this.uint32(15, data.length), data]);
  }

  file(...elements: Buffer[]): Buffer {
    const header = Buffer.alloc(128, ' ');
    header.write('MATLAB 5.0 MAT-file, of a test');
    header.write(this.little ? '\x00\x01IM' : '\x01\x00MI', 124, 'latin1');
    return Buffer.concat([header, ...elements]);
  }
}

const rows: EventRow[] = Array.from({ length: 300 }, (_, i) => [
  1000 + 11 * i,
  (i * 7) % 240,
  (i * 5) % 180,
  i & 1,
]);
const [t, x, y, p] = [0, 1, 2, 3].map((column) => rows.map((row) => row[column]));

describe('mat', () => {
  it.each([true, false])('reads variables of the ASL-DVS names (little-endian: %s)', async (le) => {
    const build = new MatBuilder(le);
    const variables = [
      build.matrix('label', 4, [1, 1], build.element(4, Buffer.from('ab'))),
      build.compressed(build.numbers('ts', t)),
      build.numbers('x', x),
      build.compressed(build.numbers('y', y)),
      build.numbers('pol', p),
    ];
    const { rows: read, report } = await decodeBytes(mat, build.file(...variables));
    expect(read).toEqual(rows);
    expect(report.damageCount).toBe(0);
  });

  it('reads the fields of a structure, also in seconds', async () => {
    const build = new MatBuilder();
    const seconds = t.map((us) => us / 1e6);
    const signs = p.map((value) => 2 * value - 1);
    const structure = build.structure('TD', { x, y, p: signs, ts: seconds });
    const bytes = build.file(build.numbers('other', x), build.compressed(structure));
    expect((await decodeBytes(mat, bytes)).rows).toEqual(rows);
  });

  it.each([
    ['x y p t', [x, y, p, t]],
    ['t x y p', [t, x, y, p]],
    ['x y t p', [x, y, t, p]],
  ])('tells the columns of a matrix [%s]', async (_, columns) => {
    const build = new MatBuilder();
    const bytes = build.file(build.numbers('events', columns.flat(), 4));
    expect((await decodeBytes(mat, bytes)).rows).toEqual(rows);
  });

  it('writes version 7.3 as MATLAB has it', async () => {
    const { File, ready } = await import('h5wasm/node');
    await ready;
    const bytes = await encodeRows(mat73, { width: 240, height: 180 }, rows);
    const text = Buffer.from(bytes.slice(0, 128)).toString('latin1');
    expect(text).toMatch(/^MATLAB 7\.3 MAT-file/);
    expect([...bytes.slice(124, 128)]).toEqual([0, 2, 0x49, 0x4d]);
    // The place of the HDF5 file and its end, as the superblock has them.
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    expect(Number(view.getBigUint64(512 + 24, true))).toBe(512);
    expect(Number(view.getBigUint64(512 + 40, true))).toBe(bytes.length);
    const folder = await mkdtemp(join(tmpdir(), 'saccade-test-'));
    const path = join(folder, 'written.mat');
    await writeFile(path, bytes);
    const file = new File(path, 'r');
    const ts = file.get('ts') as Dataset;
    expect(ts.shape).toEqual([1, rows.length]);
    expect(ts.attrs.MATLAB_class.value).toBe('int64');
    expect(Array.from(ts.value as BigInt64Array, Number)).toEqual(t);
    expect((file.get('x') as Dataset).attrs.MATLAB_class.value).toBe('uint16');
    file.close();
    await rm(folder, { recursive: true });
  });

  it('says what is missing', async () => {
    const build = new MatBuilder();
    const some = build.file(build.numbers('x', x), build.numbers('y', y));
    await expect(decodeBytes(mat, some)).rejects.toThrow(/expected vectors t, x, y, p/);
    const odd = build.file(build.numbers('m', [x, x, x, x].flat(), 4));
    await expect(decodeBytes(mat, odd)).rejects.toThrow(/columns of "m"/);
  });

  it('reports a compressed variable that is damaged', async () => {
    const build = new MatBuilder();
    const damaged = build.compressed(build.numbers('events', [t, x, y, p].flat(), 4));
    damaged.fill(0xaa, damaged.length >> 1);
    const { report } = await decodeBytes(mat, build.file(damaged));
    expect(report.damages[0]).toMatchObject({ offset: 128 });
  });
});

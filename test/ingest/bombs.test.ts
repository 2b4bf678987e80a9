import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32, constants, deflateRawSync, deflateSync } from 'node:zlib';
import { dtype_to_metadata, File, ready } from 'h5wasm/node';
import lz4 from 'lz4js';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createReport } from '../../ingest/format.js';
import { formatByName } from '../../ingest/formats/index.js';
import { chunksOf, encodeRows, streamOf } from './streams.js';

/** What decoders may take, however much a small file says it holds. */
const maxGrowth = 400 * 2 ** 20;
/** Events to read of recordings that have very many. */
const enough = 3_000_000;

const zeros = new Uint8Array(2 ** 24);
const gibibyte = 64; // times the zeros above

/** A gibibyte of zeros, deflated to a megabyte: the same block over and over. */
function deflatedZeros(head: Uint8Array): Uint8Array {
  const block = deflateRawSync(zeros, { finishFlush: constants.Z_FULL_FLUSH });
  const first = deflateRawSync(head, { finishFlush: constants.Z_FULL_FLUSH });
  const last = deflateRawSync(new Uint8Array(0));
  return Buffer.concat([first, ...Array.from({ length: gibibyte }, () => block), last]);
}

/** Reads until the end or until there are enough, and says how much memory that took at most. */
async function readBomb(
  name: string,
  bytes: Uint8Array,
): Promise<{ events: number; growth: number; told: string }> {
  const report = createReport();
  const before = process.memoryUsage().rss;
  let most = before;
  const timer = setInterval(() => (most = Math.max(most, process.memoryUsage().rss)), 20);
  let events = 0;
  let told = '';
  try {
    const chunks = streamOf(chunksOf(bytes, [65_536]));
    for await (const batch of formatByName(name).decode(chunks, { file: 'bomb', report })) {
      events += batch.length;
      most = Math.max(most, process.memoryUsage().rss);
      if (events > enough) break;
    }
  } catch (error) {
    expect(error).toMatchObject({ kind: 'input' });
    told = (error as Error).message;
  } finally {
    clearInterval(timer);
  }
  told += report.damages.map(({ message }) => message).join('; ');
  return { events, growth: most - before, told };
}

const sensor = { width: 128, height: 128 };

describe('files that say they hold far more than they should take only so much memory', () => {
  let folder = '';
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'saccade-test-'));
  });
  afterEach(async () => {
    await rm(folder, { recursive: true });
  });

  /** A ZIP archive of deflated entries of a gibibyte each. */
  function zipOf(heads: Readonly<Record<string, Uint8Array>>): Buffer {
    const parts: Buffer[] = [];
    const directory: Buffer[] = [];
    let at = 0;
    for (const [name, head] of Object.entries(heads)) {
      const data = deflatedZeros(head);
      const common = Buffer.alloc(26);
      common.writeUInt16LE(20, 0); // version
      common.writeUInt16LE(8, 4); // deflated
      common.writeUInt32LE(crc32(head), 10);
      common.writeUInt32LE(data.length, 14);
      common.writeUInt32LE(head.length + zeros.length * gibibyte, 18);
      common.writeUInt16LE(name.length, 22);
      const local = Buffer.concat([Buffer.from('PK\x03\x04'), common, Buffer.from(name), data]);
      const rest = Buffer.alloc(14);
      rest.writeUInt32LE(at, 10);
      directory.push(
        Buffer.concat([Buffer.from('PK\x01\x02\x14\x00'), common, rest, Buffer.from(name)]),
      );
      parts.push(local);
      at += local.length;
    }
    const end = Buffer.alloc(22);
    end.write('PK\x05\x06');
    end.writeUInt16LE(directory.length, 8);
    end.writeUInt16LE(directory.length, 10);
    const length = directory.reduce((sum, entry) => sum + entry.length, 0);
    end.writeUInt32LE(length, 12);
    end.writeUInt32LE(at, 16);
    return Buffer.concat([...parts, ...directory, end]);
  }

  function npyHead(descr: string, count: number): Uint8Array {
    const text = `{'descr': ${descr}, 'fortran_order': False, 'shape': (${count},), }`;
    const padded = text.padEnd(245) + '\n';
    return Buffer.concat([
      Buffer.from('\x93NUMPY\x01\x00', 'latin1'),
      Buffer.from([246, 0]),
      Buffer.from(padded),
    ]);
  }

  it('npz: arrays of a gibibyte each are read bit by bit', async () => {
    const bytes = zipOf({
      't.npy': npyHead("'<i8'", 2 ** 27),
      'x.npy': npyHead("'<i8'", 2 ** 27),
      'y.npy': npyHead("'<i8'", 2 ** 27),
      'p.npy': npyHead("'<i8'", 2 ** 27),
    });
    expect(bytes.length).toBeLessThan(2 ** 23);
    const { events, growth } = await readBomb('npz', bytes);
    expect(events).toBeGreaterThan(enough);
    expect(growth).toBeLessThan(maxGrowth);
  });

  it('npz: a record of a gibibyte is refused', async () => {
    const descr = "[('t', '<i8'), ('x', '<u2'), ('y', '<u2'), ('p', '|u1'), ('', '|V1073741000')]";
    const { growth, told } = await readBomb('npz', zipOf({ 'events.npy': npyHead(descr, 1) }));
    expect(told).toMatch(/record|elements of/);
    expect(growth).toBeLessThan(maxGrowth);
  });

  it('mat: a compressed variable whose description is of a gibibyte is passed over', async () => {
    const header = Buffer.alloc(128, ' ');
    header.write('MATLAB 5.0 MAT-file');
    header.write('\x00\x01IM', 124, 'latin1');
    const compressed = (content: Uint8Array): Buffer => {
      // The two bytes of zlib, whose checksum at the end is never reached.
      const data = Buffer.concat([deflateSync(new Uint8Array(0)).subarray(0, 2), content]);
      const tag = Buffer.alloc(8);
      tag.writeUInt32LE(15);
      tag.writeUInt32LE(data.length, 4);
      return Buffer.concat([header, tag, data]);
    };
    const words = (...values: number[]): Buffer =>
      Buffer.from(new Uint8Array(Uint32Array.from(values).buffer));
    // A matrix whose flags claim a gibibyte.
    const flags = compressed(deflatedZeros(words(14, 2 ** 30, 6, 2 ** 30)));
    const absurd = await readBomb('mat', flags);
    expect(absurd.told).toMatch(/description of an array|expected vectors/);
    expect(absurd.growth).toBeLessThan(maxGrowth);
  });

  it('hdf5: chunks of a gibibyte are refused', async () => {
    const module = await ready;
    const path = join(folder, 'bomb.h5');
    const file = new File(path, 'w');
    file.create_group('CD');
    const dtype: [string, string][] = [
      ['x', '<H'],
      ['y', '<H'],
      ['p', '<h'],
      ['t', '<q'],
    ];
    const metadata = {
      ...dtype_to_metadata(dtype),
      shape: [0n],
      maxshape: [2n ** 64n - 1n],
      chunks: [BigInt(Math.floor(2 ** 30 / 14))],
      compression: 1,
      compression_opts: [1],
      track_order: false,
    };
    // No data are written: the description alone says what reading would take.
    const pointer = BigInt(module._malloc(16));
    module.create_dataset(file.file_id, '/CD/events', pointer, metadata);
    module.resize_dataset(file.file_id, '/CD/events', [1_000n]);
    file.flush();
    file.close();
    const { told, growth } = await readBomb('hdf5', await readFile(path));
    expect(told).toMatch(/chunks of 10737\d+ bytes, expected at most/);
    expect(growth).toBeLessThan(maxGrowth);
  });

  it('mcap: a chunk that says it is of a terabyte, and one that holds more than it says', async () => {
    const rows = Array.from({ length: 10 }, (_, i) => [i, i, i, 1] as const);
    const bytes = Buffer.from(await encodeRows(formatByName('mcap'), sensor, rows));
    // Records: opcode, length, content. A chunk (6) has its length unpacked behind two times.
    let at = 8;
    while (bytes[at] !== 6) at += 9 + Number(bytes.readBigUInt64LE(at + 1));
    const length = Number(bytes.readBigUInt64LE(at + 1));
    const compressedChunk = (unpacked: bigint, method: string, data: Uint8Array): Buffer => {
      const content = Buffer.concat([
        bytes.subarray(at + 9, at + 25),
        Buffer.alloc(12),
        Buffer.from([method.length, 0, 0, 0]),
        Buffer.from(method),
        Buffer.alloc(8),
        data,
      ]);
      content.writeBigUInt64LE(unpacked, 16);
      content.writeBigUInt64LE(BigInt(data.length), 32 + method.length);
      const record = Buffer.concat([Buffer.from([6]), Buffer.alloc(8), content]);
      record.writeBigUInt64LE(BigInt(content.length), 1);
      const rest = bytes.subarray(at + 9 + length);
      return Buffer.concat([bytes.subarray(0, at), record, rest]);
    };
    const bomb = lz4.compress(zeros);
    for (const chunk of [
      compressedChunk(2n ** 40n, 'lz4', bomb),
      compressedChunk(2n ** 40n, 'zstd', bomb),
      compressedChunk(1_000n, 'lz4', bomb),
    ]) {
      const { events, told, growth } = await readBomb('mcap', chunk);
      expect(events).toBe(0);
      expect(told).not.toBe('');
      expect(growth).toBeLessThan(maxGrowth);
    }
  });

  it.each(['bz2', 'lz4'])('bag: a %s chunk that says it is of two gibibytes', async (method) => {
    const rows = Array.from({ length: 10 }, (_, i) => [i, i, i, 1] as const);
    const bag = Buffer.from(await encodeRows(formatByName('bag'), sensor, rows));
    const field = (name: string, value: Uint8Array): Buffer => {
      const length = Buffer.alloc(4);
      length.writeUInt32LE(name.length + 1 + value.length);
      return Buffer.concat([length, Buffer.from(`${name}=`), value]);
    };
    const size = Buffer.from(new Uint8Array(Uint32Array.of(0x7fffffff).buffer));
    const header = Buffer.concat([
      field('op', Uint8Array.of(5)),
      field('compression', Buffer.from(method)),
      field('size', size),
    ]);
    const data = lz4.compress(zeros);
    const lengths = [header.length, data.length].map((length) =>
      Buffer.from(new Uint8Array(Uint32Array.of(length).buffer)),
    );
    const chunk = Buffer.concat([lengths[0], header, lengths[1], data]);
    const firstChunk = 13 + 4096;
    const bytes = Buffer.concat([bag.subarray(0, firstChunk), chunk, bag.subarray(firstChunk)]);
    const { events, told, growth } = await readBomb('bag', bytes);
    expect(told).toMatch(/2147483647/);
    expect(events).toBe(rows.length);
    expect(growth).toBeLessThan(maxGrowth);
  });

  it('an npy file that says it has more than anyone could hold', async () => {
    const head = npyHead("[('t', '<i8'), ('x', '<u2'), ('y', '<u2'), ('p', '|u1')]", 2 ** 50);
    const { events, told, growth } = await readBomb('npy', Buffer.concat([head, zeros]));
    expect(events).toBe(Math.floor(zeros.length / 13));
    expect(told).toMatch(/events/);
    expect(growth).toBeLessThan(maxGrowth);
  });
});

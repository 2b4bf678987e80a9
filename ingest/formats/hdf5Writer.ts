import { open } from 'node:fs/promises';
import { type Dataset, dtype_to_metadata, File, type Metadata, ready } from 'h5wasm/node';
import type { EventBatch } from '../eventBatch.js';
import type { EncodeOptions } from '../format.js';
import { checkEvents, rebatch } from '../rebatch.js';
import { Spool } from '../spool.js';
import { ecfFilter, encodeEcf } from './ecf.js';
import { listChunks } from './hdf5Chunks.js';
import { OwnTimeIndexWriter } from './hdf5Index.js';

type Library = Awaited<typeof ready>;
type RecordType = [name: string, type: string][];

/** Rows per chunk that is written, as Prophesee's writer has it. */
const chunkLength = 16_384;
const unlimited = 2n ** 64n - 1n;
/** Levels of deflate. */
const usual = 4;
const fastest = 1;
const eventsPath = '/CD/events';
const recordType: RecordType = [
  ['x', '<H'],
  ['y', '<H'],
  ['p', '<h'],
  ['t', '<q'],
];
const recordLength = 14;
/** ECF's decoder gives records as compilers lay them out: the time at the next multiple of 8. */
const ecfRecordLength = 16;
const indexType: RecordType = [
  ['id', '<Q'],
  ['ts', '<q'],
];

/** Writes Prophesee's layout: deflated, or with chunks of ECF where the variant `ecf` is asked for. */
export async function writeProphesee(
  path: string,
  batches: AsyncIterable<EventBatch>,
  options: EncodeOptions,
): Promise<void> {
  const ecf = options.variant === 'ecf' ? new EcfChunks() : undefined;
  const index = new OwnTimeIndexWriter();
  const indexRows = new Spool();
  try {
    await withFile(path, async (file) => {
      const { width, height } = options.sensor;
      file.attribute('version', '1.0');
      file.attribute('format', 'HDF5');
      file.attribute('geometry', `${width}x${height}`);
      file.group('CD');
      const type = dtype_to_metadata(recordType) as Metadata;
      const append =
        ecf === undefined
          ? file.table(eventsPath, type, 1)
          : file.table(eventsPath, aligned(type), 1, fastest);
      for await (const batch of rebatch(checkEvents(batches, options), chunkLength)) {
        append(ecf === undefined ? recordsOf(batch, recordLength) : undefined, batch.length);
        await ecf?.add(batch);
        await indexRows.write(index.add(batch));
      }
      await indexRows.write(index.end());
      if (index.fits) {
        const place = '/CD/indexes';
        const appendRows = file.table(place, dtype_to_metadata(indexType) as Metadata, 1);
        for await (const rows of indexRows.read()) {
          const step = OwnTimeIndexWriter.rowLength * chunkLength;
          for (let at = 0; at < rows.length; at += step) {
            const part = rows.subarray(at, at + step);
            appendRows(part, part.length / OwnTimeIndexWriter.rowLength);
          }
        }
        file.attribute('offset', String(-index.firstUs + 0), place);
      }
    });
    await ecf?.putInto(path);
  } finally {
    await indexRows.close();
    await ecf?.close();
  }
}

/** A file that is being written. */
export interface Hdf5Output {
  group(name: string): void;
  /** Of the object at a path, or of the file. With a `dtype` such as `S6`, a text of fixed length. */
  attribute(name: string, text: string, path?: string, dtype?: string): void;
  /**
   * Makes a dataset that can grow, deflated in chunks.
   *
   * @param rank 1, or 2 for MATLAB's columns, which are of shape [1, N].
   * @param level of deflate, 1 to 9.
   * @returns what writes up to a chunk of rows behind the others; zeros where there are no bytes.
   */
  table(
    path: string,
    type: Metadata,
    rank: 1 | 2,
    level?: number,
  ): (rows: Uint8Array | undefined, count: number) => void;
}

/** Makes an HDF5 file. */
export async function withFile(
  path: string,
  write: (file: Hdf5Output) => Promise<void>,
): Promise<void> {
  const module = await ready;
  module.activate_throwing_error_handler();
  // What all libraries read; the parts have no checksums, so that they can be changed.
  const file = new File(path, 'w', { libver: ['earliest', 'latest'] });
  const pointer = module._malloc(ecfRecordLength * chunkLength);
  try {
    await write({
      group: (name) => void file.create_group(name),
      attribute(name, text, at, dtype) {
        const object = at === undefined ? file : (file.get(at) as Dataset);
        object.create_attribute(name, text, null, dtype);
      },
      table: (at, type, rank, level = usual) =>
        createTable(module, file, at, type, rank, level, pointer),
    });
    // Closing leaves it to the garbage collector of the library.
    file.flush();
  } finally {
    module._free(pointer);
    file.close();
  }
}

/** @param pointer memory of the library for a chunk. */
function createTable(
  module: Library,
  file: File,
  path: string,
  type: Metadata,
  rank: 1 | 2,
  level: number,
  pointer: number,
): (rows: Uint8Array | undefined, count: number) => void {
  const shaped = (count: bigint, other = 1n): bigint[] => (rank === 1 ? [count] : [other, count]);
  const metadata = {
    ...type,
    shape: shaped(0n),
    maxshape: shaped(unlimited),
    chunks: shaped(BigInt(chunkLength)),
    compression: 1,
    compression_opts: [level],
    track_order: false,
  };
  module.create_dataset(file.file_id, path, BigInt(pointer), metadata);
  let written = 0n;
  return (rows, count) => {
    const length = BigInt(count);
    if (rows === undefined) module.HEAPU8.fill(0, pointer, pointer + type.size * count);
    else module.HEAPU8.set(rows, pointer);
    module.resize_dataset(file.file_id, path, shaped(written + length));
    const [counts, offsets, strides] = [shaped(length), shaped(written, 0n), shaped(1n)];
    module.set_dataset_data(file.file_id, path, counts, offsets, strides, BigInt(pointer));
    written += length;
  };
}

/** The type of records whose time is aligned. */
function aligned(type: Metadata): Metadata {
  const members = type.compound_type!.members.map((member) =>
    member.name === 't' ? { ...member, offset: ecfRecordLength - 8 } : member,
  );
  const compound = { ...type.compound_type!, members };
  return { ...type, size: ecfRecordLength, compound_type: compound };
}

/** Records of x, y, polarity and, in the last 8 bytes, the time. */
function recordsOf({ length, tUs, x, y, polarity }: EventBatch, size: number): Uint8Array {
  const bytes = new Uint8Array(size * length);
  const view = new DataView(bytes.buffer);
  for (let i = 0, at = 0; i < length; i++, at += size) {
    view.setUint16(at, x[i], true);
    view.setUint16(at + 2, y[i], true);
    view.setInt16(at + 4, polarity[i] === 0 ? 0 : 1, true);
    view.setBigInt64(at + size - 8, BigInt(tUs[i]), true);
  }
  return bytes;
}

/**
 * Chunks of ECF for a dataset that the library has written with zeros. h5wasm has no way to write a chunk as it is
 * (`H5Dwrite_chunk` is not among its functions) and none to add a filter, so the file is changed afterwards: the chunks go
 * behind its end, the tree of the dataset is told their places and lengths, and the filter its number. The few
 * hundred bytes of zeros that each chunk had stay where they were, unused.
 *
 * Chunks that ECF cannot hold, as their times go back or x or y is above 2,047, are stored as they are, which HDF5 allows
 * for each chunk.
 */
class EcfChunks {
  private readonly bytes = new Spool();
  private readonly chunks: { readonly length: number; readonly unfiltered: number }[] = [];

  /** Adds the next chunk; only the last one may have fewer events than a chunk has. */
  async add(batch: EventBatch): Promise<void> {
    const whole = wholeChunk(batch);
    const encoded = encodeEcf(whole);
    const bytes = encoded ?? recordsOf(whole, ecfRecordLength);
    this.chunks.push({ length: bytes.length, unfiltered: encoded === undefined ? 1 : 0 });
    await this.bytes.write(bytes);
  }

  async putInto(path: string): Promise<void> {
    const stored = await listChunks(path, eventsPath);
    const file = await open(path, 'r+');
    try {
      let end = (await file.stat()).size;
      const write = async (bytes: Uint8Array, at: number): Promise<void> => {
        await file.write(bytes, 0, bytes.length, at);
      };
      let at = end;
      for await (const bytes of this.bytes.read()) {
        await write(bytes, at);
        at += bytes.length;
      }
      for (const [i, { length, unfiltered }] of this.chunks.entries()) {
        const size = Buffer.alloc(8);
        size.writeUInt32LE(length, 0);
        size.writeUInt32LE(unfiltered, 4);
        await write(size, stored[i].entry);
        await write(uint64(end), stored[i].entry + 24);
        end += length;
      }
      const head = Buffer.alloc(65_536);
      await file.read(head, 0, head.length, 0);
      // Number, length of the name, flags (optional), number of values; then the name.
      const name = head.indexOf('deflate');
      if (head[8] !== 0 || name < 8) throw new Error('HDF5 wrote a file of another version');
      const filter = Buffer.from(Uint16Array.of(ecfFilter, 8, 1, 0).buffer);
      await write(Buffer.concat([filter, Buffer.from('ecf\0\0\0\0\0')]), name - 8);
      await write(uint64(end), 40); // the end of the file, in the superblock
    } finally {
      await file.close();
    }
  }

  close(): Promise<void> {
    return this.bytes.close();
  }
}

function uint64(value: number): Uint8Array {
  return new Uint8Array(BigUint64Array.of(BigInt(value)).buffer);
}

/** A chunk always holds the same number of events; behind the last one stand some that nobody reads. */
function wholeChunk({ sensor, length, tUs, x, y, polarity }: EventBatch): EventBatch {
  if (length === chunkLength) {
    const signs = polarity.map((value) => (value === 0 ? 0 : 1));
    return { sensor, length, tUs, x, y, polarity: signs };
  }
  const whole = {
    sensor,
    length: chunkLength,
    tUs: new Float64Array(chunkLength).fill(tUs[length - 1]),
    // Neighbours, which are short.
    x: Uint16Array.from({ length: chunkLength }, (_, i) => i % 6),
    y: new Uint16Array(chunkLength),
    polarity: new Uint8Array(chunkLength),
  };
  whole.tUs.set(tUs);
  whole.x.set(x);
  whole.y.set(y);
  for (let i = 0; i < length; i++) whole.polarity[i] = polarity[i] === 0 ? 0 : 1;
  return whole;
}

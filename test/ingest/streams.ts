import type { ByteSource } from '../../ingest/bytes.js';
import {
  concatBatches,
  createBatch,
  type EventBatch,
  type SensorSize,
} from '../../ingest/eventBatch.js';
import {
  createReport,
  type DecodeOptions,
  type DecodeReport,
  type EventFormat,
} from '../../ingest/format.js';

/** Events as rows, which compare and print well. */
export type EventRow = readonly [tUs: number, x: number, y: number, polarity: number];

export function batchOf(sensor: SensorSize, rows: readonly EventRow[]): EventBatch {
  return createBatch(
    sensor,
    Float64Array.from(rows, (row) => row[0]),
    Uint16Array.from(rows, (row) => row[1]),
    Uint16Array.from(rows, (row) => row[2]),
    Uint8Array.from(rows, (row) => row[3]),
  );
}

export function rowsOf({ length, tUs, x, y, polarity }: EventBatch): EventRow[] {
  return Array.from({ length }, (_, i) => [tUs[i], x[i], y[i], polarity[i]] as const);
}

export async function* streamOf<T>(items: Iterable<T>): AsyncGenerator<T> {
  yield* items;
}

export async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const collected: T[] = [];
  for await (const item of items) collected.push(item);
  return collected;
}

/** Cuts bytes into chunks of the given lengths, over and over. */
export function chunksOf(bytes: Uint8Array, lengths: readonly number[]): Uint8Array[] {
  const chunks: Uint8Array[] = [];
  let start = 0;
  for (let i = 0; start < bytes.length; i++) {
    const end = start + lengths[i % lengths.length];
    chunks.push(bytes.slice(start, end));
    start = end;
  }
  return chunks;
}

/** Bytes that can be read from anywhere, as those of a file, in chunks of one length. */
export function sourceOf(bytes: Uint8Array, chunkLength: number): ByteSource {
  return {
    [Symbol.asyncIterator]: () => streamOf(chunksOf(bytes, [chunkLength])),
    from: (offset) => sourceOf(bytes.slice(offset), chunkLength),
  };
}

export async function encodeRows(
  format: EventFormat,
  sensor: SensorSize,
  rows: readonly EventRow[],
  batchLength = 7,
): Promise<Uint8Array> {
  const batches: EventBatch[] = [];
  for (let i = 0; i < rows.length; i += batchLength) {
    batches.push(batchOf(sensor, rows.slice(i, i + batchLength)));
  }
  const chunks = await collect(format.encode(streamOf(batches), { file: 'written', sensor }));
  return Buffer.concat(chunks);
}

export interface Decoded {
  readonly rows: EventRow[];
  readonly batches: EventBatch[];
  readonly report: DecodeReport;
}

export async function decodeBytes(
  format: EventFormat,
  bytes: Uint8Array | readonly Uint8Array[],
  options: Partial<DecodeOptions> = {},
): Promise<Decoded> {
  const report = createReport();
  const chunks = bytes instanceof Uint8Array ? [bytes] : bytes;
  const batches = await collect(
    format.decode(streamOf(chunks), { file: 'read', report, ...options }),
  );
  const rows = batches.length === 0 ? [] : rowsOf(concatBatches(batches));
  return { rows, batches, report };
}

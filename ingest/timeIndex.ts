import { readFile, stat } from 'node:fs/promises';
import { z } from 'zod';
import { writeFileAtomically } from '../engine/support/atomicFile.js';
import { hashFile, hashSample } from './contentHash.js';
import { defaultBatchLength, type EventBatch, type SensorSize, sliceBatch } from './eventBatch.js';
import { createReport, type DecodeMark, type DecodeOptions, type LayoutOptions } from './format.js';

/** Decodes a recording, from its start or from a mark on. */
export type Decode = (options: Omit<DecodeOptions, 'file' | 'layout'>) => AsyncIterable<EventBatch>;

/** Where one block of a recording begins, and the range of the times in it. */
export interface IndexedBlock extends DecodeMark {
  readonly minUs: number;
  readonly maxUs: number;
}

/**
 * The places where decoding can go on, one in front of each block of `blockLength` events (the last may have
 * fewer). With it, a slice of the time reads its own blocks only, and finds them in O(log n); it gives
 * just what filtering all events gives, also where times go back.
 */
export class TimeIndex {
  /** Latest time in the blocks up to and with each one. */
  private readonly latestUs: Float64Array;
  /** Earliest time in the blocks from each one on. */
  private readonly earliestUs: Float64Array;

  constructor(
    readonly sensor: SensorSize,
    readonly blockLength: number,
    readonly blocks: readonly IndexedBlock[],
  ) {
    const count = blocks.length;
    this.latestUs = new Float64Array(count);
    this.earliestUs = new Float64Array(count);
    let latest = -Infinity;
    let earliest = Infinity;
    for (let i = 0; i < count; i++) {
      latest = Math.max(latest, blocks[i].maxUs);
      this.latestUs[i] = latest;
      earliest = Math.min(earliest, blocks[count - 1 - i].minUs);
      this.earliestUs[count - 1 - i] = earliest;
    }
  }

  /** The first block, and the number of blocks, that hold every event with `fromUs <= t < toUs`. */
  find(fromUs: number, toUs: number): { first: number; count: number } {
    const first = firstWhere(this.blocks.length, (i) => this.latestUs[i] >= fromUs);
    const end = firstWhere(this.blocks.length, (i) => this.earliestUs[i] >= toUs);
    return { first, count: Math.max(0, end - first) };
  }

  /** The events of the blocks that `find` gives, which still have to be filtered by time. */
  async *read(
    decode: Decode,
    fromUs: number,
    toUs: number,
    options: Omit<DecodeOptions, 'file' | 'layout' | 'resume' | 'onMark'>,
  ): AsyncGenerator<EventBatch> {
    const { first, count } = this.find(fromUs, toUs);
    if (count === 0) return;
    let left = count * this.blockLength;
    // A longer batch would be filled from behind the slice.
    const batchLength = Math.min(options.batchLength ?? defaultBatchLength, left);
    const resume = this.blocks[first];
    for await (const batch of decode({ ...options, batchLength, resume })) {
      yield batch.length <= left ? batch : sliceBatch(batch, 0, left);
      left -= batch.length;
      if (left <= 0) return;
    }
  }
}

/** Lowest index from 0 to `count` from which on `holds` is true; `count` where it never is. */
function firstWhere(count: number, holds: (index: number) => boolean): number {
  let low = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (holds(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}

/**
 * Makes the index by decoding everything once.
 *
 * @returns undefined where the format's decoder cannot go on in the middle.
 */
export async function makeTimeIndex(
  decode: Decode,
  sensor: SensorSize,
  options: { readonly blockLength?: number; readonly signal?: AbortSignal } = {},
): Promise<TimeIndex | undefined> {
  const { blockLength = defaultBatchLength, signal } = options;
  let mark: DecodeMark | undefined;
  const blocks: IndexedBlock[] = [];
  const onMark = (next: DecodeMark): void => {
    mark = next;
  };
  const report = createReport();
  const decodeOptions = { sensor, batchLength: blockLength, signal, report, onMark, reuse: true };
  for await (const batch of decode(decodeOptions)) {
    if (mark === undefined) return undefined;
    let minUs = Infinity;
    let maxUs = -Infinity;
    for (const tUs of batch.tUs) {
      if (tUs < minUs) minUs = tUs;
      if (tUs > maxUs) maxUs = tUs;
    }
    blocks.push({ offset: mark.offset, state: mark.state, minUs, maxUs });
  }
  return mark === undefined ? undefined : new TimeIndex(sensor, blockLength, blocks);
}

// ---- The file beside the recording ----

/** Says what an index file belongs to. */
export interface IndexedRecording {
  readonly path: string;
  /** Name of the format. */
  readonly format: string;
  readonly layout?: LayoutOptions;
}

export const indexPath = (path: string): string => `${path}.idx`;

const fileVersion = 1;

const count = z.number().int().min(0);
const fileSchema = z.object({
  saccadeTimeIndex: z.literal(fileVersion),
  format: z.string(),
  layout: z.string(),
  width: count.min(1),
  height: count.min(1),
  size: count,
  modifiedMs: z.number(),
  /** SHA-256 of the whole recording. */
  sha256: z.string(),
  /** SHA-256 of pieces of it, which are read again each time. */
  sampleSha256: z.string(),
  blockLength: count.min(1),
  /** Offset, lowest and highest time, then the decoder's state. */
  blocks: z.array(z.tuple([count, z.number(), z.number()]).rest(z.number())),
});

type IndexFile = z.infer<typeof fileSchema>;

/**
 * Reads the index beside a recording. It is taken where size, time of change and a sample of the
 * content are as they were; where only the time of change differs, the whole content is compared.
 *
 * @returns undefined where there is none, or one of another content, format or layout.
 */
export async function readTimeIndex(recording: IndexedRecording): Promise<TimeIndex | undefined> {
  const text = await readFile(indexPath(recording.path), 'utf8').catch(() => undefined);
  if (text === undefined) return undefined;
  const file = parseFile(text);
  if (file === undefined || file.format !== recording.format) return undefined;
  if (file.layout !== JSON.stringify(recording.layout ?? {})) return undefined;
  const { size, mtimeMs } = await stat(recording.path);
  if (size !== file.size) return undefined;
  if ((await hashSample(recording.path, size)) !== file.sampleSha256) return undefined;
  if (mtimeMs !== file.modifiedMs) {
    if ((await hashFile(recording.path)) !== file.sha256) return undefined;
    await writeFile(recording.path, { ...file, modifiedMs: mtimeMs });
  }
  const blocks = file.blocks.map(([offset, minUs, maxUs, ...state]) => ({
    offset,
    minUs,
    maxUs,
    state,
  }));
  return new TimeIndex({ width: file.width, height: file.height }, file.blockLength, blocks);
}

/**
 * Writes the index beside a recording.
 *
 * @returns whether that was possible: folders may be read-only.
 */
export async function writeTimeIndex(
  recording: IndexedRecording,
  index: TimeIndex,
  signal?: AbortSignal,
): Promise<boolean> {
  const { path, format, layout = {} } = recording;
  const { size, mtimeMs } = await stat(path);
  return writeFile(path, {
    saccadeTimeIndex: fileVersion,
    format,
    layout: JSON.stringify(layout),
    ...index.sensor,
    size,
    modifiedMs: mtimeMs,
    sha256: await hashFile(path, signal),
    sampleSha256: await hashSample(path, size),
    blockLength: index.blockLength,
    blocks: index.blocks.map(({ offset, minUs, maxUs, state }) => [offset, minUs, maxUs, ...state]),
  });
}

function parseFile(text: string): IndexFile | undefined {
  try {
    return fileSchema.parse(JSON.parse(text));
  } catch {
    return undefined; // A damaged index is as good as none.
  }
}

function writeFile(path: string, file: IndexFile): Promise<boolean> {
  return writeFileAtomically(indexPath(path), `${JSON.stringify(file)}\n`).then(
    () => true,
    () => false,
  );
}

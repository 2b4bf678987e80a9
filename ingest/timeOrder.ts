import { type FileHandle, open } from 'node:fs/promises';
import { SaccadeError } from '../engine/support/errors.js';
import { throwIfAborted } from './bytes.js';
import { BatchBuilder, createBatch, type EventBatch, sliceBatch } from './eventBatch.js';
import { createTemporaryFile } from './temporaryFile.js';

/** What becomes of times that go back: they are kept, or all events are sorted, or the first one is an error. */
export const timeOrders = ['keep', 'sort', 'strict'] as const;
export type TimeOrder = (typeof timeOrders)[number];

/** Events that are sorted in memory at a time (13 MB). */
const defaultRunLength = 2 ** 20;
/** Events of each run that are in memory while runs are merged (53 kB). */
const blockLength = 4_096;
const recordLength = 8 + 2 + 2 + 1;

export interface OrderOptions {
  /** For error messages. */
  readonly file: string;
  readonly signal?: AbortSignal;
}

/** Passes on the events. Throws a `SaccadeError` that names the first one whose time is before that of the last. */
export async function* requireOrder(
  batches: AsyncIterable<EventBatch>,
  { file }: OrderOptions,
): AsyncGenerator<EventBatch> {
  let lastUs = -Infinity;
  let passed = 0;
  for await (const batch of batches) {
    const { length, tUs } = batch;
    for (let i = 0; i < length; i++) {
      if (tUs[i] < lastUs) {
        const message = `event ${passed + i} goes back in time, from ${lastUs} to ${tUs[i]} µs`;
        throw new SaccadeError('input', message, { file });
      }
      lastUs = tUs[i];
    }
    passed += length;
    yield batch;
  }
}

/**
 * The events in order of time; those of one time stay in the order in which they came. Memory stays bounded:
 * of long streams, sorted runs go to a temporary file and are merged at the end.
 */
export async function* sortEvents(
  batches: AsyncIterable<EventBatch>,
  { file, signal, runLength = defaultRunLength }: OrderOptions & { readonly runLength?: number },
): AsyncGenerator<EventBatch> {
  let run: BatchBuilder | undefined;
  const runs = new RunFile();
  try {
    for await (const batch of batches) {
      throwIfAborted(signal, file);
      for (let start = 0; start < batch.length;) {
        run ??= new BatchBuilder(batch.sensor, 0);
        const end = Math.min(batch.length, start + runLength - run.length);
        run.append(sliceBatch(batch, start, end));
        start = end;
        if (run.length === runLength) await runs.write(sortBatch(run.take()));
      }
    }
    if (run === undefined) return;
    const last = sortBatch(run.take());
    if (runs.count === 0) {
      yield* slices(last);
    } else {
      if (last.length > 0) await runs.write(last);
      yield* runs.merge(signal, file);
    }
  } finally {
    await runs.close();
  }
}

function* slices(batch: EventBatch): Generator<EventBatch> {
  for (let start = 0; start < batch.length; start += 65_536) {
    yield sliceBatch(batch, start, Math.min(batch.length, start + 65_536));
  }
}

/** The events in order of time, stable. */
export function sortBatch(batch: EventBatch): EventBatch {
  const { sensor, length, tUs, x, y, polarity } = batch;
  let sorted = true;
  for (let i = 1; i < length && sorted; i++) sorted = tUs[i] >= tUs[i - 1];
  if (sorted) return batch;
  // A plain array is sorted fastest where it is nearly in order already.
  const order = Array.from({ length }, (_, i) => i).sort((a, b) => tUs[a] - tUs[b]);
  return createBatch(
    sensor,
    Float64Array.from(order, (i) => tUs[i]),
    Uint16Array.from(order, (i) => x[i]),
    Uint16Array.from(order, (i) => y[i]),
    Uint8Array.from(order, (i) => polarity[i]),
  );
}

/** Sorted runs in a temporary file, in blocks: the times of a block, then x, y and polarities. */
class RunFile {
  private readonly runs: { readonly offset: number; readonly length: number }[] = [];
  private handle: FileHandle | undefined;
  private remove: (() => Promise<void>) | undefined;
  private end = 0;
  private sensor = { width: 1, height: 1 };

  get count(): number {
    return this.runs.length;
  }

  async write(run: EventBatch): Promise<void> {
    if (this.handle === undefined) {
      const temporary = await createTemporaryFile();
      this.remove = () => temporary.remove();
      this.handle = await open(temporary.path, 'r+');
    }
    this.sensor = run.sensor;
    this.runs.push({ offset: this.end, length: run.length });
    for (let start = 0; start < run.length; start += blockLength) {
      const block = sliceBatch(run, start, Math.min(run.length, start + blockLength));
      for (const array of [block.tUs, block.x, block.y, block.polarity]) {
        const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
        await this.handle.write(bytes, 0, bytes.length, this.end);
        this.end += bytes.length;
      }
    }
  }

  /** All events in order of time; of one time, those of earlier runs first. */
  async *merge(signal: AbortSignal | undefined, file: string): AsyncGenerator<EventBatch> {
    const cursors: Cursor[] = [];
    for (const run of this.runs.keys()) {
      const cursor = { run, block: await this.read(run, 0), start: 0, at: 0 };
      insert(cursors, cursor);
    }
    const events = new BatchBuilder(this.sensor);
    while (cursors.length > 0) {
      const cursor = cursors[0];
      const { block } = cursor;
      // As long as it is the first of all, no other one needs to be looked at.
      const next = cursors.length > 1 ? cursors[secondOf(cursors)] : undefined;
      do {
        const { at } = cursor;
        events.push(block.tUs[at], block.x[at], block.y[at], block.polarity[at]);
        cursor.at++;
      } while (cursor.at < block.length && (next === undefined || comesFirst(cursor, next)));
      if (cursor.at === block.length) {
        throwIfAborted(signal, file);
        cursor.start += block.length;
        cursor.block = await this.read(cursor.run, cursor.start);
        cursor.at = 0;
      }
      if (cursor.block.length === 0) removeFirst(cursors);
      else siftDown(cursors, 0);
      if (events.length >= 65_536) yield events.take();
    }
    if (events.length > 0) yield events.take();
  }

  async close(): Promise<void> {
    await this.handle?.close();
    await this.remove?.();
  }

  /** The block of a run that begins with its event `start`; empty behind its last. */
  private async read(index: number, start: number): Promise<EventBatch> {
    const run = this.runs[index];
    const n = Math.max(0, Math.min(blockLength, run.length - start));
    const bytes = new Uint8Array(n * recordLength);
    await this.handle?.read(bytes, 0, bytes.length, run.offset + start * recordLength);
    return createBatch(
      this.sensor,
      new Float64Array(bytes.buffer, 0, n),
      new Uint16Array(bytes.buffer, 8 * n, n),
      new Uint16Array(bytes.buffer, 10 * n, n),
      new Uint8Array(bytes.buffer, 12 * n, n),
    );
  }
}

/** The next event of a run: event `at` of `block`, which begins at the run's event `start`. */
interface Cursor {
  readonly run: number;
  block: EventBatch;
  start: number;
  at: number;
}

function comesFirst(a: Cursor, b: Cursor): boolean {
  const step = a.block.tUs[a.at] - b.block.tUs[b.at];
  return step < 0 || (step === 0 && a.run < b.run);
}

// A binary heap: each cursor comes before its two children at 2i + 1 and 2i + 2.

const secondOf = (heap: readonly Cursor[]): number =>
  heap.length > 2 && comesFirst(heap[2], heap[1]) ? 2 : 1;

function insert(heap: Cursor[], cursor: Cursor): void {
  heap.push(cursor);
  for (let i = heap.length - 1; i > 0;) {
    const parent = (i - 1) >> 1;
    if (!comesFirst(heap[i], heap[parent])) return;
    [heap[i], heap[parent]] = [heap[parent], heap[i]];
    i = parent;
  }
}

function removeFirst(heap: Cursor[]): void {
  const last = heap.pop();
  if (heap.length === 0 || last === undefined) return;
  heap[0] = last;
  siftDown(heap, 0);
}

function siftDown(heap: Cursor[], start: number): void {
  for (let i = start; ;) {
    let first = i;
    for (const child of [2 * i + 1, 2 * i + 2]) {
      if (child < heap.length && comesFirst(heap[child], heap[first])) first = child;
    }
    if (first === i) return;
    [heap[i], heap[first]] = [heap[first], heap[i]];
    i = first;
  }
}

import { eventLoops } from '../engine/native/eventLoops.js';
import { SaccadeError } from '../engine/support/errors.js';

/** Width and height of a sensor in pixels. */
export interface SensorSize {
  readonly width: number;
  readonly height: number;
}

/**
 * A run of consecutive events as a structure of arrays. Immutable by convention: whoever receives a
 * batch may keep it and must not write into it; views (`sliceBatch`) share memory.
 *
 * Times are integer microseconds in float64, which is exact up to 2^53 µs (285 years), so Unix-epoch
 * times fit. They usually rise, but a recording's backward steps are kept as they are.
 */
export interface EventBatch {
  readonly sensor: SensorSize;
  /** Number of events; every array has exactly this length. */
  readonly length: number;
  /** Time, µs. */
  readonly tUs: Float64Array;
  /** Column, 0 … width-1. */
  readonly x: Uint16Array;
  /** Row, 0 … height-1. */
  readonly y: Uint16Array;
  /** 1 = ON (brighter), 0 = OFF (darker). */
  readonly polarity: Uint8Array;
}

/** The number of events that decoders aim at per batch. */
export const defaultBatchLength = 65_536;

/** Makes a batch of arrays that have one length. Throws a `SaccadeError` where lengths differ. */
export function createBatch(
  sensor: SensorSize,
  tUs: Float64Array,
  x: Uint16Array,
  y: Uint16Array,
  polarity: Uint8Array,
): EventBatch {
  const length = tUs.length;
  if (x.length !== length || y.length !== length || polarity.length !== length) {
    throw new SaccadeError(
      'input',
      `event arrays must have one length, got t ${length}, x ${x.length}, y ${y.length}, polarity ${polarity.length}`,
    );
  }
  return { sensor, length, tUs, x, y, polarity };
}

/** A batch without events. */
export function emptyBatch(sensor: SensorSize): EventBatch {
  return blankBatch(sensor, 0);
}

/** Events `start` (included) to `end` (excluded) as a view on the same memory. */
export function sliceBatch(batch: EventBatch, start: number, end: number): EventBatch {
  return createBatch(
    batch.sensor,
    batch.tUs.subarray(start, end),
    batch.x.subarray(start, end),
    batch.y.subarray(start, end),
    batch.polarity.subarray(start, end),
  );
}

/** One batch with the events of all, in order. All must have the first one's sensor. */
export function concatBatches(batches: readonly EventBatch[], sensor?: SensorSize): EventBatch {
  const common = sensor ?? batches[0]?.sensor;
  if (common === undefined) {
    throw new SaccadeError('input', 'cannot join zero batches without a sensor size');
  }
  const builder = new BatchBuilder(
    common,
    batches.reduce((sum, batch) => sum + batch.length, 0),
  );
  for (const batch of batches) builder.append(batch);
  return builder.take();
}

/**
 * The events whose flag in `keep` is not zero (`keep.length >= batch.length`); the batch itself where all
 * are kept.
 *
 * @param room a batch that nobody needs any more and that is longer: the events are written over it.
 */
export function selectEvents(batch: EventBatch, keep: Uint8Array, room?: EventBatch): EventBatch {
  const { sensor, length } = batch;
  const to = room ?? blankBatch(sensor, countFlags(keep, length) + 1);
  const next = eventLoops().select(to, batch, keep);
  if (next === length) return batch;
  return createBatch(
    sensor,
    to.tUs.subarray(0, next),
    to.x.subarray(0, next),
    to.y.subarray(0, next),
    to.polarity.subarray(0, next),
  );
}

function countFlags(flags: Uint8Array, length: number): number {
  let count = 0;
  for (let i = 0; i < length; i++) count += +(flags[i] !== 0);
  return count;
}

/** Memory for so many events, all zero. */
export function blankBatch(sensor: SensorSize, length: number): EventBatch {
  return createBatch(
    sensor,
    new Float64Array(length),
    new Uint16Array(length),
    new Uint16Array(length),
    new Uint8Array(length),
  );
}

/**
 * Collects events one by one; `take` hands out what was collected and starts anew. Hot loops write
 * straight into the arrays, behind `length` and up to the capacity, and move `length` once.
 */
export class BatchBuilder {
  tUs: Float64Array;
  x: Uint16Array;
  y: Uint16Array;
  polarity: Uint8Array;
  /** Events collected so far. */
  length = 0;

  constructor(
    readonly sensor: SensorSize,
    private capacity: number = defaultBatchLength,
    /** Whether each batch that was taken is done with when the next event comes: its memory is used again. */
    private readonly reuse = false,
  ) {
    this.capacity = Math.max(1, capacity);
    this.tUs = new Float64Array(this.capacity);
    this.x = new Uint16Array(this.capacity);
    this.y = new Uint16Array(this.capacity);
    this.polarity = new Uint8Array(this.capacity);
  }

  push(tUs: number, x: number, y: number, polarity: number): void {
    if (this.length === this.capacity) this.grow(this.capacity * 2);
    const i = this.length++;
    this.tUs[i] = tUs;
    this.x[i] = x;
    this.y[i] = y;
    this.polarity[i] = polarity;
  }

  append(batch: EventBatch): void {
    const needed = this.length + batch.length;
    if (needed > this.capacity) this.grow(Math.max(needed, this.capacity * 2));
    this.tUs.set(batch.tUs, this.length);
    this.x.set(batch.x, this.length);
    this.y.set(batch.y, this.length);
    this.polarity.set(batch.polarity, this.length);
    this.length = needed;
  }

  /** What was collected since the last call, as a batch of its own memory. */
  take(): EventBatch {
    if (this.reuse) return this.takeViews();
    if (this.length === this.capacity) return this.takeArrays();
    const batch = createBatch(
      this.sensor,
      this.tUs.slice(0, this.length),
      this.x.slice(0, this.length),
      this.y.slice(0, this.length),
      this.polarity.slice(0, this.length),
    );
    this.length = 0;
    return batch;
  }

  private takeViews(): EventBatch {
    const { length } = this;
    this.length = 0;
    return createBatch(
      this.sensor,
      this.tUs.subarray(0, length),
      this.x.subarray(0, length),
      this.y.subarray(0, length),
      this.polarity.subarray(0, length),
    );
  }

  /** Full arrays are handed out as they are, which saves the copy. */
  private takeArrays(): EventBatch {
    const batch = createBatch(this.sensor, this.tUs, this.x, this.y, this.polarity);
    this.tUs = new Float64Array(this.capacity);
    this.x = new Uint16Array(this.capacity);
    this.y = new Uint16Array(this.capacity);
    this.polarity = new Uint8Array(this.capacity);
    this.length = 0;
    return batch;
  }

  private grow(capacity: number): void {
    const grown = <A extends { set(from: A): void }>(array: A, larger: A): A => {
      larger.set(array);
      return larger;
    };
    this.tUs = grown(this.tUs, new Float64Array(capacity));
    this.x = grown(this.x, new Uint16Array(capacity));
    this.y = grown(this.y, new Uint16Array(capacity));
    this.polarity = grown(this.polarity, new Uint8Array(capacity));
    this.capacity = capacity;
  }
}

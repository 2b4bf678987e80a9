import type { EventGrid } from '../../engine/ops/eventLoops.js';
import type { EventBatch, SensorSize } from '../../ingest/eventBatch.js';
import type { Call, CallDefinition } from '../arguments.js';

/** Extent of a represented clip. */
export interface ClipSize {
  /** Time bins, T. */
  readonly bins: number;
  /** Rows, H; the sensor's rows are scaled to them. */
  readonly height: number;
  /** Columns, W; the sensor's columns are scaled to them. */
  readonly width: number;
}

/** The time that a clip's bins divide evenly. Events outside count for the first or last bin. */
export interface TimeInterval {
  readonly fromUs: number;
  /** `fromUs <= toUs`. An event at `toUs` belongs to the last bin. */
  readonly toUs: number;
}

/** Where a clip's events go: its bins in time, and the row and column for those of the sensor. */
export interface ClipGrid extends EventGrid {
  readonly sensor: SensorSize;
}

/**
 * What values can be:
 * - `binary`: 0 or 1
 * - `count`: whole numbers from 0
 * - `unit`: 0 … 1
 * - `real`: anything
 */
export type ValueRange = 'binary' | 'count' | 'unit' | 'real';

/** A clip's values: numbers as they are, or whole ones up to 255. */
export type ClipValues = Float32Array | Uint8Array;

/**
 * How events become a tensor `[bins, channels, height, width]`. Events are handed over in any number of
 * batches, and the tensor never depends on how they are cut.
 *
 * @typeParam S what is kept between batches; plain data that the caller holds.
 */
export interface RepresentationRule<S = unknown> {
  readonly channels: number;
  readonly values: ValueRange;
  /** Whether a bin depends on its own events alone, so that a stream can be represented bin by bin. */
  readonly binwise: boolean;
  /** Whether `start` takes a Uint8Array as well; values above 255 are then 255. */
  readonly bytes?: boolean;
  /**
   * The state before the first event.
   *
   * @param out the clip's values, row-major, all zero.
   */
  start(grid: ClipGrid, out: Float32Array): S;
  /** Takes in events that lie on the sensor. Changes the state in place, never the batch. */
  add(state: S, events: EventBatch): void;
  /** Brings `out` up to the events so far; more may follow. */
  finish(state: S): void;
}

/** A representation with its arguments' values. */
export interface Representation extends RepresentationRule {
  readonly name: string;
  /** The canonical call, for instance `timeSurface:tauUs=50000,linear=0,polarities=2`. */
  readonly description: string;
}

/** A representation as it is registered. */
export type RepresentationDefinition = CallDefinition<RepresentationRule>;

/** Checks that a representation's rule and arguments fit together. */
export function defineRepresentation<A extends string, S>(
  definition: CallDefinition<RepresentationRule<S>, A>,
): RepresentationDefinition {
  return definition;
}

/** The representation of a parsed call. */
export function createRepresentation({
  description,
  value,
}: Call<RepresentationRule>): Representation {
  return { ...value, name: description.split(':', 1)[0], description };
}

/** Number of values of a clip. */
export function clipLength(
  { channels }: Pick<Representation, 'channels'>,
  { bins, height, width }: ClipSize,
): number {
  return bins * channels * height * width;
}

/** The grid of a clip: sensor pixels are scaled by ⌊x · width / sensor width⌋. */
export function clipGrid(sensor: SensorSize, interval: TimeInterval, size: ClipSize): ClipGrid {
  const { bins, height, width } = size;
  const { fromUs, toUs } = interval;
  const rows = axisBins(sensor.height, height);
  const columns = axisBins(sensor.width, width);
  return { sensor, bins, height, width, fromUs, toUs, rows, columns };
}

/** The bin that each coordinate of a sensor's axis falls into when it is scaled to `to` rows or columns. */
function axisBins(from: number, to: number): Int32Array {
  return Int32Array.from({ length: from }, (_, i) => Math.floor((i * to) / from));
}

/** The time since the interval's start at which a bin ends, µs. */
export function binEndUs({ bins, fromUs, toUs }: EventGrid, bin: number): number {
  return ((toUs - fromUs) * (bin + 1)) / bins;
}

/** A time since the interval's start, µs; 0 before it, its duration after it. */
export function sinceStartUs({ fromUs, toUs }: EventGrid, tUs: number): number {
  return Math.max(0, Math.min(toUs, tUs) - fromUs);
}

/** For arguments that say yes or no. */
export const yesOrNo = { minimum: 0, maximum: 1, integer: true } as const;

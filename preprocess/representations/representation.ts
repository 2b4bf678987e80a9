import type { EventBatch } from '../../ingest/eventBatch.js';

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

/**
 * Turns events into a dense tensor `[bins, channels, height, width]`. Events are handed over in any number
 * of batches, and the tensor never depends on how they are cut.
 */
export interface Representation {
  readonly name: string;
  readonly channels: number;
  /** How values are stored outside a model. */
  readonly dtype: 'float32' | 'uint8';
  /** Whether a bin depends on its own events alone, so that a stream can be represented bin by bin. */
  readonly binwise: boolean;
  /**
   * Adds events to a clip.
   *
   * @param out values of the clip, row-major; zeros before the first batch.
   */
  accumulate(out: Float32Array, events: EventBatch, interval: TimeInterval, size: ClipSize): void;
}

/** Number of values of a clip. */
export function clipLength(
  { channels }: Representation,
  { bins, height, width }: ClipSize,
): number {
  return bins * channels * height * width;
}

/** The bin that each coordinate of a sensor's axis falls into when it is scaled to `to` rows or columns. */
export function axisBins(from: number, to: number): Uint32Array {
  return Uint32Array.from({ length: from }, (_, i) => Math.floor((i * to) / from));
}

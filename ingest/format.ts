import { SaccadeError } from '../engine/support/errors.js';
import type { EventBatch, SensorSize } from './eventBatch.js';

/** What a decoder could not use, filled in while it runs. Nothing is dropped without a trace here. */
export interface DecodeReport {
  /** Damaged places, each with its byte offset; at most `maxDamages` are kept, all are counted. */
  readonly damages: { readonly offset: number; readonly message: string }[];
  damageCount: number;
  /** Well-formed records that are not events (`imu`, `trigger`, …) or lie `outsideSensor`, counted by name. */
  readonly skipped: Record<string, number>;
}

export const maxDamages = 100;

export function createReport(): DecodeReport {
  return { damages: [], damageCount: 0, skipped: {} };
}

export function reportDamage(report: DecodeReport, offset: number, message: string): void {
  report.damageCount++;
  if (report.damages.length < maxDamages) report.damages.push({ offset, message });
}

export function countSkipped(report: DecodeReport, what: string, count = 1): void {
  if (count > 0) report.skipped[what] = (report.skipped[what] ?? 0) + count;
}

/** Where the events are in a container that holds several things, or holds them in a layout of its own. */
export interface LayoutOptions {
  /** Topic (bag, MCAP, db3), group or dataset (HDF5), variable (MAT) or array (npz) that holds the events. */
  readonly path?: string;
  /** Paths or names of single columns, where they are not the usual ones. */
  readonly columns?: Readonly<Partial<Record<'t' | 'x' | 'y' | 'p', string>>>;
  /** µs per unit of the stored times, where neither a name nor the number type tells (seconds: 1e6). */
  readonly usPerUnit?: number;
}

/** A place in a recording where decoding can go on without what is in front of it. */
export interface DecodeMark {
  /** Byte offset in the file. */
  readonly offset: number;
  /** What the decoder has to know there; only its own format understands it. */
  readonly state: readonly number[];
}

export interface DecodeOptions {
  /** For error messages. */
  readonly file: string;
  /** Used where the bytes do not say it; a size in the file's own header wins. */
  readonly sensor?: SensorSize;
  /** Events per batch (default 65,536). The events do not depend on it. */
  readonly batchLength?: number;
  /** For containers; formats with one fixed layout do not look at it. */
  readonly layout?: LayoutOptions;
  readonly signal?: AbortSignal;
  readonly report: DecodeReport;
  /** Whether to hand out the events at hand, in shorter batches, instead of waiting for more bytes. */
  readonly live?: boolean;
  /** Whether each batch is done with when the next one is asked for, so that its memory can be used again. */
  readonly reuse?: boolean;
  /** Whether compiled loops may be used where they are built (default yes). The events do not depend on it. */
  readonly compiled?: boolean;
  /**
   * Times that are asked for, µs: a container with a time index of its own may leave out events outside them. Others give
   * all events, so what comes still has to be filtered.
   */
  readonly wanted?: { readonly fromUs: number; readonly toUs: number };
  /** Called in front of each batch by decoders that can go on there later. */
  readonly onMark?: (mark: DecodeMark) => void;
  /** Where to go on behind the header; the bytes must be a `ByteSource` with `from`. */
  readonly resume?: DecodeMark;
}

export interface EncodeOptions {
  readonly file: string;
  readonly sensor: SensorSize;
  /** Whether to hand out the bytes of each batch at once, instead of waiting for more. */
  readonly live?: boolean;
  /** Whether each chunk is done with when the next one is asked for, so that its memory can be used again. */
  readonly reuse?: boolean;
  /** Whether compiled loops may be used where they are built (default yes). The bytes do not depend on it. */
  readonly compiled?: boolean;
  /** How to compress, for formats that can (AEDAT 4.0); the others do not look at it. Default: plain. */
  readonly compression?: WrittenCompression;
  /** The messages of ROS bags: `dvs_msgs/EventArray` (default) or `event_camera_msgs/EventPacket`. */
  readonly rosMessage?: RosMessageType;
  /** One of the format's `variants`; its usual layout where not given. */
  readonly variant?: string;
  /**
   * Called behind the last chunk where the first bytes should be others by then, of the same length (with the place
   * of a table behind the events, for instance). Without it, the table is left out.
   */
  readonly rewriteHead?: (head: Uint8Array) => void;
  readonly signal?: AbortSignal;
}

export const rosMessageTypes = ['EventArray', 'EventPacket'] as const;
export type RosMessageType = (typeof rosMessageTypes)[number];

export const writtenCompressions = ['none', 'lz4', 'zstd'] as const;
export type WrittenCompression = (typeof writtenCompressions)[number];

/** Throws a `SaccadeError` (`usage`) where the format has no such variant to write. */
export function checkVariant(
  { name, variants = [] }: Pick<EventFormat, 'name' | 'variants'>,
  variant: string | undefined,
): void {
  if (variant === undefined || variants.includes(variant)) return;
  const known = variants.length > 0 ? `has only ${variants.join(', ')}` : 'has no variants';
  throw new SaccadeError('usage', `variant "${variant}": ${name} ${known}`);
}

/** What `detect` may look at. */
export interface DetectInput {
  /** The first bytes (up to 64 KiB, fewer where the file is shorter). */
  readonly head: Uint8Array;
  /** Size of the whole file where known. */
  readonly fileSize?: number;
  /** Lower-case file extension without the dot; breaks ties between formats without a magic number. */
  readonly extension?: string;
}

/**
 * One file format. `decode` and `encode` are pure stream transforms: the events never depend on how
 * the bytes are cut into chunks, and memory does not grow with the length of the stream.
 */
export interface EventFormat {
  /** Name on the command line, e.g. `evt2`. */
  readonly name: string;
  readonly title: string;
  /** Extensions without the dot; the first is the usual one. Used to choose a format for writing. */
  readonly extensions: readonly string[];
  /** Whether the bytes usually hold the sensor size. Otherwise it comes from `DecodeOptions.sensor`. */
  readonly holdsSensorSize: boolean;
  /** Names of other layouts of the format that `encode` can write (`EncodeOptions.variant`). */
  readonly variants?: readonly string[];
  /** Whether the bytes say how many events there are: no stream of them goes on for ever. */
  readonly finite?: boolean;
  /** Sensor sizes common for this format, smallest first: the first that holds all events is inferred. */
  readonly usualSensors: readonly SensorSize[];
  /** Confidence 0 … 1 that the bytes are of this format: 1 for a magic number, below 0.5 for a guess. */
  detect(input: DetectInput): number;
  /** The sensor size that the first bytes (as in `DetectInput.head`) state; undefined where they do not. */
  sensorOf?(head: Uint8Array): SensorSize | undefined;
  /**
   * Bytes to events. Throws a `SaccadeError` where the head is not of this format; later damage is
   * reported and passed over. Without a sensor size from either side, batches carry `limits`.
   */
  decode(bytes: AsyncIterable<Uint8Array>, options: DecodeOptions): AsyncIterable<EventBatch>;
  /**
   * The same from a file, for containers whose parts must be read out of order (HDF5, SQLite, ZIP): only
   * the parts that are needed are read. `decode` of such a format keeps the stream in a temporary file.
   */
  decodeFile?(path: string, options: DecodeOptions): AsyncIterable<EventBatch>;
  /** Events to bytes. Throws a `SaccadeError` that names the first event the format cannot hold. */
  encode(batches: AsyncIterable<EventBatch>, options: EncodeOptions): AsyncIterable<Uint8Array>;
  /** The largest sensor that the format's coordinates can address. */
  readonly limits: SensorSize;
}

import { eventLoops } from '../engine/native/eventLoops.js';
import { SaccadeError } from '../engine/support/errors.js';
import { ByteReader, ByteWriter, throwIfAborted } from './bytes.js';
import {
  BatchBuilder,
  defaultBatchLength,
  type EventBatch,
  type SensorSize,
} from './eventBatch.js';
import { type DecodeMark, type DecodeOptions, type EncodeOptions, reportDamage } from './format.js';

/** The part of a decoder that each format writes itself: bytes at hand to events, without waiting. */
export interface BlockDecoder {
  readonly sensor: SensorSize;
  /**
   * Decodes whole records from `input.position` on and moves it behind the last one used. Stops where
   * the next record is not all at hand (`input.end`), or where `events` holds `full` events.
   * With `input.atEnd`, nothing will come behind.
   */
  decode(input: ByteReader, events: BatchBuilder, full: number): void;
  /** Called once behind the last record, to report what is missing. */
  finish?(input: ByteReader): void;
  /** The place and state to go on from, asked for between two calls of `decode`. */
  mark?(input: ByteReader): DecodeMark;
  /** Takes over the state of a mark; the input goes on at its offset. */
  resume?(state: readonly number[]): void;
}

/**
 * Runs a block decoder over a byte stream. Every batch but the last has `options.batchLength` events.
 *
 * @param open reads the header and makes the decoder; throws a `SaccadeError` where it is not of the format.
 */
export async function* decodeEvents(
  bytes: AsyncIterable<Uint8Array>,
  options: DecodeOptions,
  open: (input: ByteReader) => BlockDecoder | Promise<BlockDecoder>,
): AsyncGenerator<EventBatch> {
  const input = new ByteReader(bytes, options.file, options.signal);
  try {
    if (!(await input.fill())) {
      throw new SaccadeError('input', 'empty, expected an event recording', { file: options.file });
    }
    const decoder = await open(input);
    const batchLength = Math.max(1, options.batchLength ?? defaultBatchLength);
    const events = new BatchBuilder(decoder.sensor, batchLength, options.reuse);
    if (options.resume !== undefined) {
      await input.seek(options.resume.offset);
      decoder.resume?.(options.resume.state);
    }
    const { onMark } = options;
    const mark = (): void => {
      if (onMark !== undefined && decoder.mark !== undefined) onMark(decoder.mark(input));
    };
    mark();
    for (;;) {
      decoder.decode(input, events, batchLength);
      if (events.length >= batchLength) {
        yield events.take();
        mark();
      } else if (input.atEnd) {
        break;
      } else {
        // Who looks at a live source shall not wait for a batch to fill up.
        if (options.live === true && events.length > 0) yield events.take();
        await input.fill();
      }
    }
    if (input.available > 0) {
      const message = `ends inside a record (${input.available} bytes of it are there)`;
      reportDamage(options.report, input.offset, message);
    }
    decoder.finish?.(input);
    if (events.length > 0) yield events.take();
  } finally {
    await input.close();
  }
}

/** The part of an encoder that each format writes itself. */
export interface EventEncoder {
  /** Writes the header. */
  begin(output: ByteWriter): void;
  /** Writes one event, or returns why the format cannot hold it. */
  write(
    output: ByteWriter,
    tUs: number,
    x: number,
    y: number,
    polarity: number,
  ): string | undefined;
  /**
   * The fast way, for formats that have one: writes the events `start` to `end - 1` exactly as `write` would, and
   * may stop at one that is out of the ordinary, which then goes through `write`.
   *
   * @returns the index of the first event that was not written.
   */
  writeRun?(output: ByteWriter, batch: EventBatch, start: number, end: number): number;
  /** Called once behind the last event. */
  end?(output: ByteWriter, events: number): void;
}

/** Events that are written at a time, so that the output stays small. */
const runLength = 2_048;

/** Runs an event encoder over batches. Throws a `SaccadeError` that names the first event it cannot hold. */
export async function* encodeEvents(
  batches: AsyncIterable<EventBatch>,
  options: EncodeOptions,
  encoder: EventEncoder,
): AsyncGenerator<Uint8Array> {
  const { width, height } = options.sensor;
  const output = new ByteWriter(options.reuse);
  let written = 0;
  encoder.begin(output);
  // The events begin a chunk of their own, so that encoders can write aligned words.
  if (output.length > 0) yield output.take();
  for await (const batch of batches) {
    throwIfAborted(options.signal, options.file);
    const { length, tUs, x, y, polarity } = batch;
    const plain = encoder.writeRun === undefined ? 0 : plainEnd(batch, options.sensor);
    for (let i = 0; i < length;) {
      if (encoder.writeRun !== undefined && i < plain) {
        const end = Math.min(plain, i + runLength);
        i = encoder.writeRun(output, batch, i, end);
        if (output.full) yield output.take();
        if (i === end) continue;
      }
      const problem =
        x[i] >= width || y[i] >= height
          ? `it lies outside the sensor of ${width}x${height}`
          : Number.isSafeInteger(tUs[i])
            ? encoder.write(output, tUs[i], x[i], y[i], polarity[i] === 0 ? 0 : 1)
            : 'its time is not a whole number of µs';
      if (problem !== undefined) {
        const event = `event ${written + i} (t ${tUs[i]} µs, x ${x[i]}, y ${y[i]})`;
        throw new SaccadeError('input', `cannot write ${event}: ${problem}`, {
          file: options.file,
        });
      }
      if (output.full) yield output.take();
      i++;
    }
    written += length;
    if (options.live === true && output.length > 0) yield output.take();
  }
  encoder.end?.(output, written);
  if (output.length > 0) yield output.take();
}

/** Index of the first event that is outside the sensor or has no whole time; the length where there is none. */
function plainEnd(batch: EventBatch, { width, height }: SensorSize): number {
  const { length, tUs, x, y } = batch;
  if (eventLoops().whole(batch, width, height)) return length;
  const most = Number.MAX_SAFE_INTEGER;
  for (let i = 0; i < length; i++) {
    const t = tUs[i];
    if (x[i] >= width || y[i] >= height || !(t === Math.floor(t) && t <= most && t >= -most)) {
      return i;
    }
  }
  return length;
}

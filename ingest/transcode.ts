import { SaccadeError } from '../engine/support/errors.js';
import { ByteReader, ByteWriter, throwIfAborted } from './bytes.js';
import {
  BatchBuilder,
  defaultBatchLength,
  type EventBatch,
  type SensorSize,
} from './eventBatch.js';
import { type DecodeOptions, type EncodeOptions, reportDamage } from './format.js';

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
    const events = new BatchBuilder(decoder.sensor, batchLength);
    for (;;) {
      decoder.decode(input, events, batchLength);
      if (events.length >= batchLength) yield events.take();
      else if (input.atEnd) break;
      else await input.fill();
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
  /** Called once behind the last event. */
  end?(output: ByteWriter, events: number): void;
}

/** Runs an event encoder over batches. Throws a `SaccadeError` that names the first event it cannot hold. */
export async function* encodeEvents(
  batches: AsyncIterable<EventBatch>,
  options: EncodeOptions,
  encoder: EventEncoder,
): AsyncGenerator<Uint8Array> {
  const { width, height } = options.sensor;
  const output = new ByteWriter();
  let written = 0;
  encoder.begin(output);
  for await (const batch of batches) {
    throwIfAborted(options.signal, options.file);
    const { length, tUs, x, y, polarity } = batch;
    for (let i = 0; i < length; i++) {
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
    }
    written += length;
  }
  encoder.end?.(output, written);
  if (output.length > 0) yield output.take();
}

import { SaccadeError } from '../engine/support/errors.js';
import { throwIfAborted } from './bytes.js';
import { BatchBuilder, defaultBatchLength, type EventBatch, sliceBatch } from './eventBatch.js';
import type { EncodeOptions } from './format.js';

/** The same events in batches of `length` each; only the last one may be shorter. */
export async function* rebatch(
  batches: AsyncIterable<EventBatch>,
  length: number = defaultBatchLength,
): AsyncGenerator<EventBatch> {
  const wanted = Math.max(1, length);
  let rest: BatchBuilder | undefined;
  for await (const batch of batches) {
    let start = 0;
    while (start < batch.length) {
      const missing = wanted - (rest?.length ?? 0);
      const part = sliceBatch(batch, start, Math.min(batch.length, start + missing));
      start += part.length;
      if (part.length === wanted) {
        yield part;
        continue;
      }
      rest ??= new BatchBuilder(batch.sensor, Math.min(wanted, defaultBatchLength));
      rest.append(part);
      if (rest.length === wanted) yield rest.take();
    }
  }
  if (rest !== undefined && rest.length > 0) yield rest.take();
}

/**
 * Passes on batches whose events all lie in the sensor and have whole µs.
 *
 * @param whyNot says what else a format cannot hold of an event.
 * @throws SaccadeError (`input`) that names the first event which cannot be written.
 */
export async function* checkEvents(
  batches: AsyncIterable<EventBatch>,
  options: EncodeOptions,
  whyNot: (tUs: number) => string | undefined = () => undefined,
): AsyncGenerator<EventBatch> {
  const { width, height } = options.sensor;
  let written = 0;
  for await (const batch of batches) {
    throwIfAborted(options.signal, options.file);
    const { length, tUs, x, y } = batch;
    for (let i = 0; i < length; i++) {
      const problem =
        x[i] >= width || y[i] >= height
          ? `it lies outside the sensor of ${width}x${height}`
          : Number.isSafeInteger(tUs[i])
            ? whyNot(tUs[i])
            : 'its time is not a whole number of µs';
      if (problem === undefined) continue;
      const event = `event ${written + i} (t ${tUs[i]} µs, x ${x[i]}, y ${y[i]})`;
      throw new SaccadeError('input', `cannot write ${event}: ${problem}`, { file: options.file });
    }
    written += length;
    yield batch;
  }
}

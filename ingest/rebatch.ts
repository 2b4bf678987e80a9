import { SaccadeError } from '../engine/support/errors.js';
import { throwIfAborted } from './bytes.js';
import { BatchBuilder, defaultBatchLength, type EventBatch, sliceBatch } from './eventBatch.js';
import type { DecodeMark, DecodeOptions, EncodeOptions } from './format.js';

/** A batch, and the place in its container from which decoding gives it again. */
export interface MarkedBatch {
  readonly batch: EventBatch;
  /** Absent in containers that can only be read from their start on. */
  readonly mark?: DecodeMark;
}

/**
 * `rebatch` for the decoders of containers, with marks in front of the batches. A mark is that of the part in which the
 * batch begins; the last number of its state says how many events of that part are in front of the batch.
 *
 * @param parts from the beginning on, or from the place of `options.resume`.
 */
export function rebatchMarked(
  parts: AsyncIterable<MarkedBatch>,
  { batchLength, onMark, resume }: DecodeOptions,
): AsyncGenerator<EventBatch> {
  let mark: DecodeMark | undefined;
  /** Events of this part that are passed over: those in front of the place to go on from. */
  let passed = resume?.state.at(-1) ?? 0;
  async function* batches(): AsyncGenerator<EventBatch> {
    for await (const part of parts) {
      mark = part.mark;
      yield sliceBatch(part.batch, Math.min(passed, part.batch.length), part.batch.length);
      passed = 0;
    }
  }
  return rebatch(batches(), batchLength, (start) => {
    if (mark !== undefined) {
      onMark?.({ offset: mark.offset, state: [...mark.state, passed + start] });
    }
  });
}

/** The mark as the container's decoder made it, without the number that `rebatchMarked` put behind. */
export function markOfPart(resume: DecodeMark | undefined): DecodeMark | undefined {
  return resume && { offset: resume.offset, state: resume.state.slice(0, -1) };
}

/**
 * The same events in batches of `length` each; only the last one may be shorter.
 *
 * @param onBegin called in front of each new batch, with the index of its first event in the batch that was given.
 */
export async function* rebatch(
  batches: AsyncIterable<EventBatch>,
  length: number = defaultBatchLength,
  onBegin?: (start: number) => void,
): AsyncGenerator<EventBatch> {
  const wanted = Math.max(1, length);
  let rest: BatchBuilder | undefined;
  for await (const batch of batches) {
    let start = 0;
    while (start < batch.length) {
      const held = rest?.length ?? 0;
      if (held === 0) onBegin?.(start);
      const missing = wanted - held;
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

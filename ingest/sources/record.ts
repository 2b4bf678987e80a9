import type { EventBatch } from '../eventBatch.js';
import { writeRecording, type WriteOptions } from '../recording.js';
import { BoundedQueue } from './boundedQueue.js';

/**
 * Passes events on and writes them to a file on the way. The file is finished when the source ends or
 * fails, or the consumer stops: what came until then is kept.
 *
 * @throws SaccadeError as `writeRecording` does, where the file cannot be written.
 */
export async function* record(
  batches: AsyncIterable<EventBatch>,
  path: string,
  { sensor, format }: WriteOptions,
): AsyncGenerator<EventBatch> {
  const queue = new BoundedQueue<EventBatch>({
    limit: 1,
    policy: 'wait',
    sizeOf: () => 1,
    onDrop: () => undefined,
  });
  const written = writeRecording(path, queue, { sensor, format });
  // Its error is thrown below, when it is waited for.
  written.catch(() => queue.end());
  try {
    for await (const batch of batches) {
      await queue.push(batch);
      yield batch;
    }
  } finally {
    queue.end();
    await written;
  }
}

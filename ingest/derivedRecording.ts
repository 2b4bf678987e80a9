import type { EventBatch } from './eventBatch.js';
import type { ReadOptions, Recording } from './recording.js';

/** The same recording with other batches: a part of it, or the same ones at another pace. */
export function deriveRecording(
  recording: Recording,
  batches: (options: ReadOptions) => AsyncIterable<EventBatch>,
): Recording {
  const { path, format, sensor, sensorFrom } = recording;
  return {
    path,
    format,
    sensor,
    sensorFrom,
    get report() {
      return recording.report;
    },
    get backwardSteps() {
      return recording.backwardSteps;
    },
    batches: (options = {}) => batches(options),
  };
}

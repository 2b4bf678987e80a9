import type { EventBatch, SensorSize } from '../ingest/eventBatch.js';
import { formatByExtension, formatByName } from '../ingest/formats/index.js';
import { openRecording, writeRecording } from '../ingest/recording.js';
import { filterStream, parseFilter, sensorAfterFilters } from '../preprocess/filters/index.js';
import type { JobContext } from './job.js';

export interface ConvertJob {
  readonly from: string;
  /** File to write; it appears whole or not at all. */
  readonly to: string;
  /** First time to keep, and first not to keep any more, µs in the recording's own time. */
  readonly fromUs?: number;
  readonly toUs?: number;
  /** Filters in order, `name:arguments`. */
  readonly filters?: readonly string[];
  /** Format of `to` (by its extension where not given), and of `from` (told from its content). */
  readonly format?: string;
  readonly inFormat?: string;
  readonly sensor?: SensorSize;
}

export interface ConvertOutcome {
  readonly from: string;
  readonly to: string;
  readonly events: { readonly read: number; readonly written: number };
  readonly bytes: number;
  readonly backwardSteps: number;
  readonly damageCount: number;
}

/**
 * Writes a recording in another format, with bounded memory. Run twice, it writes the same file.
 *
 * @throws SaccadeError as `openRecording` and `writeRecording` do.
 */
export async function convertJob(
  { from, to, fromUs, toUs, filters = [], format, inFormat, sensor: given }: ConvertJob,
  { signal, onProgress }: JobContext = {},
): Promise<ConvertOutcome> {
  const parsed = filters.map((text) => parseFilter(text));
  const target = format === undefined ? formatByExtension(to) : formatByName(format);
  const recording = await openRecording(from, { format: inFormat, sensor: given, signal });
  let read = 0;
  async function* counted(): AsyncGenerator<EventBatch> {
    for await (const batch of recording.batches({ fromUs, toUs, signal })) {
      read += batch.length;
      onProgress?.({ phase: 'convert', done: read, total: 0 });
      yield batch;
    }
  }
  const sensor = sensorAfterFilters(parsed, recording.sensor);
  const events = parsed.length === 0 ? counted() : filterStream(counted(), parsed);
  const written = await writeRecording(to, events, { sensor, format: target.name, signal });
  return {
    from,
    to,
    events: { read, written: written.events },
    bytes: written.bytes,
    backwardSteps: recording.backwardSteps,
    damageCount: recording.report.damageCount,
  };
}

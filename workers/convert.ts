import type { EventBatch, SensorSize } from '../ingest/eventBatch.js';
import { formatByExtension, formatByName } from '../ingest/formats/index.js';
import {
  openRecording,
  type ReadOptions,
  type Recording,
  writeRecording,
} from '../ingest/recording.js';
import {
  type EventFilter,
  filterStream,
  parseFilter,
  sensorAfterFilters,
} from '../preprocess/filters/index.js';
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
  let done = 0;
  const { bytes, ...events } = await convertEvents(recording, {
    fromUs,
    toUs,
    filters: parsed,
    signal,
    onRead: (count) => onProgress?.({ phase: 'convert', done: (done += count), total: 0 }),
    write: (batches, sensor) =>
      writeRecording(to, batches, { sensor, format: target.name, signal }),
  });
  return {
    from,
    to,
    events,
    bytes,
    backwardSteps: recording.backwardSteps,
    damageCount: recording.report.damageCount,
  };
}

export interface ConvertEvents {
  readonly fromUs?: number;
  readonly toUs?: number;
  readonly order?: ReadOptions['order'];
  readonly filters?: readonly EventFilter[];
  readonly signal?: AbortSignal;
  /** Called with the number of events of each batch, before filters. */
  readonly onRead?: (events: number) => void;
  /** Takes the events to wherever they go; a batch is done with when the next one comes. */
  write(
    events: AsyncIterable<EventBatch>,
    sensor: SensorSize,
  ): Promise<{ readonly events: number; readonly bytes: number }>;
}

/** Cuts and filters the events of a recording or a live source, with bounded memory, and has them written. */
export async function convertEvents(
  recording: Recording,
  { fromUs, toUs, order, filters = [], signal, onRead, write }: ConvertEvents,
): Promise<{ readonly read: number; readonly written: number; readonly bytes: number }> {
  let read = 0;
  async function* counted(): AsyncGenerator<EventBatch> {
    for await (const batch of recording.batches({ fromUs, toUs, order, reuse: true, signal })) {
      read += batch.length;
      onRead?.(batch.length);
      yield batch;
    }
  }
  const events =
    filters.length === 0 ? counted() : filterStream(counted(), filters, { reuse: true });
  const written = await write(events, sensorAfterFilters(filters, recording.sensor));
  return { read, written: written.events, bytes: written.bytes };
}

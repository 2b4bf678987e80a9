import { deriveRecording } from '../derivedRecording.js';
import type { EventBatch, SensorSize } from '../eventBatch.js';
import { countSkipped, createReport, type DecodeReport, type LayoutOptions } from '../format.js';
import {
  decodeStream,
  type StreamOptions,
  type OpenOptions,
  openRecording,
  type Recording,
} from '../recording.js';
import { type Address, parseAddress } from './address.js';
import { BoundedQueue } from './boundedQueue.js';
import { connectionBytes, datagramBytes, type NetworkOptions } from './network.js';
import { replay } from './replay.js';

export interface SourceOptions extends NetworkOptions {
  /** Where neither the address nor the bytes state it. */
  readonly sensor?: SensorSize;
  readonly layout?: LayoutOptions;
  /** Of files: whether to use or make the time index beside it. */
  readonly index?: OpenOptions['index'];
  /** Default: that of the process. */
  readonly stdin?: AsyncIterable<Uint8Array>;
}

/**
 * Opens a source of events by its address (text as `parseAddress` takes it, or taken apart): a file, standard input, TCP, UDP or
 * WebSocket. It is read like a recording; a live one once, and its batches are as short as they come.
 *
 * Where the consumer is slower than the source, TCP, WebSockets and pipes make the other side wait, unless `drop` says
 * which events go; UDP cannot wait. What is dropped is counted in `report.skipped`: `droppedEvents`,
 * `droppedDatagrams`. With `speed`, files are replayed at that pace.
 *
 * @throws SaccadeError (`usage`) for a wrong address, (`input`) for bytes of another format, or without a
 *   sensor size, (`environment`) where there is no connection, (`interrupted`) when the signal fires.
 */
export async function openSource(
  source: string | Address,
  options: SourceOptions = {},
): Promise<Recording> {
  const address = typeof source === 'string' ? parseAddress(source) : source;
  const sensor = address.sensor ?? options.sensor;
  const recording = await openAddress(address, { ...options, sensor });
  const { uri, speed, drop, queue } = address;
  const paced =
    speed === undefined
      ? recording
      : deriveRecording(recording, (read) =>
          replay(recording.batches(read), { speed, signal: read.signal, file: uri }),
        );
  if (drop === 'wait') return paced;
  return deriveRecording(paced, (read) =>
    // Batches wait in the queue, so their memory cannot be used again.
    dropping(paced, paced.batches({ ...read, reuse: false }), drop, queue),
  );
}

async function openAddress(address: Address, options: SourceOptions): Promise<Recording> {
  const { uri, scheme, format, path } = address;
  const { sensor, layout, index, signal, stdin = process.stdin } = options;
  if (scheme === 'file') {
    return openRecording(path, { format: format?.name, sensor, layout, index, signal });
  }
  // Datagrams may be dropped before the sensor size is known.
  const opened: { recording?: Recording } = {};
  const early = createReport();
  const reportOf = (): DecodeReport => opened.recording?.report ?? early;
  const bytes =
    scheme === 'stdio'
      ? (stdin as AsyncIterable<Uint8Array>)
      : scheme === 'udp'
        ? datagramBytes(address, options, reportOf)
        : connectionBytes(address, options);
  const recording = await decodeWire(address, bytes, {
    file: scheme === 'stdio' ? 'standard input' : uri,
    sensor,
    layout,
    signal,
  });
  opened.recording = recording;
  return recording;
}

/**
 * Events that come as bytes by a connection, in the wire format that an address names. Read once.
 *
 * @throws SaccadeError as `decodeStream` does.
 */
export function decodeWire(
  { format, prefix }: Pick<Address, 'format' | 'prefix'>,
  bytes: AsyncIterable<Uint8Array>,
  options: Omit<StreamOptions, 'format' | 'live'>,
): Promise<Recording> {
  const whole = prefix === undefined ? bytes : inFront(prefix, bytes);
  return decodeStream(whole, { ...options, format, live: format !== undefined });
}

async function* inFront(
  prefix: Uint8Array,
  bytes: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  yield prefix;
  yield* bytes;
}

/** Reads the source at its own pace, and keeps up to `limit` events for a slower consumer. */
async function* dropping(
  recording: Recording,
  batches: AsyncIterable<EventBatch>,
  policy: 'oldest' | 'newest',
  limit: number,
): AsyncGenerator<EventBatch> {
  const queue = new BoundedQueue<EventBatch>({
    limit,
    policy,
    sizeOf: (batch) => batch.length,
    onDrop: (batch) => countSkipped(recording.report, 'droppedEvents', batch.length),
  });
  const iterator = batches[Symbol.asyncIterator]();
  const pump = async (): Promise<void> => {
    for (let next = await iterator.next(); !next.done; next = await iterator.next()) {
      await queue.push(next.value);
    }
  };
  pump().then(
    () => queue.end(),
    (error: unknown) => queue.end(error),
  );
  try {
    yield* queue;
  } finally {
    // It may wait for bytes that never come: do not wait for it.
    void iterator.return?.()?.catch(() => undefined);
  }
}

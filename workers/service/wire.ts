import { SaccadeError } from '../../engine/support/errors.js';
import type { SensorSize } from '../../ingest/eventBatch.js';
import type { Recording } from '../../ingest/recording.js';
import {
  type Address,
  BoundedQueue,
  decodeWire,
  parseAddress,
  withOptions,
} from '../../ingest/sources/index.js';
import type { EventSource } from './session.js';

/** Formats that a service takes: those whose decoders hold little, whatever the bytes say. */
export const serviceFormats = [
  'es',
  'dat',
  'evt2',
  'evt21',
  'evt3',
  'aedat2',
  'csv',
  'spif',
  'dv',
] as const;

/** What the bytes of a connection are. */
export type Wire = Pick<Address, 'format' | 'prefix' | 'sensor'>;

/**
 * @param sensor `WIDTHxHEIGHT`, where the stream does not state it.
 * @throws SaccadeError of kind `usage` that names what is wrong.
 */
export function parseWire(format = 'es', sensor?: string): Wire {
  if (!(serviceFormats as readonly string[]).includes(format)) {
    throw new SaccadeError('usage', `expected one of ${serviceFormats.join(', ')}`, {
      field: 'format',
    });
  }
  return parseAddress(withOptions('tcp://127.0.0.1:0', { format, sensor }));
}

/** Bytes on their way from a connection to a decoder: whoever adds them waits while there are too many. */
export function byteQueue(limit: number): BoundedQueue<Uint8Array> {
  return new BoundedQueue({
    limit,
    policy: 'wait',
    sizeOf: ({ length }) => length,
    onDrop: () => undefined,
    join: (chunks) => Buffer.concat(chunks),
  });
}

export interface WireSourceOptions {
  readonly kind: EventSource['kind'];
  readonly from: string;
  readonly waits: boolean;
  /** How long the head of the stream may take, ms. */
  readonly patienceMs: number;
  readonly isEnd: () => boolean;
  /** Called when the stream is ended from here. */
  readonly onStop: () => void;
}

/**
 * The events of a connection as the source of a stream. Waits for the head of the bytes, which may state the sensor.
 *
 * @throws SaccadeError of kind `input` where the head is wrong or does not come in time.
 */
export async function openWire(
  wire: Wire,
  bytes: AsyncIterable<Uint8Array>,
  { kind, from, waits, patienceMs, isEnd, onStop }: WireSourceOptions,
): Promise<EventSource> {
  const sensor: SensorSize | undefined = wire.sensor;
  const opened = decodeWire(wire, bytes, { file: from, sensor });
  const recording = await withPatience(opened, patienceMs, from);
  return {
    kind,
    from,
    sensor: recording.sensor,
    get report() {
      return recording.report;
    },
    waits,
    isEnd,
    batches: (signal) => stoppable(recording, signal, onStop),
  };
}

/** The events until the signal fires: whoever waits for bytes then is told by `onStop` that none come. */
async function* stoppable(recording: Recording, signal: AbortSignal, onStop: () => void) {
  signal.addEventListener('abort', onStop, { once: true });
  try {
    yield* recording.batches({ reuse: true });
  } finally {
    signal.removeEventListener('abort', onStop);
  }
}

async function withPatience<T>(work: Promise<T>, patienceMs: number, file: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () =>
        reject(
          new SaccadeError('input', `nothing that is whole in ${patienceMs / 1e3} s`, { file }),
        ),
      patienceMs,
    );
  });
  return Promise.race([work, late]).finally(() => {
    clearTimeout(timer);
    work.catch(() => undefined);
  });
}

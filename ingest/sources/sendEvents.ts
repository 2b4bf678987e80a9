import { once } from 'node:events';
import { SaccadeError } from '../../engine/support/errors.js';
import { throwIfAborted } from '../bytes.js';
import type { EventBatch, SensorSize } from '../eventBatch.js';
import { writeRecording } from '../recording.js';
import { type Address, parseAddress } from './address.js';
import { type NetworkOptions, sendBytes, sendDatagrams } from './network.js';
import { spif } from './spif.js';

export interface SendOptions extends NetworkOptions {
  readonly sensor: SensorSize;
}

/**
 * Sends events to an address (text as `parseAddress` takes it, or taken apart): a file, standard output, TCP, UDP or WebSocket. The bytes of each
 * batch go out at once. Where the other side is slow, this waits, so that nothing is lost; by UDP
 * only SPIF words can be sent, and nobody says whether they arrive.
 *
 * @returns the number of events and of bytes sent.
 * @throws SaccadeError (`usage`) for a wrong address, (`input`) for an event that the format cannot hold,
 *   (`environment`) where there is no connection or it breaks, (`interrupted`) when the signal fires.
 */
export async function sendEvents(
  target: string | Address,
  batches: AsyncIterable<EventBatch>,
  options: SendOptions,
): Promise<{ events: number; bytes: number }> {
  const address = typeof target === 'string' ? parseAddress(target) : target;
  const { uri, scheme, format, prefix, path } = address;
  const { sensor, signal } = options;
  if (scheme === 'file') {
    return writeRecording(path, batches, { sensor, signal, format: format?.name });
  }
  if (format === undefined) {
    throw new SaccadeError('usage', 'expected a format, for instance -?format=es', { file: uri });
  }
  if (scheme === 'udp' && format !== spif) {
    throw new SaccadeError('usage', 'by UDP only format=spif can be sent', { file: uri });
  }
  let events = 0;
  const counted = async function* (): AsyncGenerator<EventBatch> {
    for await (const batch of batches) {
      throwIfAborted(signal, uri);
      events += batch.length;
      yield batch;
    }
  };
  let bytes = 0;
  const countedBytes = async function* (
    chunks: AsyncIterable<Uint8Array>,
  ): AsyncGenerator<Uint8Array> {
    for await (const chunk of chunks) {
      bytes += chunk.length;
      yield chunk;
    }
  };
  const encoded = format.encode(counted(), { file: uri, sensor, signal, live: true });
  const chunks = countedBytes(prefix === undefined ? encoded : without(prefix.length, encoded));
  if (scheme === 'udp') await sendDatagrams(address, chunks);
  else if (scheme === 'stdio') await writeOut(chunks, signal);
  else await sendBytes(address, chunks, options);
  return { events, bytes };
}

/** The bytes behind the first `length` ones. */
async function* without(
  length: number,
  bytes: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  let left = length;
  for await (const chunk of bytes) {
    const rest = chunk.subarray(Math.min(left, chunk.length));
    left -= chunk.length - rest.length;
    if (rest.length > 0) yield rest;
  }
}

async function writeOut(bytes: AsyncIterable<Uint8Array>, signal?: AbortSignal): Promise<void> {
  for await (const chunk of bytes) {
    if (!process.stdout.write(chunk)) await once(process.stdout, 'drain', { signal });
  }
}

import { createSocket } from 'node:dgram';

import { SaccadeError } from '../../engine/support/errors.js';
import type { DecodeReport } from '../../ingest/format.js';
import { BoundedQueue } from '../../ingest/sources/index.js';
import type { ServiceParts } from './parts.js';
import type { Listener } from './tcp.js';
import { openWire } from './wire.js';

interface Sender {
  readonly queue: BoundedQueue<Uint8Array>;
  /** Datagrams that were dropped. */
  dropped: number;
  /** Whether a stream takes what it sends. */
  taken: boolean;
}

/**
 * Takes events by UDP: each sender's address is a stream, which is evicted when nothing comes, and goes on when
 * something does. UDP cannot wait: what comes while a stream has enough waiting is dropped and counted, and so is
 * what comes from new senders where there are too many streams.
 */
export async function listenUdp(
  { host, port, wire }: Listener,
  { streams, metrics, context: { limits } }: ServiceParts,
): Promise<{ port: number; close(): Promise<void> }> {
  const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
  const senders = new Map<string, Sender>();

  const open = (id: string, from: string): Sender => {
    const queue = new BoundedQueue<Uint8Array>({
      limit: limits.inputBytes,
      policy: 'oldest',
      sizeOf: ({ length }) => length,
      onDrop() {
        metrics.drop('datagram', 1);
        sender.dropped++;
      },
    });
    const sender: Sender = { queue, dropped: 0, taken: false };
    const run = async (): Promise<void> => {
      const known = streams.find(id);
      const goesOn = known !== undefined && (known.isOpen || known.state === 'evicted');
      const session = goesOn ? known : await streams.create(id);
      const source = await openWire(wire, queue, {
        kind: 'udp',
        from,
        waits: false,
        patienceMs: limits.patienceMs,
        isEnd: () => false,
        onStop: () => queue.end(),
      });
      sender.taken = true;
      await streams.run(session, {
        ...source,
        get report(): DecodeReport {
          const { report } = source;
          return { ...report, skipped: { ...report.skipped, droppedDatagrams: sender.dropped } };
        },
      });
    };
    run()
      .catch(() => metrics.drop('unknownSender', 1))
      .finally(() => {
        queue.end();
        // A sender who was refused is not asked in again by each datagram.
        setTimeout(() => senders.delete(id), sender.taken ? 0 : 1000).unref();
      });
    return sender;
  };

  socket.on('message', (datagram, { address, port: remote }) => {
    const id = `udp-${address.replace(/[^0-9A-Za-z]/g, '-')}-${remote}`;
    let sender = senders.get(id);
    if (sender === undefined) {
      if (senders.size >= limits.streams) {
        metrics.drop('unknownSender', 1);
        return;
      }
      senders.set(id, (sender = open(id, `${address}:${remote}`)));
    }
    void sender.queue.push(datagram);
  });
  await new Promise<void>((resolve, reject) => {
    socket.once('error', (error) =>
      reject(
        new SaccadeError('environment', error.message, { file: `udp://${host}:${port}` }, error),
      ),
    );
    socket.bind(port, host, resolve);
  });
  socket.on('error', () => undefined);
  return {
    port: socket.address().port,
    async close() {
      for (const { queue } of senders.values()) queue.end();
      await new Promise<void>((resolve) => socket.close(() => resolve()));
    },
  };
}

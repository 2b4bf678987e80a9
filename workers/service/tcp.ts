import { createServer, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';

import { SaccadeError } from '../../engine/support/errors.js';
import type { ServiceParts } from './parts.js';
import { isSameToken } from './security.js';
import { openWire, type Wire } from './wire.js';

/** Where events come in by a bare connection. */
export interface Listener {
  readonly host: string;
  readonly port: number;
  readonly wire: Wire;
}

/** Certificate and key, in PEM. */
export interface Tls {
  readonly cert: string;
  readonly key: string;
}

/** Longest first line that may bring a token. */
const longestLine = 600;
const newline = 10;

/**
 * Takes events by TCP: each connection is a stream, `tcp-1`, `tcp-2`, …, and ends with it. Nothing is read while a stream
 * has enough waiting, so that its sender waits. Where there is a token, the first line must be `TOKEN …`.
 */
export async function listenTcp(
  { host, port, wire }: Listener,
  { streams, context: { limits } }: ServiceParts,
  token: string | undefined,
  tls?: Tls,
): Promise<{ port: number; close(): Promise<void> }> {
  let count = 0;
  const sockets = new Set<Socket>();
  const serve = async (socket: Socket): Promise<void> => {
    let broken = false;
    socket.on('error', () => (broken = true));
    socket.setTimeout(limits.idleMs, () => socket.destroy());
    const from = `${socket.remoteAddress}:${socket.remotePort}`;
    const bytes = chunksOf(socket);
    const rest =
      token === undefined ? [] : [await readToken(bytes, token, limits.patienceMs, socket)];
    const session = await streams.create(`tcp-${++count}`);
    let late: NodeJS.Timeout | undefined;
    socket.on('close', () => {
      // What came is still taken, as long as that does not go on for ever.
      late = setTimeout(() => void session.end('the connection was closed'), limits.patienceMs);
    });
    try {
      const source = await openWire(wire, inFront(rest, bytes), {
        kind: 'tcp',
        from,
        waits: true,
        patienceMs: limits.patienceMs,
        isEnd: () => !broken,
        onStop: () => socket.destroy(),
      });
      await streams.run(session, source);
    } catch (error) {
      await session.end((error as Error).message);
      throw error;
    } finally {
      clearTimeout(late);
      await session.end('the connection broke');
      socket.destroy();
    }
  };
  const take = (socket: Socket): void => {
    // Refused, broken or damaged: of no concern to the others. The stream tells it.
    serve(socket).catch(() => socket.destroy());
  };
  const server =
    tls === undefined
      ? createServer(take)
      : createTlsServer({ ...tls, handshakeTimeout: limits.patienceMs }, take);
  server.maxConnections = limits.connections;
  // Those that have yet to agree on a key, too.
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
  });
  await listening(server, host, port);
  const address = server.address();
  return {
    port: typeof address === 'object' && address !== null ? address.port : port,
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

async function listening(server: Server, host: string, port: number): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) =>
      reject(
        new SaccadeError('environment', error.message, { file: `tcp://${host}:${port}` }, error),
      ),
    );
    server.listen(port, host, resolve);
  });
}

/** What comes, until the other side ends or breaks. */
async function* chunksOf(socket: Socket): AsyncGenerator<Uint8Array> {
  try {
    for await (const chunk of socket) yield chunk as Buffer;
  } catch {
    // Broken: `error` has told it.
  }
}

async function* inFront(
  first: readonly Uint8Array[],
  rest: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  yield* first;
  yield* rest;
}

/**
 * Reads the line with the token.
 *
 * @returns the bytes that came behind it.
 * @throws SaccadeError of kind `input` where it is another line.
 */
async function readToken(
  bytes: AsyncGenerator<Uint8Array>,
  token: string,
  patienceMs: number,
  socket: Socket,
): Promise<Uint8Array> {
  const timer = setTimeout(() => socket.destroy(), patienceMs);
  let head = Buffer.alloc(0);
  try {
    while (!head.includes(newline) && head.length <= longestLine) {
      const next = await bytes.next();
      if (next.done) break;
      head = Buffer.concat([head, next.value]);
    }
  } finally {
    clearTimeout(timer);
  }
  const end = head.indexOf(newline);
  const [, given] = /^TOKEN (\S+)\r?$/.exec(head.toString('latin1', 0, Math.max(0, end))) ?? [];
  if (given !== undefined && isSameToken(given, token)) return head.subarray(end + 1);
  throw new SaccadeError('input', 'expected the line TOKEN … with the token of this service');
}

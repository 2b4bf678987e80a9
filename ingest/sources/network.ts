import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect, createServer, isIP, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { createServer as createHttpServer } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import { connect as connectEncrypted, createServer as createTlsServer } from 'node:tls';
import { createWebSocketStream, WebSocket, WebSocketServer } from 'ws';
import { SaccadeError } from '../../engine/support/errors.js';
import { readTlsFiles } from '../../engine/support/tlsFiles.js';
import { throwIfAborted } from '../bytes.js';
import { countSkipped, type DecodeReport } from '../format.js';
import type { Address } from './address.js';
import { BoundedQueue } from './boundedQueue.js';

export interface NetworkOptions {
  readonly signal?: AbortSignal;
  /** Called with the port once the other side can connect or send. */
  readonly onListening?: (port: number) => void;
}

/** Bytes of datagrams that wait at most. */
const datagramQueueLength = 1 << 26;

function failure(address: Address, error: unknown): SaccadeError {
  if (error instanceof SaccadeError) return error;
  const reason = error instanceof Error ? error.message : String(error);
  return new SaccadeError('environment', reason, { file: address.uri }, error);
}

function portOf(address: string | { readonly port: number } | null): number {
  return address === null || typeof address === 'string' ? 0 : address.port;
}

/** Waits for the other side; stops when the signal fires. */
async function event(
  emitter: NodeJS.EventEmitter,
  name: string,
  signal?: AbortSignal,
): Promise<unknown[]> {
  return (await once(emitter, name, { signal })) as unknown[];
}

/** A connection by TCP or WebSocket, also by TLS. With `listen`, the first one that comes; no second one is taken. */
export async function openConnection(
  address: Address,
  { signal, onListening }: NetworkOptions,
): Promise<Duplex> {
  throwIfAborted(signal, address.uri);
  try {
    return address.scheme === 'tcp' || address.scheme === 'tls'
      ? await openTcp(address, signal, onListening)
      : await openWebSocket(address, signal, onListening);
  } catch (error) {
    throwIfAborted(signal, address.uri);
    throw failure(address, error);
  }
}

async function openTcp(
  { scheme, host, port, listen, tls }: Address,
  signal: AbortSignal | undefined,
  onListening: NetworkOptions['onListening'],
): Promise<Socket> {
  if (!listen) {
    const encrypted = scheme === 'tls';
    // Certificates are for names, not for numbers.
    const socket = encrypted
      ? connectEncrypted({ host, port, servername: isIP(host) === 0 ? host : '' })
      : connect({ host, port });
    await event(socket, encrypted ? 'secureConnect' : 'connect', signal).catch((error: unknown) => {
      socket.destroy();
      throw error;
    });
    return socket;
  }
  // By TLS, those whose handshake fails are sent away and not counted.
  const identity = tls && (await readTlsFiles(tls.cert, tls.key));
  const server = identity === undefined ? createServer() : createTlsServer(identity);
  try {
    const connected = event(
      server,
      identity === undefined ? 'connection' : 'secureConnection',
      signal,
    );
    connected.catch(() => undefined);
    server.listen(port, host);
    await event(server, 'listening', signal);
    onListening?.(portOf(server.address()));
    const [socket] = await connected;
    return socket as Socket;
  } finally {
    server.close();
  }
}

async function openWebSocket(
  { scheme, host, port, path, listen, tls }: Address,
  signal: AbortSignal | undefined,
  onListening: NetworkOptions['onListening'],
): Promise<Duplex> {
  if (!listen) {
    const name = host.includes(':') ? `[${host}]` : host;
    const socket = new WebSocket(`${scheme}://${name}:${port}${path || '/'}`);
    const stream = createWebSocketStream(socket);
    // Until it is open, errors come twice: this one has been heard.
    stream.on('error', () => undefined);
    await event(socket, 'open', signal).catch((error: unknown) => {
      socket.terminate();
      throw error;
    });
    return stream;
  }
  const identity = tls && (await readTlsFiles(tls.cert, tls.key));
  const server = identity === undefined ? createHttpServer() : createHttpsServer(identity);
  const sockets = new WebSocketServer({ server });
  try {
    const connected = event(sockets, 'connection', signal);
    connected.catch(() => undefined);
    server.listen(port, host);
    await event(sockets, 'listening', signal);
    onListening?.(portOf(server.address()));
    const [socket] = await connected;
    return createWebSocketStream(socket as WebSocket);
  } finally {
    sockets.close();
    server.close();
  }
}

/** The bytes that come by a connection, until the other side closes it. */
export async function* connectionBytes(
  address: Address,
  options: NetworkOptions,
): AsyncGenerator<Uint8Array> {
  const connection = await openConnection(address, options);
  try {
    for await (const chunk of connection) yield chunk as Uint8Array;
  } catch (error) {
    throw failure(address, error);
  } finally {
    connection.destroy();
  }
}

/** The bytes of the datagrams that come, until the signal fires. Those that are dropped count as `droppedDatagrams`. */
export async function* datagramBytes(
  address: Address,
  { signal, onListening }: NetworkOptions,
  reportOf: () => DecodeReport,
): AsyncGenerator<Uint8Array> {
  throwIfAborted(signal, address.uri);
  const queue = new BoundedQueue<Uint8Array>({
    limit: datagramQueueLength,
    policy: address.drop,
    sizeOf: (datagram) => datagram.length,
    onDrop: () => countSkipped(reportOf(), 'droppedDatagrams'),
  });
  const socket = createSocket(address.host.includes(':') ? 'udp6' : 'udp4');
  const stop = (): void => queue.end();
  signal?.addEventListener('abort', stop, { once: true });
  try {
    socket.on('message', (datagram) => void queue.push(datagram));
    socket.on('error', (error) => queue.end(failure(address, error)));
    socket.bind(address.port, address.host, () => onListening?.(socket.address().port));
    yield* queue;
    throwIfAborted(signal, address.uri);
  } finally {
    signal?.removeEventListener('abort', stop);
    socket.close();
  }
}

/** Sends bytes by a connection, waiting where the other side is slow, and closes it. */
export async function sendBytes(
  address: Address,
  bytes: AsyncIterable<Uint8Array>,
  options: NetworkOptions,
): Promise<void> {
  const connection = await openConnection(address, options);
  const { signal } = options;
  let broken: unknown;
  connection.on('error', (error) => (broken = error));
  connection.resume(); // What the other side sends is not looked at, but its end must be seen.
  try {
    for await (const chunk of bytes) {
      if (broken !== undefined) throw broken;
      if (!connection.write(chunk)) await event(connection, 'drain', signal);
    }
    connection.end();
    await event(connection, 'finish', signal);
  } catch (error) {
    throwIfAborted(signal, address.uri);
    throw failure(address, error);
  } finally {
    if (!connection.writableFinished) connection.destroy();
  }
}

/** Most bytes of a datagram, as AEStream has it. */
const datagramLength = 512;

/** Sends bytes as datagrams of whole 8-byte records. Nobody says whether they arrive. */
export async function sendDatagrams(
  address: Address,
  bytes: AsyncIterable<Uint8Array>,
): Promise<void> {
  const socket = createSocket(address.host.includes(':') ? 'udp6' : 'udp4');
  try {
    for await (const chunk of bytes) {
      for (let start = 0; start < chunk.length; start += datagramLength) {
        const datagram = chunk.subarray(start, start + datagramLength);
        await new Promise<void>((resolve, reject) =>
          socket.send(datagram, address.port, address.host, (error) =>
            error === null ? resolve() : reject(failure(address, error)),
          ),
        );
      }
    }
  } finally {
    socket.close();
  }
}

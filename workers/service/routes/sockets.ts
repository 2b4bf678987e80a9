import type { FastifyRequest } from 'fastify';
import type { WebSocket } from 'ws';
import { z } from 'zod';

import { describeError, ServiceError } from '../errors.js';
import type { ServiceLimits } from '../limits.js';
import { type EndMessage, errorMessage, type EventsMessage, streamId } from '../messages.js';
import type { ServiceApp, ServiceParts } from '../parts.js';
import type { StreamSession } from '../session.js';
import { byteQueue, openWire, parseWire, serviceFormats } from '../wire.js';

const tags = ['streams'];
const params = z.object({ id: streamId });
const querystring = z.object({
  format: z.enum(serviceFormats).default('es').describe('wire format of the binary messages'),
  sensor: z
    .string()
    .regex(/^\d{1,5}x\d{1,5}$/, 'expected WIDTHxHEIGHT')
    .optional()
    .describe('where the stream does not state it'),
});

/** Reasons for closing, RFC 6455 and of our own. */
const codes = { normal: 1000, unsupported: 1003, policy: 1008, failed: 1011, tryLater: 1013 };

/** How often somebody who must not wait for ever is looked at. */
const lookMs = 20;

type EventsRequest = FastifyRequest<{
  Params: z.infer<typeof params>;
  Querystring: z.infer<typeof querystring>;
}>;
type WatchRequest = FastifyRequest<{ Params: z.infer<typeof params> }>;

/** What a request gets that is none for a WebSocket. */
function upgradeRequired(): never {
  throw new ServiceError('upgrade', 'expected a WebSocket');
}

export function addSocketRoutes(app: ServiceApp, parts: ServiceParts): void {
  app.route({
    method: 'GET',
    url: '/api/streams/:id/events',
    schema: {
      tags,
      summary: 'WebSocket: events come in as binary messages, predictions go out',
      description:
        'Answers are JSON messages `prediction`, one for each bin. The text `end` ends the stream, which is answered ' +
        'with the message `end`; where the connection breaks instead, the stream can be taken up again. A stream of ' +
        'this name is made where there is none.',
      params,
      querystring,
      response: { 426: errorMessage },
    },
    handler: upgradeRequired,
    wsHandler: (socket, request) => void takeEvents(socket, request as EventsRequest, parts),
  });

  app.route({
    method: 'GET',
    url: '/api/streams/:id/watch',
    schema: {
      tags,
      summary: 'WebSocket: JSON messages `bin`, and `end`, of a stream',
      params,
      response: { 426: errorMessage },
    },
    handler: upgradeRequired,
    wsHandler: (socket, request) => watch(socket, (request as WatchRequest).params.id, parts),
  });
}

async function takeEvents(
  socket: WebSocket,
  request: FastifyRequest<{ Params: { id: string }; Querystring: z.infer<typeof querystring> }>,
  { streams, context: { limits } }: ServiceParts,
): Promise<void> {
  const queue = byteQueue(limits.inputBytes);
  const send = (message: EventsMessage): void => socket.send(JSON.stringify(message));
  let ended = false;
  let session: StreamSession | undefined;
  let stopListening: (() => void) | undefined;
  socket.on('message', (data, isBinary) => {
    if (!isBinary) {
      if ((data as Buffer).toString() === 'end') ended = true;
      queue.end(ended ? undefined : new TypeError('expected binary messages, or the text end'));
      return;
    }
    const taken = queue.push(data as Buffer);
    if (!queue.isFull) return;
    // Nothing more is read from the connection until there is room for it.
    socket.pause();
    void taken.then(() => socket.resume());
  });
  let late: NodeJS.Timeout | undefined;
  socket.on('close', () => {
    queue.end();
    // What came is still taken, as long as that does not go on for ever.
    late = setTimeout(() => session?.interrupt(), limits.patienceMs);
  });
  socket.on('error', () => queue.end());
  try {
    const { id } = request.params;
    const { format, sensor } = request.query;
    session = streams.find(id) ?? (await streams.create(id));
    const source = await openWire(parseWire(format, sensor), queue, {
      kind: 'websocket',
      from: request.ip,
      waits: true,
      patienceMs: limits.patienceMs,
      isEnd: () => ended,
      onStop: () => queue.end(),
    });
    stopListening = session.onPrediction({
      tell: send,
      room: async (signal) => {
        if (await answersRead(socket, signal, limits)) return;
        session?.interrupt();
        socket.terminate();
      },
    });
    await streams.run(session, source);
    const report = session.describe();
    send({ type: 'end', state: report.state, report });
    socket.close(codes.normal, report.state);
  } catch (error) {
    const told =
      error instanceof TypeError
        ? { status: 400, body: { error: { kind: 'usage', message: error.message } } }
        : describeError(error);
    send({ type: 'error', ...told.body });
    socket.close(closingCode(told.status), told.body.error.message.slice(0, 100));
  } finally {
    clearTimeout(late);
    stopListening?.();
    queue.end();
  }
}

function closingCode(status: number): number {
  if (status === 503 || status === 429) return codes.tryLater;
  return status >= 500 ? codes.failed : codes.policy;
}

/** Waits while a client leaves too many answers unread; gives false where it does so for too long. */
async function answersRead(
  socket: WebSocket,
  signal: AbortSignal,
  { outputBytes, patienceMs }: ServiceLimits,
): Promise<boolean> {
  const untilMs = performance.now() + patienceMs;
  while (socket.bufferedAmount > outputBytes && socket.readyState === socket.OPEN) {
    if (signal.aborted) return true;
    if (performance.now() > untilMs) return false;
    await new Promise((resolve) => setTimeout(resolve, lookMs));
  }
  return true;
}

function watch(
  socket: WebSocket,
  id: string,
  { streams, context: { limits } }: ServiceParts,
): void {
  let slowSinceMs: number | undefined;
  const end = (message: EndMessage): void => {
    socket.send(JSON.stringify(message));
    socket.close(codes.normal, message.state);
  };
  socket.on('error', () => undefined);
  // Nothing that a watcher sends is of interest.
  socket.on('message', () => socket.close(codes.unsupported, 'a watcher sends nothing'));
  try {
    const session = streams.get(id);
    if (session.state === 'ended' || session.state === 'failed') {
      end({ type: 'end', state: session.state, report: session.describe() });
      return;
    }
    const unwatch = session.watch({
      send(message) {
        if (message.type === 'end') {
          end(message);
          return true;
        }
        if (socket.bufferedAmount > limits.outputBytes) {
          slowSinceMs ??= performance.now();
          if (performance.now() - slowSinceMs > limits.patienceMs) socket.terminate();
          return false;
        }
        slowSinceMs = undefined;
        socket.send(JSON.stringify(message));
        return true;
      },
    });
    socket.on('close', unwatch);
  } catch (error) {
    const { status, body } = describeError(error);
    socket.send(JSON.stringify({ type: 'error', ...body }));
    socket.close(closingCode(status), body.error.message.slice(0, 100));
  }
}

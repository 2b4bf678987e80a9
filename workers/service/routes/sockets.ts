import type { FastifyRequest } from 'fastify';
import type { WebSocket } from 'ws';
import { z } from 'zod';

import { describeError } from '../errors.js';
import type { ServiceLimits } from '../limits.js';
import { type EndMessage, type EventsMessage, streamId } from '../messages.js';
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

export function addSocketRoutes(app: ServiceApp, parts: ServiceParts): void {
  app.get(
    '/api/streams/:id/events',
    {
      websocket: true,
      schema: {
        tags,
        summary:
          'WebSocket: binary messages bring events, JSON answers `prediction` for each bin; the text `end` ends the stream, a broken connection can be taken up again',
        params,
        querystring,
      },
    },
    (
      socket,
      request: FastifyRequest<{ Params: { id: string }; Querystring: z.infer<typeof querystring> }>,
    ) => {
      void takeEvents(socket, request, parts);
    },
  );

  app.get(
    '/api/streams/:id/watch',
    {
      websocket: true,
      schema: { tags, summary: 'WebSocket: JSON messages `bin` and `end` of a stream', params },
    },
    (socket, request: FastifyRequest<{ Params: { id: string } }>) => {
      watch(socket, request.params.id, parts);
    },
  );
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
    // Nothing more is read from the connection until there is room for more, and until answers are read.
    socket.pause();
    queue
      .push(data as Buffer)
      .then(() => readAnswers(socket, limits))
      .then(() => socket.resume())
      .catch(() => socket.terminate());
  });
  socket.on('close', () => queue.end());
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
    stopListening = session.onPrediction(send);
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
    stopListening?.();
    queue.end();
  }
}

function closingCode(status: number): number {
  if (status === 503 || status === 429) return codes.tryLater;
  return status >= 500 ? codes.failed : codes.policy;
}

/** Waits while a client leaves too many answers unread. */
async function readAnswers(socket: WebSocket, limits: ServiceLimits): Promise<void> {
  const untilMs = performance.now() + limits.patienceMs;
  while (socket.bufferedAmount > limits.outputBytes) {
    if (performance.now() > untilMs) throw new Error('answers are not read');
    await new Promise((resolve) => setTimeout(resolve, lookMs));
  }
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

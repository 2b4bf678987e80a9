import { z } from 'zod';

import { ServiceError } from '../errors.js';
import {
  errorMessage,
  newStream,
  newStreamAnswer,
  recordingsMessage,
  streamId,
  streamMessage,
  streamsMessage,
} from '../messages.js';
import type { ServiceApp, ServiceParts } from '../parts.js';
import { listRecordings, openReplay } from '../recordings.js';

const tags = ['streams'];
const params = z.object({ id: streamId });
/** Of a request that brings a snapshot, as base64. */
const snapshotRequestBytes = 50 * 2 ** 20;

export function addStreamRoutes(app: ServiceApp, parts: ServiceParts): void {
  const { streams, replayFolder } = parts;

  app.get(
    '/api/streams',
    { schema: { tags, summary: 'all streams', response: { 200: streamsMessage } } },
    () => ({ streams: streams.list() }),
  );

  app.post(
    '/api/streams',
    {
      bodyLimit: snapshotRequestBytes,
      schema: {
        tags,
        summary:
          'a new stream: a replay, or one whose events come by WebSocket; or one goes on from a snapshot',
        body: newStream,
        response: {
          201: newStreamAnswer,
          400: errorMessage,
          404: errorMessage,
          409: errorMessage,
          429: errorMessage,
        },
      },
    },
    async ({ body: { id, source, options, snapshot } }, reply) => {
      if (source?.kind === 'replay' && replayFolder === undefined) {
        throw new ServiceError('forbidden', 'this service replays nothing; see --replay');
      }
      // Opened first: a stream whose file is not there should not come into being.
      if (source?.kind === 'replay') await openReplay(replayFolder!, source, 0);
      const bytes = snapshot === undefined ? undefined : Buffer.from(snapshot, 'base64');
      const session = await streams.create(id, options, bytes);
      if (source?.kind === 'replay') {
        const replayed = await openReplay(replayFolder!, source, session.eventsTaken);
        // What fails now is told by the stream.
        streams.run(session, replayed).catch(() => undefined);
      }
      return reply.code(201).send({ id: session.id });
    },
  );

  app.get(
    '/api/streams/:id',
    {
      schema: {
        tags,
        summary: 'one stream',
        params,
        response: { 200: streamMessage, 404: errorMessage },
      },
    },
    ({ params: { id } }) => streams.get(id).describe(),
  );

  app.delete(
    '/api/streams/:id',
    {
      schema: {
        tags,
        summary: 'ends a stream',
        params,
        response: { 204: z.null(), 404: errorMessage },
      },
    },
    async ({ params: { id } }, reply) => {
      await streams.delete(id);
      return reply.code(204).send(null);
    },
  );

  app.get(
    '/api/streams/:id/snapshot',
    {
      schema: {
        tags,
        summary: 'the state of a stream (safetensors), from which one can go on',
        params,
        produces: ['application/octet-stream'],
        response: {
          200: z.instanceof(Buffer).describe('binary'),
          404: errorMessage,
          409: errorMessage,
        },
      },
    },
    async ({ params: { id } }, reply) => {
      const bytes = await streams.get(id).snapshot();
      return reply.type('application/octet-stream').send(Buffer.from(bytes));
    },
  );

  app.get(
    '/api/recordings',
    { schema: { tags, summary: 'what can be replayed', response: { 200: recordingsMessage } } },
    async () => {
      if (replayFolder === undefined) return { available: false, recordings: [], truncated: false };
      return { available: true, ...(await listRecordings(replayFolder)) };
    },
  );
}

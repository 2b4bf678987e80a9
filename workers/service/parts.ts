import type {
  FastifyBaseLogger,
  FastifyInstance,
  RawReplyDefaultExpression,
  RawRequestDefaultExpression,
  RawServerDefault,
} from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';

import type { JobClient } from '../queue/client.js';
import type { ServiceMetrics } from './metrics.js';
import type { StreamContext } from './session.js';
import type { Streams } from './streams.js';

export type ServiceApp = FastifyInstance<
  RawServerDefault,
  RawRequestDefaultExpression,
  RawReplyDefaultExpression,
  FastifyBaseLogger,
  ZodTypeProvider
>;

/** The queues that the page shows. */
export interface ServedQueues {
  /** Kind of store. */
  readonly kind: string;
  readonly client: JobClient;
}

/** What routes are made of. */
export interface ServiceParts {
  readonly context: StreamContext;
  readonly streams: Streams;
  readonly metrics: ServiceMetrics;
  /** Folder of recordings that may be replayed. */
  readonly replayFolder: string | undefined;
  /** Folder of run folders. */
  readonly runsFolder: string | undefined;
  readonly queues: ServedQueues | undefined;
  readonly isReady: () => boolean;
  readonly onProblem: (message: string) => void;
}

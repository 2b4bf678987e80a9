import {
  createPostgresBackend,
  createRedisBackend,
  type FlowProducer,
  type IQueueBackend,
  type Job,
  type Queue,
  type Telemetry,
  withBackend,
  type Worker,
  type WorkerOptions,
} from 'bullmq';
import { Redis } from 'ioredis';

import { SaccadeError } from '../../engine/support/errors.js';
import { type EmbeddedPostgres, openEmbeddedPostgres } from './embeddedPostgres.js';
import type { JobEnvelope, PlainObject, QueueName } from './kinds/index.js';

export type QueuedJob = Job<JobEnvelope, PlainObject>;
export type JobQueue = Queue<
  JobEnvelope,
  PlainObject,
  string,
  JobEnvelope,
  PlainObject,
  string,
  IQueueBackend,
  unknown
>;
export type JobWorker = Worker<JobEnvelope, PlainObject, string, IQueueBackend>;
export type Process = (job: QueuedJob, token: string) => Promise<PlainObject>;

export const redisVariable = 'REDIS_URL';
export const databaseVariable = 'DATABASE_URL';

/** Where jobs are kept; BullMQ on any of its stores. */
export interface Datastore {
  readonly kind: 'redis' | 'postgres' | 'embedded';
  /** For people; without secrets. */
  readonly place: string;
  queue(name: QueueName): JobQueue;
  worker(name: QueueName, process: Process, options: Omit<WorkerOptions, 'connection'>): JobWorker;
  flows(): FlowProducer<IQueueBackend, unknown>;
  /** Ends the connections; whatever was made of them must be closed before. */
  close(): Promise<void>;
}

export interface DatastoreOptions {
  /** Reads `REDIS_URL` and `DATABASE_URL`. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Folder of the embedded database; made where missing. */
  readonly folder: string;
  /** Names of keys in Redis begin with it, so that several workspaces can share one (default `saccade`). */
  readonly prefix?: string;
  readonly telemetry?: Telemetry;
  /** Called for errors of connections, which are tried again. */
  readonly onError?: (error: Error) => void;
}

/**
 * Opens the store that the environment names: Redis with `REDIS_URL`, a PostgreSQL server with `DATABASE_URL`,
 * otherwise an embedded PostgreSQL in the workspace, which needs nothing installed.
 *
 * @throws SaccadeError of kind `environment` where both are set, or the store cannot be reached.
 */
export async function openDatastore(options: DatastoreOptions): Promise<Datastore> {
  const redisUrl = options.env[redisVariable] || undefined;
  const databaseUrl = options.env[databaseVariable] || undefined;
  if (redisUrl !== undefined && databaseUrl !== undefined) {
    throw new SaccadeError('environment', 'set only one of them', {
      field: `${redisVariable}, ${databaseVariable}`,
    });
  }
  if (redisUrl !== undefined) return openRedis(redisUrl, options);
  if (databaseUrl !== undefined) return openPostgresServer(databaseUrl, options);
  return openEmbedded(options);
}

async function openRedis(
  url: string,
  { prefix = 'saccade', ...options }: DatastoreOptions,
): Promise<Datastore> {
  const place = withoutSecrets(url, redisVariable);
  // BullMQ waits for as long as the server is away.
  const connection = new Redis(url, { maxRetriesPerRequest: null, lazyConnect: true });
  connection.on('error', (error) => options.onError?.(error));
  try {
    await withPatience(connection.connect());
  } catch (error) {
    connection.disconnect();
    throw unreachable(place, error);
  }
  return datastore(
    'redis',
    place,
    withBackend(createRedisBackend) as Classes,
    { connection, prefix },
    {},
    options,
    async () => {
      await connection.quit().catch(() => connection.disconnect());
    },
  );
}

async function openPostgresServer(url: string, options: DatastoreOptions): Promise<Datastore> {
  const place = withoutSecrets(url, databaseVariable);
  const connection = { connectionString: url, max: poolSize, migrate: true };
  const store = datastore(
    'postgres',
    place,
    withBackend(createPostgresBackend) as Classes,
    { connection },
    {},
    options,
    () => Promise.resolve(),
  );
  const probe = store.queue('ingest');
  try {
    await withPatience(probe.waitUntilReady());
  } catch (error) {
    throw unreachable(place, error);
  } finally {
    await probe.close();
  }
  return store;
}

async function openEmbedded(options: DatastoreOptions): Promise<Datastore> {
  const embedded: EmbeddedPostgres = await openEmbeddedPostgres(options.folder);
  const connection = { ...embedded.connection, max: poolSize, migrate: true };
  return datastore(
    'embedded',
    options.folder,
    withBackend(createPostgresBackend) as Classes,
    { connection },
    // Its one session cannot tell who listens, so workers look for jobs twice a second.
    { drainDelay: 0.5 },
    options,
    () => embedded.close(),
  );
}

/** Connections that each queue or worker opens at most. */
const poolSize = 4;

type Classes = ReturnType<typeof withBackend<IQueueBackend, unknown>>;

function datastore(
  kind: Datastore['kind'],
  place: string,
  { Queue, Worker, FlowProducer }: Classes,
  base: { readonly connection: unknown; readonly prefix?: string },
  workerBase: Partial<WorkerOptions>,
  { telemetry, onError }: DatastoreOptions,
  close: () => Promise<void>,
): Datastore {
  const shared = { ...base, telemetry };
  // A store that is away for a while is no reason to end: BullMQ tries again.
  const listen = <T extends { on(event: 'error', listener: (error: Error) => void): unknown }>(
    made: T,
  ): T => {
    made.on('error', (error) => onError?.(error));
    return made;
  };
  return {
    kind,
    place,
    queue: (name) => listen(new Queue<JobEnvelope, PlainObject>(name, shared)) as JobQueue,
    worker: (name, process, options) =>
      listen(
        new Worker<JobEnvelope, PlainObject>(
          name,
          (job, token) => process(job as unknown as QueuedJob, token ?? ''),
          { ...shared, runRetryDelay: 1000, ...workerBase, ...options },
        ),
      ) as unknown as JobWorker,
    flows: () => listen(new FlowProducer(shared)),
    close,
  };
}

/** The address without user and password, for messages. */
function withoutSecrets(url: string, field: string): string {
  try {
    const { protocol, host, pathname } = new URL(url);
    return `${protocol}//${host}${pathname}`;
  } catch {
    throw new SaccadeError('environment', 'expected a URL', { field });
  }
}

const patienceMs = 10_000;

async function withPatience<T>(work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new Error(`no answer within ${patienceMs / 1000} s`)),
      patienceMs,
    );
  });
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
}

function unreachable(place: string, error: unknown): SaccadeError {
  const { message } = error as Error;
  return new SaccadeError(
    'environment',
    `cannot be reached: ${message || String(error)}`,
    { file: place },
    error,
  );
}

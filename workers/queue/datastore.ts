import { setTimeout as sleep } from 'node:timers/promises';

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
import type { JobEnvelope, QueueName, ResultEnvelope } from './kinds/index.js';

export type QueuedJob = Job<JobEnvelope, ResultEnvelope>;
export type JobQueue = Queue<
  JobEnvelope,
  ResultEnvelope,
  string,
  JobEnvelope,
  ResultEnvelope,
  string,
  IQueueBackend,
  unknown
>;
export type JobWorker = Worker<JobEnvelope, ResultEnvelope, string, IQueueBackend>;
export type Process = (job: QueuedJob, token: string) => Promise<ResultEnvelope>;

export const redisVariable = 'REDIS_URL';
export const databaseVariable = 'DATABASE_URL';

/** Where jobs are kept; BullMQ on any of its stores. */
export interface Datastore {
  readonly kind: 'redis' | 'postgres' | 'embedded';
  /** For people; without secrets. */
  readonly place: string;
  queue(name: QueueName): Promise<JobQueue>;
  /** One that has begun to take jobs. */
  worker(
    name: QueueName,
    process: Process,
    options: Omit<WorkerOptions, 'connection'>,
  ): Promise<JobWorker>;
  flows(): Promise<FlowProducer<IQueueBackend, unknown>>;
  /** Does what can be done twice, and does it again where the store goes away for a while, such as to start anew. */
  patiently<T>(work: () => Promise<T>): Promise<T>;
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
  /** How long a store that is away is waited for (default 10 s). */
  readonly patienceMs?: number;
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

async function openRedis(url: string, options: DatastoreOptions): Promise<Datastore> {
  const { prefix = 'saccade', onError } = options;
  const place = withoutSecrets(url, redisVariable);
  const connection = await reached(place, options, async () => {
    // BullMQ waits for as long as the server is away.
    const made = new Redis(url, { maxRetriesPerRequest: null, lazyConnect: true });
    let last: Error | undefined;
    made.on('error', (error) => onError?.((last = error)));
    try {
      await made.connect();
      return made;
    } catch (error) {
      made.disconnect();
      // What ioredis throws says no more than that the connection is closed.
      throw last ?? error;
    }
  });
  return datastore(
    'redis',
    place,
    withBackend(createRedisBackend) as Classes,
    { connection, prefix },
    options,
    async () => {
      await connection.quit().catch(() => connection.disconnect());
    },
  );
}

async function openPostgresServer(url: string, options: DatastoreOptions): Promise<Datastore> {
  const place = withoutSecrets(url, databaseVariable);
  const connection = { connectionString: url, max: poolSize, migrate: true };
  const backend = withBackend(createPostgresBackend) as Classes;
  const ended = (): Promise<void> => Promise.resolve();
  const store = datastore('postgres', place, backend, { connection }, options, ended);
  await reached(place, options, async () => (await store.queue('ingest')).close());
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
  options: DatastoreOptions,
  close: () => Promise<void>,
): Datastore {
  const shared = { ...base, telemetry: options.telemetry };
  const patiently = <T>(work: () => Promise<T>): Promise<T> => retried(options, work);
  /** What BullMQ makes while the store is away stays of no use, so that it is made anew. */
  const ready = <T extends Made>(make: () => T): Promise<T> =>
    patiently(async () => {
      const made = make();
      // A store that is away for a while is no reason to end: BullMQ tries again.
      made.on('error', (error) => options.onError?.(error));
      try {
        await withPatience(made.waitUntilReady(), options);
        return made;
      } catch (error) {
        made.close().catch(() => undefined);
        throw error;
      }
    });
  return {
    kind,
    place,
    queue: (name) =>
      ready(() => new Queue<JobEnvelope, ResultEnvelope>(name, shared) as unknown as JobQueue),
    worker: async (name, process, settings) => {
      const worker = await ready(
        () =>
          new Worker<JobEnvelope, ResultEnvelope>(
            name,
            (job, token) => process(job as unknown as QueuedJob, token ?? ''),
            { ...shared, autorun: false, runRetryDelay: 1000, ...settings },
          ) as unknown as JobWorker,
      );
      worker.run().catch((error: Error) => options.onError?.(error));
      return worker;
    },
    flows: () => ready(() => new FlowProducer(shared)),
    patiently,
    close,
  };
}

interface Made {
  on(event: 'error', listener: (error: Error) => void): unknown;
  waitUntilReady(): Promise<unknown>;
  close(): Promise<unknown>;
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

type Patience = Pick<DatastoreOptions, 'patienceMs'>;
const defaultPatienceMs = 10_000;
const retryMs = 200;

/** Tries again while the store is away. */
async function retried<T>(
  { patienceMs = defaultPatienceMs }: Patience,
  work: () => Promise<T>,
): Promise<T> {
  const end = Date.now() + patienceMs;
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (!isAway(error) || Date.now() > end) throw error;
      await sleep(retryMs);
    }
  }
}

/** What systems, PostgreSQL (by its codes), node-postgres and ioredis say where the other side is gone, or starts. */
function isAway(error: unknown): boolean {
  const { code = '', message = '' } = error as { code?: string; message?: string };
  return (
    /^(ECONNREFUSED|ECONNRESET|EPIPE|ENOENT|ETIMEDOUT|08...|57P0[123])$/.test(code) ||
    /connection (is closed|terminated|ended)|connection error|not queryable/i.test(message)
  );
}

async function withPatience<T>(
  work: Promise<T>,
  { patienceMs = defaultPatienceMs }: Patience,
): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new Error(`no answer within ${patienceMs / 1000} s`)),
      patienceMs,
    );
  });
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
}

async function reached<T>(
  place: string,
  options: DatastoreOptions,
  connect: () => Promise<T>,
): Promise<T> {
  try {
    return await withPatience(retried(options, connect), options);
  } catch (error) {
    throw unreachable(place, error);
  }
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

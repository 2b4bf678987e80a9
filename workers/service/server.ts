import { setTimeout as sleep } from 'node:timers/promises';

import fastifyRateLimit from '@fastify/rate-limit';
import fastifySwagger from '@fastify/swagger';
import fastifyWebsocket from '@fastify/websocket';
import { SpanStatusCode } from '@opentelemetry/api';
import fastify from 'fastify';
import {
  jsonSchemaTransform,
  serializerCompiler,
  validatorCompiler,
  type ZodTypeProvider,
} from 'fastify-type-provider-zod';

import { SaccadeError } from '../../engine/support/errors.js';
import { streamInput } from '../binning.js';
import { clipPipelineOf } from '../prepare.js';
import { Batcher } from './batcher.js';
import type { SteppedModel } from './batchThread.js';
import { describeError, ServiceError } from './errors.js';
import { defaultLimits, type ServiceLimits } from './limits.js';
import { addGauges, createMetrics, type ServiceMetrics } from './metrics.js';
import type { ServedQueues, ServiceApp, ServiceParts } from './parts.js';
import { addAboutRoutes } from './routes/about.js';
import { addPageRoutes } from './routes/page.js';
import { addQueueRoutes } from './routes/queues.js';
import { addRunRoutes } from './routes/runs.js';
import { addSocketRoutes } from './routes/sockets.js';
import { addStreamRoutes } from './routes/streams.js';
import { addSecurity, checkExposure, isLoopback, webSocketProtocol } from './security.js';
import { type Clock, type ServiceExit, type StreamContext, wallClock } from './session.js';
import { SnapshotFolder } from './snapshotFolder.js';
import { Streams } from './streams.js';
import { type Listener, listenTcp, type Tls } from './tcp.js';
import { tracer } from '../tracing.js';
import { listenUdp } from './udp.js';

/** How long WebSockets have to answer a goodbye. */
const goodbyeMs = 1000;

export interface ServiceOptions {
  readonly model: SteppedModel;
  readonly version: string;
  /** Default: loopback. Any other takes a token. */
  readonly host?: string;
  /** 0 = any that is free. */
  readonly port: number;
  readonly token?: string;
  readonly allowHosts?: readonly string[];
  readonly allowOrigins?: readonly string[];
  readonly tcp?: Listener;
  readonly udp?: Listener;
  readonly replayFolder?: string;
  readonly runsFolder?: string;
  /** Where streams that are open at the end, or evicted, leave their state for the next service. */
  readonly snapshotFolder?: string;
  /** How often a snapshot of each open stream is written there, for the case that the service is killed (default 10 s). */
  readonly snapshotEveryMs?: number;
  /** Certificate and key in PEM: HTTP, WebSockets and TCP are then encrypted. */
  readonly tls?: Tls;
  /** Files of the page. */
  readonly pageFolder?: string;
  readonly queues?: ServedQueues;
  readonly limits?: Partial<ServiceLimits>;
  /** Early exit, as `calibrateJob` found it for the model. */
  readonly exit?: ServiceExit;
  /**
   * Closes a live stream's bin when it is over by the clock, so long after its end, where no later event says so. Events that
   * come for it then are late. Default: bins are closed by later events only.
   */
  readonly closeAfterMs?: number;
  /** For tests. */
  readonly clock?: Clock;
  /** The most streams of a batch, and how long a bin waits for company. */
  readonly maxBatch?: number;
  readonly batchWaitMs?: number;
  readonly onProblem?: (message: string) => void;
}

export interface Service {
  readonly url: string;
  readonly port: number;
  readonly tcpPort: number | undefined;
  readonly udpPort: number | undefined;
  readonly app: ServiceApp;
  readonly streams: Streams;
  readonly metrics: ServiceMetrics;
  /** Resolves with the error where the model fails: nothing can be predicted from then on. */
  readonly failed: Promise<unknown>;
  /** Takes no more, finishes what is in work, tells watchers, and ends. The model stays open. */
  close(): Promise<void>;
}

/** @throws SaccadeError of kind `usage` where others than this machine could come without a token. */
export function checkAddresses({
  host = '127.0.0.1',
  token,
  tcp,
  udp,
}: Pick<ServiceOptions, 'host' | 'token' | 'tcp' | 'udp'>): void {
  checkExposure({ host, token });
  if (tcp !== undefined) checkExposure({ host: tcp.host, token });
  if (udp !== undefined && !isLoopback(udp.host)) {
    throw new SaccadeError('usage', 'UDP brings no token, so it is taken from this machine only', {
      field: udp.host,
    });
  }
}

/**
 * Starts the inference service: streams of events in, predictions out, one model for all.
 *
 * @throws SaccadeError of kind `usage` where the model cannot be streamed or others could come without a token,
 *   `environment` where an address cannot be listened on.
 */
export async function startService(options: ServiceOptions): Promise<Service> {
  checkAddresses(options);
  const { host = '127.0.0.1', port, token, tcp, udp, tls, queues } = options;
  const scheme = tls === undefined ? 'http' : 'https';
  const limits = { ...defaultLimits, ...options.limits };
  const onProblem = options.onProblem ?? (() => undefined);
  const metrics = createMetrics();
  let failure: unknown;
  let fail: (error: unknown) => void;
  const failed = new Promise<unknown>((resolve) => (fail = resolve));
  const snapshots =
    options.snapshotFolder === undefined
      ? undefined
      : new SnapshotFolder(options.snapshotFolder, onProblem);
  const context: StreamContext = {
    ...streamContext(options, limits, metrics, (error) => {
      failure ??= error;
      fail(error);
    }),
    onStored: snapshots && ((id, snapshot) => snapshots.keep(id, snapshot)),
  };
  const { snapshotEveryMs = 10_000 } = options;
  const streams = new Streams(context, onProblem, snapshots && snapshotEveryMs);
  let ready = false;
  const parts: ServiceParts = {
    context,
    streams,
    metrics,
    replayFolder: options.replayFolder,
    runsFolder: options.runsFolder,
    queues,
    isReady: () => ready && failure === undefined,
    onProblem,
  };
  addGauges(metrics, {
    streams: () => streams.counts(),
    queues: async () => queues?.client.counts().catch(() => undefined),
  });
  const app = await createApp(options, limits, parts, host);

  const listeners: { close(): Promise<void> }[] = [];
  try {
    if (snapshots !== undefined) streams.takeOver(await snapshots.read());
    await app.listen({ host, port }).catch((error: Error) => {
      throw new SaccadeError(
        'environment',
        error.message,
        { file: `${scheme}://${host}:${port}` },
        error,
      );
    });
    const byTcp = tcp && (await listenTcp(tcp, parts, token, tls));
    if (byTcp !== undefined) listeners.push(byTcp);
    const byUdp = udp && (await listenUdp(udp, parts));
    if (byUdp !== undefined) listeners.push(byUdp);
    ready = true;
    const address = app.server.address();
    const actual = typeof address === 'object' && address !== null ? address.port : port;
    return {
      url: `${scheme}://${host.includes(':') ? `[${host}]` : host}:${actual}`,
      port: actual,
      tcpPort: byTcp?.port,
      udpPort: byUdp?.port,
      app,
      streams,
      metrics,
      failed,
      async close() {
        ready = false;
        await streams.close();
        await snapshots?.close();
        await Promise.all(listeners.map((listener) => listener.close()));
        await closeSockets(app);
        await app.close();
        context.batcher.close(new SaccadeError('interrupted', 'the service has ended'));
      },
    };
  } catch (error) {
    await Promise.all(listeners.map((listener) => listener.close()));
    await app.close();
    throw error;
  }
}

function streamContext(
  { model, exit, closeAfterMs, clock = wallClock, maxBatch = 64, batchWaitMs = 2 }: ServiceOptions,
  limits: ServiceLimits,
  metrics: ServiceMetrics,
  onFailure: (error: unknown) => void,
): StreamContext {
  const { description } = model;
  const { streaming, experiment, path } = description;
  const batcher = new Batcher({
    step: async (batch) => {
      try {
        return await model.step(batch);
      } catch (error) {
        onFailure(error);
        throw error;
      }
    },
    maxBatch,
    waitMs: batchWaitMs,
    onBatch(size) {
      metrics.batchSize.observe(size);
      const ended = metrics.batchSeconds.startTimer();
      const span = tracer().startSpan('batch', { attributes: { 'saccade.streams': size } });
      return (error) => {
        ended();
        if (error !== undefined) span.setStatus({ code: SpanStatusCode.ERROR });
        span.end();
      };
    },
  });
  return {
    description,
    model,
    batcher,
    input: streamInput({ model: { streaming }, experiment, path }),
    filters: clipPipelineOf(experiment.preprocess).filters,
    exit,
    closing: closeAfterMs === undefined ? undefined : { afterMs: closeAfterMs, clock },
    limits,
    metrics,
  };
}

async function createApp(
  { version, token, tls, allowHosts = [], allowOrigins = [], pageFolder }: ServiceOptions,
  limits: ServiceLimits,
  parts: ServiceParts,
  host: string,
): Promise<ServiceApp> {
  // How often requests are looked at that take too long.
  const checking = { connectionsCheckingInterval: Math.min(limits.patienceMs, 5000) };
  const app = fastify({
    bodyLimit: 65_536,
    requestTimeout: limits.patienceMs,
    ...(tls === undefined ? { http: checking } : { https: { ...checking, ...tls } }),
    forceCloseConnections: true,
    routerOptions: { maxParamLength: 256 },
    return503OnClosing: true,
    // Requests that are wrong before there is a route for them.
    frameworkErrors: (error, _, reply) => {
      const { status, body } = describeError(error);
      void reply.code(status as never).send(body as never);
    },
  }).withTypeProvider<ZodTypeProvider>();
  app.setValidatorCompiler(validatorCompiler);
  app.setSerializerCompiler(serializerCompiler);
  app.server.maxConnections = limits.connections;
  app.server.headersTimeout = Math.min(limits.patienceMs, 10_000);

  app.setErrorHandler((error, _, reply) => {
    const { status, body } = describeError(error);
    // What nobody expected is for those who run the service, not for those who use it.
    if (status === 500) parts.onProblem(`unexpected: ${(error as Error).stack ?? String(error)}`);
    void reply.code(status).send(body);
  });
  app.setNotFoundHandler((_, reply) => {
    const { status, body } = describeError(new ServiceError('missing', 'there is nothing here'));
    void reply.code(status).send(body);
  });

  await app.register(fastifyWebsocket, {
    options: {
      maxPayload: limits.messageBytes,
      // Compression would let a short message become a long one.
      perMessageDeflate: false,
      handleProtocols: (offered: Set<string>) =>
        offered.has(webSocketProtocol) ? webSocketProtocol : false,
    },
  });
  await app.register(fastifyRateLimit, { max: limits.requestsPerMinute, timeWindow: '1 minute' });
  addSecurity(app as never, { host, token, allowHosts, allowOrigins, limits });
  await app.register(fastifySwagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Saccade',
        version,
        description:
          'Action recognition on streams of events. With a token, requests bring it as `Authorization: Bearer …`; ' +
          'WebSockets of browsers offer the protocols `saccade` and `saccade.token.…` (base64url).',
      },
      components: { securitySchemes: { token: { type: 'http', scheme: 'bearer' } } },
      ...(token !== undefined && { security: [{ token: [] }] }),
    },
    transform: jsonSchemaTransform,
  });
  const typed = app as ServiceApp;
  addAboutRoutes(typed, parts);
  addStreamRoutes(typed, parts);
  addSocketRoutes(typed, parts);
  addRunRoutes(typed, parts);
  addQueueRoutes(typed, parts);
  if (pageFolder !== undefined) await addPageRoutes(typed, pageFolder);
  return typed;
}

/** Says goodbye to WebSockets, and waits but shortly for those who do not answer. */
async function closeSockets({ websocketServer }: ServiceApp): Promise<void> {
  const clients = [...websocketServer.clients];
  for (const client of clients) client.close(1001, 'the service is stopping');
  const untilMs = performance.now() + goodbyeMs;
  while (websocketServer.clients.size > 0 && performance.now() < untilMs) await sleep(5);
  for (const client of clients) client.terminate();
}

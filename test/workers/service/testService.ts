import { join } from 'node:path';

import { WebSocket } from 'ws';

import type { EventBatch } from '../../../ingest/eventBatch.js';
import { eventStream as es } from '../../../ingest/formats/eventStream.js';
import { writeCheckpoint } from '../../../models/checkpoints/checkpoint.js';
import { createModel } from '../../../models/networks/index.js';
import { disposeTree, Initialiser } from '../../../models/parameters.js';
import { inputShape } from '../../../workers/runs.js';
import batchTasks from '../../../workers/service/batchTasks.js';
import type { SteppedModel } from '../../../workers/service/batchThread.js';
import type {
  BinMessage,
  EndMessage,
  PredictionMessage,
} from '../../../workers/service/messages.js';
import {
  type Service,
  type ServiceOptions,
  startService,
} from '../../../workers/service/server.js';
import { batchOf, collect, type EventRow, streamOf } from '../../ingest/streams.js';
import { tinyExperiment, tinySensor } from '../tinySet.js';

export const classes = ['left', 'right'];

/** A checkpoint with first weights: what it says means nothing, but it must say it consistently. */
export async function writeFreshModel(
  folder: string,
  changes: Record<string, unknown> = {},
): Promise<string> {
  const experiment = tinyExperiment('nowhere', changes);
  const model = createModel(experiment.model, inputShape(experiment), classes.length);
  const parameters = model.initialise(new Initialiser(1));
  const path = join(folder, 'fresh.safetensors');
  await writeCheckpoint(path, {
    parameters,
    metadata: { experiment: { experiment, classes, synthetic: true } },
  });
  disposeTree(parameters);
  return path;
}

/** The model of a service in this process: threads can be started of built code only. */
export async function modelHere(path: string): Promise<SteppedModel> {
  const tasks = await batchTasks({ path, backend: 'wasm' });
  return {
    description: tasks.describe(),
    step: async (batch) => {
      await new Promise((resolve) => setImmediate(resolve));
      return tasks.step(batch);
    },
    state: async (stream) => tasks.state(stream),
    restore: async (stream, state) => tasks.restore({ stream, state }),
    release: async (stream) => tasks.release(stream),
    close: async () => undefined,
  };
}

export function serviceOf(
  model: SteppedModel,
  options: Partial<ServiceOptions> = {},
): Promise<Service> {
  return startService({ model, port: 0, version: '1', ...options });
}

export async function esBytes(rows: readonly EventRow[], live = false): Promise<Uint8Array[]> {
  const batches: EventBatch[] = [batchOf(tinySensor, rows)];
  return collect(es.encode(streamOf(batches), { file: 'test', sensor: tinySensor, live }));
}

export type Answer =
  | PredictionMessage
  | BinMessage
  | EndMessage
  | { type: 'error'; error: { kind: string; message: string } };

/** A WebSocket with what came so far. */
export interface Client {
  readonly socket: WebSocket;
  readonly messages: Answer[];
  /** Resolves with the code once it is closed. */
  readonly closed: Promise<number>;
  /** Resolves when so many messages have come, or the socket is closed. */
  atLeast(count: number): Promise<void>;
}

export async function connect(
  { port }: Service,
  path: string,
  options: { headers?: Record<string, string>; protocols?: string[] } = {},
): Promise<Client> {
  const socket = new WebSocket(`ws://127.0.0.1:${port}${path}`, options.protocols ?? [], {
    headers: options.headers,
  });
  const messages: Answer[] = [];
  let wake: () => void = () => undefined;
  let isClosed = false;
  socket.on('message', (data) => {
    messages.push(JSON.parse((data as Buffer).toString()) as Answer);
    wake();
  });
  const closed = new Promise<number>((resolve) =>
    socket.on('close', (code) => {
      isClosed = true;
      wake();
      resolve(code);
    }),
  );
  await new Promise<void>((resolve, reject) => {
    socket.once('open', resolve);
    socket.once('unexpected-response', (_, response) =>
      reject(new Error(`status ${response.statusCode}`)),
    );
    socket.on('error', reject);
  });
  return {
    socket,
    messages,
    closed,
    async atLeast(count) {
      while (messages.length < count && !isClosed) {
        await new Promise<void>((resolve) => (wake = resolve));
      }
    },
  };
}

export const predictions = (messages: readonly Answer[]): PredictionMessage[] =>
  messages.filter((message) => message.type === 'prediction');

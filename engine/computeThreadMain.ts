/** What runs in a `ComputeThread`: receives tasks, runs them one by one, sends back what they give. */
import { parentPort, workerData } from 'node:worker_threads';

import type {
  PlainError,
  Reply,
  Request,
  TaskContext,
  TaskModule,
  Tasks,
} from './computeThread.js';
import { SaccadeError } from './support/errors.js';

type Run = (argument: unknown, context: TaskContext) => unknown;

const port = parentPort!;
const { module, setup } = workerData as { module: string; setup: unknown };
const send = (reply: Reply): void => port.postMessage(reply);
const controllers = new Map<number, AbortController>();

const tasks = start();
let last: Promise<void> = answer(0, async () => {
  await tasks;
});

port.on('message', (request: Request) => {
  const { id } = request;
  if ('abort' in request) return controllers.get(id)?.abort();
  const controller = new AbortController();
  controllers.set(id, controller);
  const { signal } = controller;
  const context: TaskContext = {
    signal,
    onProgress: (progress) => send({ id, progress }),
    onMessage: (message) => send({ id, message }),
  };
  last = last.then(() =>
    answer(id, async () => {
      const known = await tasks;
      const { task, argument } = request;
      if (signal.aborted) throw new SaccadeError('interrupted', `${task} was stopped`);
      if (!Object.hasOwn(known, task)) {
        const names = Object.keys(known).join(', ');
        throw new SaccadeError('usage', `unknown task '${task}', expected one of ${names}`);
      }
      return (known[task] as Run)(argument, context);
    }),
  );
});

async function start(): Promise<Tasks> {
  const { default: create } = (await import(module)) as { default: TaskModule<Tasks, unknown> };
  return create(setup);
}

async function answer(id: number, run: () => Promise<unknown>): Promise<void> {
  try {
    send({ id, value: await run() });
  } catch (error) {
    send({ id, error: toPlain(error) });
  } finally {
    controllers.delete(id);
  }
}

function toPlain(error: unknown): PlainError {
  if (error instanceof SaccadeError) {
    const { kind, place, detail, stack } = error;
    return { kind, place, message: detail, stack };
  }
  if (error instanceof Error) return { message: error.message, stack: error.stack };
  return { message: String(error) };
}

/** The process that computes: one job at a time, told by the worker that started it (`slot.ts`). */
import { createHash } from 'node:crypto';
import { join } from 'node:path';

import { removeTemporaries } from '../../engine/support/atomicFile.js';
import { SaccadeError } from '../../engine/support/errors.js';
import { processLock } from '../../engine/support/processLock.js';
import { checkInputs } from './inputs.js';
import { checkResult, kindByName, type PlainObject } from './kinds/index.js';
import type { FromSlot, SentError, SlotJob, ToSlot } from './messages.js';

const heartbeatMs = 1000;
const progressMs = 500;
/** A process whose worker was killed ends as soon as its step is over; a new one waits for that. */
const lockPatienceMs = 60_000;

const send = (message: FromSlot): void => {
  if (process.connected) process.send?.(message);
};

let stop: AbortController | undefined;

process.on('message', (message: ToSlot) => {
  if (message.type === 'stop') stop?.abort();
  else void work(message.job);
});
// Without its worker nobody would learn what it does, and the job is given to another one.
process.on('disconnect', () => process.exit(1));
// Ctrl-C reaches the whole group; the worker says what is to be stopped.
process.on('SIGINT', () => undefined);
process.on('SIGTERM', () => undefined);
setInterval(() => send({ type: 'alive' }), heartbeatMs);

async function work(job: SlotJob): Promise<void> {
  const controller = new AbortController();
  stop = controller;
  try {
    send({ type: 'done', result: await run(job, controller.signal) });
  } catch (error) {
    send({ type: 'failed', error: sentError(error) });
  } finally {
    stop = undefined;
  }
}

async function run(
  { kind: name, jobId, data, inputs, children, lockFolder }: SlotJob,
  signal: AbortSignal,
): Promise<PlainObject> {
  const kind = kindByName(name);
  const resource = kind.resource?.(data);
  const lock =
    resource === undefined
      ? undefined
      : await processLock(
          join(lockFolder, createHash('sha256').update(resource).digest('hex').slice(0, 32)),
          resource,
          lockPatienceMs,
        );
  if (resource !== undefined) await removeTemporaries(resource);
  let sentAt = 0;
  let phase: string | undefined;
  try {
    await checkInputs(inputs, await kind.inputs?.(data));
    const result = await kind.run(data, {
      jobId,
      children,
      signal,
      onMessage: (text) => send({ type: 'message', text }),
      onProgress: (progress) => {
        const now = Date.now();
        const last = progress.done === progress.total;
        if (progress.phase === phase && now - sentAt < progressMs && !last) return;
        phase = progress.phase;
        sentAt = now;
        send({ type: 'progress', progress });
      },
    });
    return checkResult(kind, jobId, result);
  } finally {
    await lock?.release();
  }
}

function sentError(error: unknown): SentError {
  if (!(error instanceof Error)) return { message: String(error) };
  const { message, stack } = error;
  if (!(error instanceof SaccadeError)) return { message, stack };
  return { kind: error.kind, message, place: error.place, stack };
}

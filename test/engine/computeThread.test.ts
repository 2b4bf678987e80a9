import { resolve } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import type * as source from '../../engine/computeThread.js';
import { createRandom } from '../../engine/support/random.js';
import { built } from '../built.js';
import { testedBackends } from './backends.js';

interface Batch {
  readonly values: Float32Array<ArrayBuffer>;
  readonly shape: readonly number[];
}

type TestTasks = {
  gradient(batch: Batch): Float32Array;
  computeUntil(flag: Int32Array): { products: number; tensors: number };
  wait(nothing: undefined): void;
  first(values: Float32Array): number;
  failing(nothing: undefined): void;
  throwing(nothing: undefined): void;
  unsendable(nothing: undefined): unknown;
  exit(nothing: undefined): void;
};

type Thread = source.ComputeThread<TestTasks>;

const taskModule = pathToFileURL(resolve('test/engine/threadTasks.mjs'));

async function start(setup: { backend?: string; broken?: boolean }): Promise<Thread> {
  const { ComputeThread } = await built<typeof source>('engine/computeThread.js');
  return ComputeThread.start<TestTasks, typeof setup>(taskModule, setup);
}

function randomBatch(seed: number): Batch {
  const random = createRandom(seed, 'batch');
  const shape = [2, 7, 6];
  return { values: Float32Array.from({ length: 2 * 7 * 6 }, () => random.normal()), shape };
}

describe.each(testedBackends)('a computing thread on %s', (backend) => {
  let thread: Thread;
  beforeAll(async () => {
    thread = await start({ backend });
  });
  afterAll(() => thread.close());

  it('leaves the event loop of its caller alone', async () => {
    const flag = new Int32Array(new SharedArrayBuffer(4));
    let begin: () => void;
    const begun = new Promise<void>((done) => (begin = done));
    const result = thread.run('computeUntil', flag, { onMessage: () => begin() });
    await begun;
    // The thread computes until this loop has turned ten times more.
    for (let turn = 0; turn < 10; turn++) await setImmediate();
    Atomics.store(flag, 0, 1);
    const { products, tensors } = await result;
    expect(products).toBeGreaterThan(0);
    expect(tensors).toBe(0);
  });

  it('computes what the same function computes here, calls in their order', async () => {
    const { selectBackend } =
      await built<typeof import('../../engine/backend.js')>('engine/backend.js');
    const { gradient } = (await import(taskModule.href)) as Pick<TestTasks, 'gradient'>;
    await selectBackend(backend);
    const batches = [1, 2, 3, 4].map(randomBatch);
    const there = await Promise.all(batches.map((batch) => thread.run('gradient', batch)));
    there.forEach((values, i) => {
      expect(values.some((value) => value !== 0)).toBe(true);
      expect(values).toEqual(gradient(batches[i]));
    });
  });
});

describe('a computing thread', () => {
  let thread: Thread;
  beforeAll(async () => {
    thread = await start({ backend: 'cpu' });
  });
  afterAll(() => thread.close());

  it('hands over buffers that are to be transferred, and copies others', async () => {
    const values = Float32Array.of(5, 6);
    expect(await thread.run('first', values)).toBe(5);
    expect(values).toHaveLength(2);
    expect(await thread.run('first', values, { transfer: [values.buffer] })).toBe(5);
    expect(values).toHaveLength(0);
  });

  it('passes on errors, and goes on working', async () => {
    await expect(thread.run('failing', undefined)).rejects.toMatchObject({
      name: 'SaccadeError',
      kind: 'input',
      place: { file: 'a.csv', offset: 12 },
      message: 'a.csv, byte 12: expected 3 rows',
    });
    await expect(thread.run('throwing', undefined)).rejects.toThrow('not a function');
    await expect(thread.run('unsendable', undefined)).rejects.toThrow(/could not be cloned/);
    const unsendable = (() => 1) as never;
    await expect(thread.run('first', unsendable)).rejects.toThrow(/could not be cloned/);
    await expect(thread.run('unknown' as 'first', undefined as never)).rejects.toMatchObject({
      kind: 'usage',
      message: expect.stringContaining('unknown task') as string,
    });
    expect(await thread.run('first', Float32Array.of(1))).toBe(1);
  });

  it('stops a task by its signal: on its way, in the queue, before the call', async () => {
    const stop = new AbortController();
    const { signal } = stop;
    const running = thread.run('wait', undefined, { signal, onProgress: () => stop.abort() });
    const queued = thread.run('wait', undefined, { signal });
    await expect(running).rejects.toMatchObject({
      kind: 'interrupted',
      message: 'was stopped on its way',
    });
    await expect(queued).rejects.toMatchObject({ message: 'wait was stopped' });
    const late = thread.run('wait', undefined, { signal });
    await expect(late).rejects.toMatchObject({ kind: 'interrupted' });
  });
});

describe('the end of a computing thread', () => {
  it('rejects what it still owes, and every later call', async () => {
    const thread = await start({ backend: testedBackends.at(-1) });
    const never = new Int32Array(new SharedArrayBuffer(4));
    let begin: () => void;
    const begun = new Promise<void>((done) => (begin = done));
    const running = thread.run('computeUntil', never, { onMessage: () => begin() });
    const queued = thread.run('first', Float32Array.of(1));
    const failures = Promise.allSettled([running, queued]);
    await begun;
    await thread.close();
    const closed = { kind: 'interrupted', message: 'the computing thread was closed' };
    for (const outcome of await failures) {
      expect(outcome).toMatchObject({ status: 'rejected', reason: closed });
    }
    await expect(thread.run('first', Float32Array.of(1))).rejects.toMatchObject(closed);
    await thread.close();
  });

  it('is an error where it comes of itself', async () => {
    const thread = await start({ backend: 'cpu' });
    const failure = { name: 'SaccadeError', kind: 'environment' };
    await expect(thread.run('exit', undefined)).rejects.toMatchObject(failure);
    await expect(thread.run('first', Float32Array.of(1))).rejects.toMatchObject(failure);
  });

  it('comes at once where it cannot start, with the reason', async () => {
    await expect(start({ broken: true })).rejects.toMatchObject({
      kind: 'config',
      place: { field: 'broken' },
    });
    const unknown = start({ backend: 'webgpu' });
    await expect(unknown).rejects.toMatchObject({ kind: 'usage', place: { field: 'backend' } });
    const { ComputeThread } = await built<typeof source>('engine/computeThread.js');
    const missing = new URL('./missing.mjs', taskModule);
    await expect(ComputeThread.start(missing, undefined)).rejects.toThrow(/missing\.mjs/);
  });
});

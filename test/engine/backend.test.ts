import * as tf from '@tensorflow/tfjs-core';
import { afterEach, describe, expect, it, vi } from 'vitest';

import {
  automaticOrder,
  backendNames,
  backendVariable,
  inspectBackends,
  selectBackend,
} from '../../engine/backend.js';
import { SaccadeError } from '../../engine/support/errors.js';

afterEach(() => {
  vi.unstubAllEnvs();
});

describe('selectBackend', () => {
  it.each(['cpu', 'wasm'])('starts %s and makes it current', async (name) => {
    expect(await selectBackend(name)).toMatchObject({ name, live: true });
    expect(tf.getBackend()).toBe(name);
    expect(tf.add(1, 2).dataSync()[0]).toBe(3);
  });

  it('takes the first of the automatic order, or the one that the environment names', async () => {
    vi.stubEnv(backendVariable, undefined);
    const live = (await inspectBackends()).filter((status) => status.live);
    const first = automaticOrder.find((name) => live.some((status) => status.name === name));
    expect((await selectBackend()).name).toBe(first);
    vi.stubEnv(backendVariable, 'cpu');
    expect((await selectBackend()).name).toBe('cpu');
    // What is asked for goes before the environment.
    expect((await selectBackend('wasm')).name).toBe('wasm');
  });

  it('names the known backends where it is given another', async () => {
    const error = await selectBackend('webgpu').catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(SaccadeError);
    expect(error).toMatchObject({ kind: 'usage', place: { field: 'backend' } });
    for (const name of backendNames) expect((error as Error).message).toContain(name);
  });
});

describe('inspectBackends', () => {
  it('says of each backend whether it works or what would help, and leaves the automatic one', async () => {
    const statuses = await inspectBackends();
    expect(statuses.map(({ name }) => name)).toEqual(backendNames);
    for (const { live, detail, fix } of statuses) {
      expect(detail).not.toBe('');
      if (!live) expect(fix).toMatch(/install/);
    }
    expect(statuses.filter(({ live }) => live).map(({ name }) => name)).toEqual(
      expect.arrayContaining(['wasm', 'cpu']),
    );
    expect(tf.getBackend()).toBe(statuses.find(({ live }) => live)?.name);
  });
});

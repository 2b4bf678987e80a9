import { MathBackendCPU } from '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { inspectBackends, selectBackend } from '../../engine/backend.js';
import { lif, lifDefinition, defaultLif } from '../../engine/ops/lif.js';

const gpu = '@tensorflow/tfjs-node-gpu';
const node = '@tensorflow/tfjs-node';

/** What the packages give: they register the backend `tensorflow` when they are loaded. */
function fake(version: string): object {
  if (version === tf.version_core && tf.findBackend('tensorflow') === null) {
    tf.registerBackend('tensorflow', () => new MathBackendCPU());
    tf.copyRegisteredKernels('cpu', 'tensorflow');
    tf.unregisterKernel('Lif', 'tensorflow');
    tf.unregisterKernel('LifGrad', 'tensorflow');
  }
  return { default: { version_core: version } };
}

const missing = (name: string) => () => {
  throw new Error(`Cannot find package '${name}'`);
};

beforeEach(async () => {
  await selectBackend('cpu');
});

afterEach(() => {
  vi.doUnmock(gpu);
  vi.doUnmock(node);
  if (tf.findBackend('tensorflow') !== null) tf.removeBackend('tensorflow');
});

describe('the backend of TensorFlow', () => {
  it('is reported as absent, with the fix, where neither package is installed', async () => {
    vi.doMock(gpu, missing(gpu));
    vi.doMock(node, missing(node));
    const status = (await inspectBackends()).find(({ name }) => name === 'tensorflow');
    expect(status).toMatchObject({ live: false });
    expect(status?.detail).toContain(gpu);
    expect(status?.fix).toContain(`install \`${gpu}\``);
    await expect(selectBackend('tensorflow')).rejects.toMatchObject({ kind: 'environment' });
  });

  it('is refused where it belongs to another version of TensorFlow.js', async () => {
    vi.doMock(gpu, missing(gpu));
    vi.doMock(node, () => fake('3.9.0'));
    await expect(selectBackend('tensorflow')).rejects.toThrow(
      `is for TensorFlow.js 3.9.0, and this one is ${tf.version_core}`,
    );
  });

  it('starts where a package is there, and runs the references of our ops', async () => {
    vi.doMock(gpu, missing(gpu));
    vi.doMock(node, () => fake(tf.version_core));
    expect(await selectBackend('tensorflow')).toMatchObject({ live: true, detail: node });
    expect(tf.getBackend()).toBe('tensorflow');
    tf.tidy(() => {
      const inputs = [tf.tensor([0.4, 3, 0.4, 3], [1, 4, 1]), tf.zeros([1, 1])];
      const { spikes } = lif(inputs[0], inputs[1]);
      const [expected] = lifDefinition.reference(inputs, defaultLif);
      expect(spikes.dataSync()).toEqual(expected.dataSync());
    });
  });
});

import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';

import { selectBackend } from '../../../engine/backend.js';
import type { CudaBackend } from '../../../engine/cuda/backend.js';
import { NcclTransport } from '../../../engine/cuda/nccl.js';

// The host's side alone, with a device and a library that only note what they are asked for.

describe('NcclTransport', () => {
  const log: string[] = [];
  const addresses = new Map<object, number>();
  const addressOf = (dataId: object): number => {
    if (!addresses.has(dataId)) addresses.set(dataId, 100 * (addresses.size + 1));
    return addresses.get(dataId)!;
  };
  const backend = {
    driver: {
      stream: 'main',
      order: (before: unknown, after: unknown) => log.push(`${before} before ${after}`),
      synchronise: () => log.push('synchronise'),
    },
    values: ({ dataId }: tf.TensorInfo) => ({ pointer: addressOf(dataId) }),
    output: (shape: number[]) => {
      const values = new Float32Array(tf.util.sizeFromShape(shape));
      const dataId = tf.backend().write(values, shape, 'float32');
      const { length } = values;
      return { dataId, shape, dtype: 'float32', values: { pointer: addressOf(dataId), length } };
    },
  } as unknown as CudaBackend;
  const transport = new NcclTransport({
    backend,
    peers: {
      rank: 1,
      world: 3,
      broadcastText: () => 'first',
      any: (flag) => !flag,
      close: () => Promise.resolve(void log.push('left')),
    },
    nccl: {
      call: (prototype, ...values) => {
        if (values[0] instanceof Int32Array) values[0][0] = 22_703;
        log.push([/nccl(\w+)\(/.exec(prototype)![1], ...values].join(' '));
      },
    },
    communicator: 7n,
    stream: 9n,
    event: 8n,
  });

  beforeAll(() => selectBackend('cpu'));
  beforeEach(() => {
    log.length = 0;
    addresses.clear();
  });

  it('starts all reductions as one launch, on its own stream, after what made the tensors', () => {
    const before = tf.memory().numTensors;
    const tensors = [tf.tensor1d([1, 2]), tf.zeros([0, 3]), tf.tensor2d([[1, 2, 3]])];
    const reduction = transport.reduce(tensors, 'mean');
    // type 7 is float32, operation 4 the average
    expect(log).toEqual([
      'main before 9',
      'GroupStart',
      'AllReduce 100 200 2 7 4 7 9',
      'AllReduce 500 600 3 7 4 7 9',
      'GroupEnd',
    ]);
    // The caller is done with them; their memory is still read.
    const buffers = tf.memory().numDataBuffers;
    tf.dispose(tensors);
    expect(tf.memory().numDataBuffers).toBe(buffers);
    log.length = 0;
    const results = reduction.finish();
    expect(log).toEqual(['9 before main']);
    expect(results.map(({ shape }) => shape)).toEqual([[2], [0, 3], [1, 3]]);
    tf.dispose(results);
    expect(tf.memory().numTensors).toBe(before);
  });

  it('adds, and spreads values of process 0', () => {
    const x = tf.tensor1d([1]);
    tf.dispose(transport.reduce([x], 'sum').finish());
    tf.dispose(transport.broadcast([x]));
    expect(log.filter((line) => /^[AB]/.test(line))).toEqual([
      'AllReduce 100 200 1 7 0 7 9',
      'Broadcast 100 300 1 7 0 7 9',
    ]);
    x.dispose();
  });

  it('leaves when the device is done', async () => {
    expect([transport.rank, transport.world, transport.version]).toEqual([1, 3, '2.27.3']);
    expect([transport.shareText('own'), transport.any(true)]).toEqual(['first', false]);
    log.length = 0;
    await transport.close();
    expect(log).toEqual(['synchronise', 'CommDestroy 7', 'left']);
  });
});

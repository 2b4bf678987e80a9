import { MathBackendCPU } from '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';

import { selectBackend } from '../../engine/backend.js';
import { synchronisedBatchNorm } from '../../engine/ops/synchronisedBatchNorm.js';
import { createRandom } from '../../engine/support/random.js';
import type { Transport } from '../../engine/transport/transport.js';
import { createModel, modelSchema } from '../../models/networks/index.js';
import { flatten, Initialiser, isTrainable, unflatten } from '../../models/parameters.js';
import { clipLoss } from '../../models/training/loss.js';
import { classes, inputShape, randomClips } from './networkConformance.js';

const bare = 'bare';
const fused = [
  'BatchNormTraining',
  'BatchNormTrainingGrad',
  'CausalConv1d',
  'DepthwiseConv2dSame',
  'LayerNorm',
  'Lif',
  'LinearAttention',
  'Patches',
  'RmsNorm',
  'SelectiveScan',
  'Silu',
  'SiluGate',
  'SoftmaxCrossEntropy',
  'TransposeMatrix',
];

describe('a backend without kernels of our own', () => {
  beforeAll(async () => {
    await selectBackend('cpu');
    tf.registerBackend(bare, () => new MathBackendCPU());
    tf.copyRegisteredKernels('cpu', bare);
    for (const name of fused) tf.unregisterKernel(name, bare);
  });

  it.each([
    { kind: 'spikmamba', patch: 2, embedding: 8, stateChannels: 12, states: 3, deltaRank: 2 },
    { kind: 'spikmamba', patch: 2, embedding: 8, stateChannels: 12, mode: 'bidirectional' },
    { kind: 'published', patch: 2, embedding: 8, heads: 2, feedForward: 16 },
    { kind: 'spikformer', patch: 2, embedding: 8, feedForward: 12 },
  ])('gives the loss and the gradients of the fused ops: %j', async (config) => {
    const model = createModel(modelSchema.parse(config), inputShape, classes);
    const values = async (backend: string): Promise<Map<string, Float32Array>> => {
      await tf.setBackend(backend);
      return tf.tidy(() => {
        const leaves = flatten(model.initialise(new Initialiser(1)));
        const trained = [...leaves.keys()].filter(isTrainable);
        const targets = tf.oneHot(tf.tensor1d([0, 2], 'int32'), classes);
        const loss = (...tensors: tf.Tensor[]): tf.Scalar => {
          const all = new Map(leaves);
          trained.forEach((path, i) => all.set(path, tensors[i]));
          const input = randomClips(2, inputShape.bins, 4);
          const context = { training: true, path: '' };
          const { logits } = model.apply(unflatten(all), input, undefined, context);
          return clipLoss(logits, targets, 0.5) as tf.Scalar;
        };
        const start = trained.map((path) => leaves.get(path)!);
        const { value, grads } = tf.valueAndGrads(loss)(start);
        const all: [string, tf.Tensor][] = grads.map((gradient, i) => [trained[i], gradient]);
        return new Map(
          [...all, ['loss', value] as const].map(([name, tensor]) => [
            name,
            Float32Array.from(tensor.dataSync()),
          ]),
        ) as unknown as tf.TensorContainerObject;
      }) as unknown as Map<string, Float32Array>;
    };
    const expected = await values('cpu');
    const actual = await values(bare);
    for (const [name, numbers] of expected) {
      const scale = Math.max(1e-3, ...numbers.map(Math.abs));
      const difference = Math.max(...numbers.map((v, i) => Math.abs(v - actual.get(name)![i])));
      expect(difference / scale, name).toBeLessThan(1e-3);
    }
  });

  it('normalises together with other processes', async () => {
    const alone = {
      rank: 0,
      world: 1,
      reduce: (tensors: readonly tf.Tensor[]) => ({
        finish: () => tensors.map((x) => tf.clone(x)),
      }),
    } as unknown as Transport;
    const random = createRandom(3);
    const [x, dy] = [0, 1].map(() => Array.from({ length: 60 }, () => random.normal()));
    const values = async (backend: string): Promise<tf.TypedArray> => {
      await tf.setBackend(backend);
      return tf.tidy(() => {
        const scale = tf.tensor1d([1, -2, 0.5]);
        const inputs = [tf.tensor(x, [4, 5, 3]), scale, tf.tensor1d([0, 1, 2])];
        const normalise = ([a, b, c]: tf.Tensor[]) => synchronisedBatchNorm(a, b, c, alone);
        const loss = (...all: tf.Tensor[]): tf.Tensor =>
          tf.sum(tf.mul(normalise(all).y, tf.tensor(dy, [4, 5, 3])));
        const all = [...Object.values(normalise(inputs)), ...tf.grads(loss)(inputs)];
        return tf.concat(all.map((tensor) => tf.reshape(tensor, [-1]))).dataSync();
      });
    };
    const [expected, actual] = [await values('cpu'), await values(bare)];
    expect(actual).toHaveLength(expected.length);
    actual.forEach((value, i) => expect(value, `${i}`).toBeCloseTo(expected[i], 5));
  });
});

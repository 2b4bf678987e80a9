import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';

import '../../../engine/gradients.js';
import type { CudaBackend } from '../../../engine/cuda/backend.js';
import { type Hardware, registerCudaBackend } from '../../../engine/cuda/register.js';
import { binEvents } from '../../../engine/ops/binEvents.js';
import { eventRepresentations } from '../../../engine/ops/eventLoops.js';
import type { Transport } from '../../../engine/transport/transport.js';
import { stemKinds } from '../../../models/blocks/stem.js';
import { mixers } from '../../../models/mixers/registry.js';
import { createModel, modelSchema } from '../../../models/networks/index.js';
import { neurons } from '../../../models/neurons/registry.js';
import { flatten, Initialiser } from '../../../models/parameters.js';
import { disposeTraining, startTraining, trainingStep } from '../../../models/training/step.js';

/** A card that computes nothing and remembers nothing: what is read from it is 0. */
function idleHardware(): Hardware {
  let next = 4096;
  const nothing = (): undefined => undefined;
  const driver = {
    ...{ launches: 0, multiprocessors: 4, architecture: 90, stream: 0 },
    allocate: (bytes: number) => (next += bytes),
    download: (values: Float32Array) => values.fill(0),
    loadModule: () => ({ function: (name: string, types: string) => ({ name, types }) }),
    memory: () => ({ free: 1, total: 1 }),
    ...{ free: nothing, upload: nothing, copy: nothing, clear: nothing, synchronise: nothing },
    ...{ allowShared: nothing, createStream: () => 1n, createEvent: () => 1n, await: nothing },
    ...{ pin: (bytes: number) => ({ bytes: new Uint8Array(bytes) }), unpin: nothing },
    ...{ uploadPinned: nothing, mark: nothing, follow: nothing },
    launch({ name, types }: { name: string; types: string }, _: unknown, __: unknown, values: []) {
      if (values.length !== types.length) throw new Error(`${name} was given ${values.length}`);
      if (values.some((value) => !Number.isFinite(value))) {
        throw new Error(`${name} was given ${values.join()}`);
      }
    },
  };
  return {
    driver,
    products: { run: nothing },
    compiler: { compile: () => new Uint8Array(0) },
  } as unknown as Hardware;
}

const input = { bins: 3, channels: 2, height: 32, width: 32 };
const configurations: Record<string, object> = {
  ...Object.fromEntries(
    ['nano', 'small', 'base'].map((preset) => [preset, { kind: 'spikmamba', preset }]),
  ),
  published: { kind: 'published' },
  spikingConvNet: { kind: 'spikingConvNet' },
  linear: { kind: 'linear' },
  'linear, logarithm': { kind: 'linear', logarithm: true },
  ...Object.fromEntries(
    stemKinds.flatMap((stem) => [
      [`spikformer, ${stem} stem`, { kind: 'spikformer', stem }],
      [`nano, ${stem} stem`, { kind: 'spikmamba', stem }],
    ]),
  ),
  'nano, bidirectional': { kind: 'spikmamba', mode: 'bidirectional' },
  'nano, gated': { kind: 'spikmamba', feedForwardKind: 'gated' },
  'nano, tubes': { kind: 'spikmamba', scanOrder: 'tube' },
  ...Object.fromEntries(
    Object.keys(neurons).map((kind) => [`nano, ${kind}`, { kind: 'spikmamba', neuron: { kind } }]),
  ),
  ...Object.fromEntries(
    mixers.map(({ name }) => {
      // Where no chunk of a frame ends, queries play no part.
      const mixer = { name, ...(name === 'rat' && { chunkTokens: 1 }) };
      return [`nano, ${name}`, { kind: 'spikmamba', mode: 'bidirectional', mixer }];
    }),
  ),
};

describe('what runs on the host while the device computes', () => {
  let backend: CudaBackend;
  beforeAll(async () => {
    ({ backend } = registerCudaBackend(idleHardware));
    await tf.setBackend('cuda');
  });
  beforeEach(() => backend.fallbacks.clear());
  afterAll(() => tf.removeBackend('cuda'));

  it.each(Object.keys(configurations))('%s: nothing of a training step', (name) => {
    const model = createModel(modelSchema.parse(configurations[name]), input, 4);
    const x = tf.zeros([2, input.bins, input.channels, input.height, input.width]);
    const targets = tf.zeros([2, 4]);
    const start = startTraining(flatten(model.initialise(new Initialiser(1))));
    const { state, notFinite } = trainingStep(model, start, x, targets, {
      learningRate: 1e-3,
      weightDecay: 0.01,
      gradientClip: 1,
      perStepLoss: 0.5,
      statisticsMomentum: 0.9,
    });
    expect(notFinite).toBeUndefined();
    expect(Object.fromEntries(backend.fallbacks)).toEqual({});
    disposeTraining(state);
    tf.dispose([x, targets]);
  });

  it('nothing of a step with the statistics of several processes', () => {
    const model = createModel(modelSchema.parse({ kind: 'spikmamba' }), input, 4);
    const x = tf.zeros([2, input.bins, input.channels, input.height, input.width]);
    const targets = tf.zeros([2, 4]);
    const reduced: number[][] = [];
    const transport = {
      rank: 1,
      world: 3,
      reduce(tensors: readonly tf.Tensor[]) {
        reduced.push(...tensors.map(({ shape }) => shape));
        return { finish: () => tensors.map((tensor) => tf.clone(tensor)) };
      },
    } as unknown as Transport;
    const start = startTraining(flatten(model.initialise(new Initialiser(1))));
    const settings = { learningRate: 1e-3, weightDecay: 0.01, gradientClip: 1, perStepLoss: 0.5 };
    const { state } = trainingStep(
      model,
      start,
      x,
      targets,
      { ...settings, statisticsMomentum: 0.9, synchroniseStatistics: true },
      transport,
    );
    expect(Object.fromEntries(backend.fallbacks)).toEqual({});
    // Rows, mean and variance of every process.
    expect(reduced).toContainEqual([3, 3, expect.any(Number)]);
    disposeTraining(state);
    tf.dispose([x, targets]);
  });

  it.each(eventRepresentations)('%s: no event is binned', (representation) => {
    const one = Int32Array.of(0);
    const grid = { bins: 2, height: 1, width: 1, fromUs: 0, toUs: 10, rows: one, columns: one };
    const [x, polarity] = [Uint16Array.of(0), Uint8Array.of(1)];
    binEvents({ tUs: Float64Array.of(5), x, y: x, polarity }, grid, representation).dispose();
    expect(Object.fromEntries(backend.fallbacks)).toEqual({});
  });
});

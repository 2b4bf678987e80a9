import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { selectBackend } from '../../engine/backend.js';
import { createRandom } from '../../engine/support/random.js';
import type { Reduction, Transport } from '../../engine/transport/transport.js';
import { createModel } from '../../models/networks/index.js';
import { modelSchema } from '../../models/networks/schema.js';
import {
  flatten,
  Initialiser,
  isTrainable,
  type ParameterTree,
  unflatten,
} from '../../models/parameters.js';
import { GradientExchange } from '../../models/training/gradientExchange.js';
import { clipLoss, smoothTargets } from '../../models/training/loss.js';
import { disposeTraining, startTraining, trainingStep } from '../../models/training/step.js';

type Values = Float32Array[];

/** One of two processes, whose partner's values are known: a step is done twice, first to learn what each sends. */
class PartnerTransport implements Transport {
  readonly rank = 0;
  readonly world = 2;
  readonly sent: Values[] = [];

  /** @param partner what the other one sends, call by call; where not given, averages are the own values. */
  constructor(private readonly partner?: readonly Values[]) {}

  reduce(tensors: readonly tf.Tensor[]): Reduction {
    const own = tensors.map((tensor) => Float32Array.from(tensor.dataSync()));
    const other = this.partner?.[this.sent.length] ?? own;
    this.sent.push(own);
    expect(other.map(({ length }) => length)).toEqual(own.map(({ length }) => length));
    const shapes = tensors.map(({ shape }) => shape);
    return {
      finish: () =>
        own.map((values, i) =>
          tf.tensor(
            values.map((value, k) => (value + other[i][k]) / 2),
            shapes[i],
          ),
        ),
    };
  }

  broadcast = (tensors: readonly tf.Tensor[]): tf.Tensor[] => tensors.map((x) => tf.clone(x));
  shareText = (text: string): string => text;
  any = (flag: boolean): boolean => flag;
  close = (): Promise<void> => Promise.resolve();
}

const input = { bins: 3, channels: 2, height: 8, width: 8 };
const config = {
  learningRate: 0.01,
  weightDecay: 0.01,
  gradientClip: 1,
  perStepLoss: 0.5,
  statisticsMomentum: 0.9,
};

function clips(from: number, to: number): { x: tf.Tensor; targets: tf.Tensor } {
  const random = createRandom(4, 'clips');
  const length = input.bins * input.channels * input.height * input.width;
  const values = Float32Array.from({ length: 4 * length }, () => (random.uniform() < 0.2 ? 1 : 0));
  const labels = [0, 1, 2, 1].slice(from, to);
  return {
    x: tf.tensor(values.slice(from * length, to * length), [
      to - from,
      input.bins,
      input.channels,
      input.height,
      input.width,
    ]),
    targets: tf.tensor(smoothTargets(labels, 3, 0.1), [to - from, 3]),
  };
}

/** Loss, gradient norm and weights after a step on clips `from` … `to`. */
function step(
  kind: string,
  from: number,
  to: number,
  transport?: Transport,
): { loss: number; gradientNorm: number; weights: Map<string, number[]> } {
  const model = createModel(modelSchema.parse({ kind }), input as never, 3);
  const start = startTraining(flatten(model.initialise(new Initialiser(2)) as never));
  const { x, targets } = clips(from, to);
  const { state, loss, gradientNorm } = trainingStep(model, start, x, targets, config, transport);
  const weights = new Map([...state.leaves].map(([path, leaf]) => [path, [...leaf.dataSync()]]));
  disposeTraining(state);
  tf.dispose([x, targets]);
  return { loss, gradientNorm, weights };
}

function expectClose(actual: Map<string, number[]>, expected: Map<string, number[]>): void {
  expect([...actual.keys()]).toEqual([...expected.keys()]);
  for (const [path, values] of expected) {
    values.forEach((value, i) => expect(actual.get(path)![i], path).toBeCloseTo(value, 5));
  }
}

describe('a step on a part of the batch', () => {
  beforeAll(() => selectBackend('cpu'));
  afterAll(() => expect(tf.memory().numTensors).toBe(0));

  it('is the step on the whole batch where no layer has batch statistics', () => {
    const other = new PartnerTransport();
    step('linear', 2, 4, other);
    const halves = step('linear', 0, 2, new PartnerTransport(other.sent));
    const whole = step('linear', 0, 4);
    expect(halves.loss).toBeCloseTo(whole.loss, 6);
    expect(halves.gradientNorm).toBeCloseTo(whole.gradientNorm, 5);
    expectClose(halves.weights, whole.weights);
  });

  it('gives both processes the same weights and the statistics of all clips', () => {
    const [first, second] = [new PartnerTransport(), new PartnerTransport()];
    step('spikmamba', 0, 2, first);
    step('spikmamba', 2, 4, second);
    const a = step('spikmamba', 0, 2, new PartnerTransport(second.sent));
    const b = step('spikmamba', 2, 4, new PartnerTransport(first.sent));
    expect(a.loss).toBe(b.loss);
    expect(a.weights).toEqual(b.weights);
    // The first layer sees the same in both; those above see what each process has normalised by itself.
    const whole = step('spikmamba', 0, 4);
    const [path] = [...whole.weights.keys()].filter((name) =>
      /^embedding.*runningVariance$/.test(name),
    );
    for (const name of [path, path.replace(/Variance$/, 'Mean')]) {
      whole.weights
        .get(name)!
        .forEach((value, i) => expect(a.weights.get(name)![i], name).toBeCloseTo(value, 5));
    }
  });

  it('leaves a step alone where the other process has the same clips', () => {
    const together = step('spikmamba', 0, 2, new PartnerTransport());
    const alone = step('spikmamba', 0, 2);
    expect(together.loss).toBeCloseTo(alone.loss, 6);
    expectClose(together.weights, alone.weights);
  });
});

describe('GradientExchange', () => {
  beforeAll(() => selectBackend('cpu'));

  it('sends the last layers first, bucket by bucket, while the backward pass goes on', () => {
    const transport = new PartnerTransport();
    const exchange = new GradientExchange(transport, 12);
    const started: number[] = [];
    tf.tidy(() => {
      const values = [2, 3, 5].map((value) => tf.tensor1d([value, value]));
      const x = tf.tensor1d([1, 2]);
      const loss = (...w: tf.Tensor[]): tf.Scalar => {
        const tree = exchange.watch(
          { a: { weight: w[0] }, b: { weight: w[1] }, c: { weight: w[2] } },
          isTrainable,
        ) as unknown as Record<string, { weight: tf.Tensor }>;
        let y: tf.Tensor = x;
        for (const name of ['a', 'b', 'c']) {
          y = tf.tidy(() => tf.mul(y, tree[name].weight));
          y = tf.customGrad((z) => ({
            value: tf.clone(z as tf.Tensor),
            gradFunc: (dy: tf.Tensor) => {
              started.push(transport.sent.length);
              return tf.clone(dy);
            },
          }))(y);
        }
        // Used twice: its gradient is complete when both uses have given theirs.
        return tf.add(tf.sum(y), tf.sum(tree.a.weight));
      };
      const { value, grads } = tf.valueAndGrads(loss)(values);
      const paths = ['a.weight', 'b.weight', 'c.weight'];
      const found = exchange.finish({
        loss: value,
        gradients: new Map(paths.map((path, i) => [path, grads[i]])),
        statistics: new Map(),
      });
      expect([...found.gradients].map(([path, g]) => [path, [...g.dataSync()]])).toEqual([
        ['a.weight', [16, 31]],
        ['b.weight', [10, 20]],
        ['c.weight', [6, 12]],
      ]);
    });
    exchange.dispose();
    // Two of two values make a bucket of 12 bytes full; the one with c and b left before a's backward.
    expect(transport.sent.slice(0, -1).map((each) => each.map((values) => [...values]))).toEqual([
      [
        [6, 12],
        [10, 20],
      ],
      [[16, 31]],
    ]);
    expect(started).toEqual([0, 0, 1]);
  });

  it('has sent most of a network before its backward pass ends, the head first', () => {
    const model = createModel(modelSchema.parse({ kind: 'spikmamba' }), input as never, 3);
    const leaves = flatten(model.initialise(new Initialiser(2)) as never);
    const paths = [...leaves.keys()].filter(isTrainable);
    const { x, targets } = clips(0, 2);
    const transport = new PartnerTransport();
    const exchange = new GradientExchange(transport, 1024);
    tf.tidy(() => {
      const loss = (): tf.Tensor => {
        const tree = exchange.watch(unflatten(leaves), isTrainable);
        const context = { training: true, path: '' };
        return clipLoss(model.apply(tree, x, undefined, context).logits, targets, 0.5);
      };
      const parameters = paths.map((path) => leaves.get(path)!);
      const { value, grads } = tf.engine().gradients(loss, parameters, undefined, true);
      const early = transport.sent.flat();
      const gradients = new Map(paths.map((path, i) => [path, grads[i] as tf.Tensor]));
      exchange.finish({ loss: value, gradients, statistics: new Map() });
      const sent = transport.sent.slice(0, -1).flat();
      // Each once, and nothing that was not complete.
      const sorted = (all: ArrayLike<number>[]): string[] => all.map((one) => String(one)).sort();
      expect(sorted(sent)).toEqual(sorted(grads.map((gradient) => gradient.dataSync())));
      const bytes = (all: Float32Array[]): number =>
        all.reduce((sum, one) => sum + 4 * one.length, 0);
      // What is left to the end is less than a bucket.
      expect(bytes(sent) - bytes(early)).toBeLessThan(1024);
      expect(bytes(sent)).toBeGreaterThan(20 * 1024);
      const head = paths.filter((path) => path.startsWith('head.'));
      expect(sorted(early.slice(0, head.length))).toEqual(
        sorted(head.map((path) => gradients.get(path)!.dataSync())),
      );
    });
    exchange.dispose();
    tf.dispose([...leaves.values(), x, targets]);
  });

  it('hands out untrained leaves as they are', () => {
    const exchange = new GradientExchange(new PartnerTransport());
    const mean = tf.scalar(1);
    const tree = exchange.watch({ norm: { runningMean: mean } }, isTrainable);
    expect((tree.norm as ParameterTree).runningMean).toBe(mean);
    mean.dispose();
  });
});

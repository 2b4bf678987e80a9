import * as tf from '@tensorflow/tfjs-core';

import type { Reduction, Transport } from '../../engine/transport/transport.js';
import type { BatchStatistics } from '../context.js';
import type { ParameterTree } from '../parameters.js';

/** Gradients are sent when so many bytes of them are complete. */
export const defaultBucketBytes = 4 << 20;

/** What a step found on this process, or on all of them. */
export interface StepFindings {
  readonly loss: tf.Tensor;
  /** By the parameters' paths, in their order. */
  readonly gradients: ReadonlyMap<string, tf.Tensor>;
  /** By layer. */
  readonly statistics: ReadonlyMap<string, BatchStatistics>;
}

/**
 * Averages one step's loss, gradients and batch statistics over processes, in buckets that are on their way while the
 * backward pass goes on (Li et al. 2020, PyTorch Distributed, sec. 3.2.3).
 *
 * A parameter is wrapped when a layer first reads it, which puts the wrapping right before its first use on the tape. So
 * the backward pass comes by when all uses have given their share: last layers first, and before the layers below.
 */
export class GradientExchange {
  private readonly wrapped = new Map<string, tf.Tensor>();
  private readonly sent: { readonly paths: string[]; readonly reduction: Reduction }[] = [];
  private bucket: { readonly path: string; readonly gradient: tf.Tensor }[] = [];
  private bucketBytes = 0;

  constructor(
    private readonly transport: Transport,
    private readonly fullBytes = defaultBucketBytes,
  ) {}

  /** The tree, whose trained leaves tell when their gradients are complete. */
  watch(tree: ParameterTree, isTrained: (path: string) => boolean, prefix = ''): ParameterTree {
    const watched = {};
    for (const [name, child] of Object.entries(tree)) {
      const path = prefix === '' ? name : `${prefix}.${name}`;
      const isTensor = child instanceof tf.Tensor;
      Object.defineProperty(watched, name, {
        enumerable: true,
        ...(isTensor && isTrained(path)
          ? { get: () => this.wrap(path, child) }
          : { value: isTensor ? child : this.watch(child, isTrained, path) }),
      });
    }
    return watched;
  }

  /**
   * Sends what is left, and waits for the averages. Variances are those of all processes' clips together.
   *
   * @param own of this process; they stay the caller's.
   */
  finish({ loss, gradients, statistics }: StepFindings): StepFindings {
    const { transport } = this;
    this.send();
    const moments = [...statistics.values()].flatMap(({ mean, variance }) => [
      mean,
      tf.add(variance, tf.square(mean)),
    ]);
    const rest = transport.reduce([loss, ...moments], 'mean');
    const averages = new Map<string, tf.Tensor>();
    for (const { paths, reduction } of this.sent) {
      reduction.finish().forEach((average, i) => averages.set(paths[i], average));
    }
    const [meanLoss, ...shared] = rest.finish();
    return {
      loss: meanLoss,
      // What nothing depends on is never complete, and zero everywhere.
      gradients: new Map([...gradients].map(([path, own]) => [path, averages.get(path) ?? own])),
      statistics: new Map(
        [...statistics.keys()].map((path, i) => {
          const [mean, square] = [shared[2 * i], shared[2 * i + 1]];
          return [path, { mean, variance: tf.relu(tf.sub(square, tf.square(mean))) }];
        }),
      ),
    };
  }

  /** Call it at the end, whatever has happened. */
  dispose(): void {
    tf.dispose([...this.wrapped.values(), ...this.bucket.map(({ gradient }) => gradient)]);
    this.wrapped.clear();
    this.bucket = [];
  }

  private wrap(path: string, parameter: tf.Tensor): tf.Tensor {
    let wrapped = this.wrapped.get(path);
    if (wrapped === undefined) {
      const watch = tf.customGrad((x) => ({
        value: tf.clone(x as tf.Tensor),
        gradFunc: (dy: tf.Tensor) => {
          this.add(path, dy);
          return tf.clone(dy);
        },
      }));
      // A layer's tidy would end it, and others may read it too.
      wrapped = tf.keep(watch(parameter));
      this.wrapped.set(path, wrapped);
    }
    return wrapped;
  }

  private add(path: string, gradient: tf.Tensor): void {
    this.bucket.push({ path, gradient: tf.keep(tf.clone(gradient)) });
    this.bucketBytes += 4 * gradient.size;
    if (this.bucketBytes >= this.fullBytes) this.send();
  }

  private send(): void {
    if (this.bucket.length === 0) return;
    const gradients = this.bucket.map(({ gradient }) => gradient);
    const reduction = this.transport.reduce(gradients, 'mean');
    this.sent.push({ paths: this.bucket.map(({ path }) => path), reduction });
    tf.dispose(gradients);
    this.bucket = [];
    this.bucketBytes = 0;
  }
}

import * as tf from '@tensorflow/tfjs-core';

import type { Transport } from '../transport/transport.js';
import {
  batchNorm,
  batchNormGradients,
  batchNormInference,
  defaultNorm,
  type NormConfig,
} from './normalise.js';

/**
 * `batchNorm` over the rows of all processes together, which may have different numbers of them: what one process would
 * compute on the joined batch. All processes call it at the same place, forward and backward.
 *
 * The gradients of scale and shift are this process's share, as those of every other parameter are. That of `x` is
 * the whole one, of the sum of all processes' losses.
 *
 * @param x `[…, features]`: this process's part.
 * @param scale,shift `[features]`, the same everywhere.
 * @returns y, shape of `x`; mean and (biased) variance of all rows, `[features]`, into which no gradient flows.
 */
export function synchronisedBatchNorm(
  x: tf.Tensor,
  scale: tf.Tensor,
  shift: tf.Tensor,
  transport: Transport,
  config: NormConfig = defaultNorm,
): { y: tf.Tensor; mean: tf.Tensor; variance: tf.Tensor } {
  let statistics: tf.Tensor[] = [];
  const op = tf.customGrad((...inputs) => {
    const [x, scale, shift] = inputs as tf.Tensor[];
    const save = inputs[3] as unknown as (tensors: tf.Tensor[]) => void;
    const own = batchNorm(x, scale, shift, config);
    const { rows, mean, variance } = joinedStatistics(
      x.shape[0],
      own.mean,
      own.variance,
      transport,
    );
    statistics = [tf.keep(mean), tf.keep(variance)];
    save([x, scale, shift, mean, variance, rows]);
    return {
      value: batchNormInference(x, { scale, shift, mean, variance }, config),
      gradFunc: (dy: tf.Tensor, saved: tf.Tensor[]) => gradients(dy, saved, transport, config),
    };
  });
  const y = op(tf.reshape(x, [-1, scale.shape[0]]), scale, shift);
  const [mean, variance] = statistics.map((tensor) => tf.clone(tensor));
  tf.dispose(statistics);
  return { y: tf.reshape(y, x.shape), mean, variance };
}

/**
 * Mean and variance of rows in parts, from those of each part (Chan, Golub & LeVeque 1983, eq. 2.1): sums of squares would
 * lose the digits of a mean that is large beside the deviation.
 */
function joinedStatistics(
  ownRows: number,
  mean: tf.Tensor,
  variance: tf.Tensor,
  transport: Transport,
): { rows: tf.Tensor; mean: tf.Tensor; variance: tf.Tensor } {
  const { rank, world } = transport;
  const own = tf.stack([tf.fill(mean.shape, ownRows), mean, variance]);
  // Each process's numbers in a place of their own: the sum has them all.
  const places: [number, number][] = [
    [rank, world - 1 - rank],
    [0, 0],
    [0, 0],
  ];
  const [all] = transport.reduce([tf.pad(tf.expandDims(own), places)], 'sum').finish();
  const [counts, means, variances] = tf.unstack(all, 1);
  const rows = tf.sum(counts, 0);
  const shares = tf.div(counts, rows);
  const joinedMean = tf.sum(tf.mul(shares, means), 0);
  const spread = tf.add(variances, tf.squaredDifference(means, joinedMean));
  return { rows, mean: joinedMean, variance: tf.sum(tf.mul(shares, spread), 0) };
}

/** Ioffe & Szegedy 2015, sec. 3, with sums over the rows of all processes. */
function gradients(
  dy: tf.Tensor,
  [x, scale, shift, mean, variance, rows]: tf.Tensor[],
  transport: Transport,
  config: NormConfig,
): tf.Tensor[] {
  const [ownDx, dScale, dShift] = batchNormGradients(
    { x, scale, shift, mean, variance, dy },
    config,
  );
  const [allDScale, allDShift] = transport.reduce([dScale, dShift], 'sum').finish();
  // What the own rows alone have had subtracted gives way to what all have.
  const excess = (own: tf.Tensor, all: tf.Tensor): tf.Tensor =>
    tf.mul(scale, tf.sub(tf.div(own, x.shape[0]), tf.div(all, rows)));
  const inverse = tf.rsqrt(tf.add(variance, config.epsilon));
  const correction = batchNormInference(
    x,
    {
      scale: tf.mul(inverse, excess(dScale, allDScale)),
      shift: tf.mul(inverse, excess(dShift, allDShift)),
      mean,
      variance,
    },
    config,
  );
  return [tf.add(ownDx, correction), dScale, dShift];
}

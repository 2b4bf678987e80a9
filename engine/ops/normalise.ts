import * as tf from '@tensorflow/tfjs-core';

import {
  defineFusedOp,
  sizeOf,
  type Attributes,
  type FloatArray,
  type HostKernel,
} from '../fused.js';

export interface NormConfig extends Attributes {
  /** Added to the variance (or mean square) under the root. */
  readonly epsilon: number;
}

export const defaultNorm: NormConfig = { epsilon: 1e-5 };

const batchForward: HostKernel<NormConfig> = {
  outputShapes: ([x, scale]) => [[...x], [...scale], [...scale]],
  run([x, scale, shift], [y, mean, variance], [[rows, features]], { epsilon }) {
    for (let r = 0, at = 0; r < rows; r++) {
      for (let f = 0; f < features; f++) mean[f] += x[at++];
    }
    for (let f = 0; f < features; f++) mean[f] /= rows;
    for (let r = 0, at = 0; r < rows; r++) {
      for (let f = 0; f < features; f++) {
        const centred = x[at++] - mean[f];
        variance[f] += centred * centred;
      }
    }
    const factor = new Float64Array(features);
    for (let f = 0; f < features; f++) {
      variance[f] /= rows;
      factor[f] = scale[f] / Math.sqrt(variance[f] + epsilon);
    }
    for (let r = 0, at = 0; r < rows; r++) {
      for (let f = 0; f < features; f++, at++) y[at] = (x[at] - mean[f]) * factor[f] + shift[f];
    }
  },
};

const batchBackward: HostKernel<NormConfig> = {
  outputShapes: ([x, scale, shift]) => [[...x], [...scale], [...shift]],
  run([x, scale, , mean, variance, dy], [dx, dScale, dShift], [[rows, features]], { epsilon }) {
    const inverse = new Float64Array(features);
    for (let f = 0; f < features; f++) inverse[f] = 1 / Math.sqrt(variance[f] + epsilon);
    for (let r = 0, at = 0; r < rows; r++) {
      for (let f = 0; f < features; f++, at++) {
        dShift[f] += dy[at];
        dScale[f] += dy[at] * (x[at] - mean[f]) * inverse[f];
      }
    }
    for (let r = 0, at = 0; r < rows; r++) {
      for (let f = 0; f < features; f++, at++) {
        const normal = (x[at] - mean[f]) * inverse[f];
        dx[at] = scale[f] * inverse[f] * (dy[at] - (dShift[f] + normal * dScale[f]) / rows);
      }
    }
  },
};

const batchNormOp = defineFusedOp<NormConfig>({
  name: 'BatchNormTraining',
  forward: batchForward,
  backward: batchBackward,
  saveOutputs: [false, true, true],
  reference([x, scale, shift], { epsilon }) {
    const { mean, variance } = tf.moments(x, 0);
    const normal = tf.div(tf.sub(x, mean), tf.sqrt(tf.add(variance, epsilon)));
    return [tf.add(tf.mul(normal, scale), shift), mean, variance];
  },
});

/**
 * Batch normalisation with the statistics of this batch (Ioffe & Szegedy 2015, Algorithm 1).
 * The statistics are given for running averages; no gradient flows into them.
 *
 * @param x `[…, features]`; statistics run over all but the last axis.
 * @param scale,shift `[features]`.
 * @returns y, shape of `x`; mean and (biased) variance, `[features]`.
 */
export function batchNorm(
  x: tf.Tensor,
  scale: tf.Tensor,
  shift: tf.Tensor,
  config: NormConfig = defaultNorm,
): { y: tf.Tensor; mean: tf.Tensor; variance: tf.Tensor } {
  const rows = tf.reshape(x, [-1, scale.shape[0]]);
  const [y, mean, variance] = batchNormOp([rows, scale, shift], config);
  return { y: tf.reshape(y, x.shape), mean, variance };
}

/**
 * Gradients of `batchNorm` where its statistics are these, whatever rows they are of: those of x (the sums of dy and of dy ·
 * normal x, over the rows given and divided by their number, taken from it), scale and shift.
 *
 * @param tensors x and dy `[rows, features]`, the others `[features]`.
 */
export function batchNormGradients(
  tensors: Readonly<Record<'x' | 'scale' | 'shift' | 'mean' | 'variance' | 'dy', tf.Tensor>>,
  config: NormConfig = defaultNorm,
): tf.Tensor[] {
  const { x, scale, shift, mean, variance, dy } = tensors;
  const gradients = batchNormOp.gradients([x, scale, shift, mean, variance, dy], config);
  if (gradients !== undefined) return gradients;
  const inverse = tf.rsqrt(tf.add(variance, config.epsilon));
  const normal = tf.mul(tf.sub(x, mean), inverse);
  const dScale = tf.sum(tf.mul(dy, normal), 0);
  const dShift = tf.sum(dy, 0);
  const shared = tf.div(tf.add(dShift, tf.mul(normal, dScale)), x.shape[0]);
  return [tf.mul(tf.mul(scale, inverse), tf.sub(dy, shared)), dScale, dShift];
}

/** `[…, features]` with all that comes before the features on one axis. */
export function rowExtents(shape: readonly number[]): number[] {
  return [sizeOf(shape.slice(0, -1)), shape[shape.length - 1]];
}

const fixedForward: HostKernel<NormConfig> = {
  outputShapes: ([x]) => [[...x]],
  run([x, scale, shift, mean, variance], [y], [shape], { epsilon }) {
    const [rows, features] = rowExtents(shape);
    const factor = new Float64Array(features);
    for (let f = 0; f < features; f++) factor[f] = scale[f] / Math.sqrt(variance[f] + epsilon);
    for (let r = 0, at = 0; r < rows; r++) {
      for (let f = 0; f < features; f++, at++) y[at] = (x[at] - mean[f]) * factor[f] + shift[f];
    }
  },
};

const batchNormInferenceOp = defineFusedOp<NormConfig>({
  name: 'BatchNormInference',
  forward: fixedForward,
  reference([x, scale, shift, mean, variance], { epsilon }) {
    const factor = tf.div(scale, tf.sqrt(tf.add(variance, epsilon)));
    return [tf.add(tf.mul(x, factor), tf.sub(shift, tf.mul(mean, factor)))];
  },
});

/** Batch normalisation with given statistics (inference): a fixed affine map per feature. */
export function batchNormInference(
  x: tf.Tensor,
  parameters: { scale: tf.Tensor; shift: tf.Tensor; mean: tf.Tensor; variance: tf.Tensor },
  config: NormConfig = defaultNorm,
): tf.Tensor {
  const { scale, shift, mean, variance } = parameters;
  return batchNormInferenceOp([x, scale, shift, mean, variance], config)[0];
}

/** Mean (0 where rows are not centred) and 1 / root of the mean square about it, of one row. */
function rowStatistics(
  x: FloatArray,
  at: number,
  features: number,
  centred: boolean,
  epsilon: number,
): { mean: number; inverse: number } {
  let mean = 0;
  if (centred) {
    for (let f = 0; f < features; f++) mean += x[at + f];
    mean /= features;
  }
  let squares = 0;
  for (let f = 0; f < features; f++) squares += (x[at + f] - mean) ** 2;
  return { mean, inverse: 1 / Math.sqrt(squares / features + epsilon) };
}

/** Each row by its own statistics: inputs x, scale and, where rows are centred, shift. */
const rowForward = (centred: boolean): HostKernel<NormConfig> => ({
  outputShapes: ([x]) => [[...x]],
  run([x, scale, shift], [y], [[rows, features]], { epsilon }) {
    for (let r = 0, at = 0; r < rows; r++) {
      const { mean, inverse } = rowStatistics(x, at, features, centred, epsilon);
      for (let f = 0; f < features; f++, at++) {
        y[at] = (x[at] - mean) * inverse * scale[f] + (centred ? shift[f] : 0);
      }
    }
  },
});

const rowBackward = (centred: boolean): HostKernel<NormConfig> => ({
  outputShapes: ([x, scale]) => [[...x], [...scale], ...(centred ? [[...scale]] : [])],
  run(inputs, [dx, dScale, dShift], [[rows, features]], { epsilon }) {
    const [x, scale] = inputs;
    const dy = inputs[inputs.length - 1];
    for (let r = 0; r < rows; r++) {
      const at = r * features;
      const { mean, inverse } = rowStatistics(x, at, features, centred, epsilon);
      let sum = 0;
      let overlap = 0;
      for (let f = 0; f < features; f++) {
        const normal = (x[at + f] - mean) * inverse;
        if (centred) {
          sum += dy[at + f] * scale[f];
          dShift[f] += dy[at + f];
        }
        overlap += dy[at + f] * scale[f] * normal;
        dScale[f] += dy[at + f] * normal;
      }
      for (let f = 0; f < features; f++) {
        const normal = (x[at + f] - mean) * inverse;
        dx[at + f] = inverse * (dy[at + f] * scale[f] - (sum + normal * overlap) / features);
      }
    }
  },
});

const rmsReference = (x: tf.Tensor, scale: tf.Tensor, epsilon: number): tf.Tensor =>
  tf.mul(tf.mul(x, tf.rsqrt(tf.add(tf.mean(tf.square(x), -1, true), epsilon))), scale);

const rmsNormOp = defineFusedOp<NormConfig>({
  name: 'RmsNorm',
  forward: rowForward(false),
  backward: rowBackward(false),
  reference: ([x, scale], { epsilon }) => [rmsReference(x, scale, epsilon)],
});

const layerNormOp = defineFusedOp<NormConfig>({
  name: 'LayerNorm',
  forward: rowForward(true),
  backward: rowBackward(true),
  reference: ([x, scale, shift], { epsilon }) => [
    tf.add(rmsReference(tf.sub(x, tf.mean(x, -1, true)), scale, epsilon), shift),
  ],
});

/**
 * Root-mean-square normalisation of each token (Zhang & Sennrich 2019, eq. 4).
 *
 * @param x `[…, features]`.
 * @param scale `[features]`.
 */
export function rmsNorm(
  x: tf.Tensor,
  scale: tf.Tensor,
  config: NormConfig = defaultNorm,
): tf.Tensor {
  const rows = tf.reshape(x, [-1, scale.shape[0]]);
  return tf.reshape(rmsNormOp([rows, scale], config)[0], x.shape);
}

/**
 * Layer normalisation of each token: (x - mean) / √(variance + epsilon) · scale + shift, with the
 * statistics of its own features (Ba et al. 2016, eqs. 3 and 4).
 *
 * @param x `[…, features]`.
 * @param scale,shift `[features]`.
 */
export function layerNorm(
  x: tf.Tensor,
  scale: tf.Tensor,
  shift: tf.Tensor,
  config: NormConfig = defaultNorm,
): tf.Tensor {
  const rows = tf.reshape(x, [-1, scale.shape[0]]);
  return tf.reshape(layerNormOp([rows, scale, shift], config)[0], x.shape);
}

export const batchNormInferenceDefinition = batchNormInferenceOp.definition;
export const batchNormDefinition = batchNormOp.definition;
export const rmsNormDefinition = rmsNormOp.definition;
export const layerNormDefinition = layerNormOp.definition;

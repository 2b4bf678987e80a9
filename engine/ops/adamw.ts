import * as tf from '@tensorflow/tfjs-core';

import { defineFusedOp, type Attributes, type HostKernel } from '../fused.js';

/** Settings of one AdamW update. */
export interface AdamwConfig extends Attributes {
  readonly learningRate: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  /** Decoupled: the parameter shrinks by learningRate · weightDecay, apart from the moments. */
  readonly weightDecay: number;
  /** Number of this update, from 1; corrects the bias of the moments. */
  readonly step: number;
  /** The gradient is multiplied by it first (gradient clipping). */
  readonly gradientScale: number;
}

const kernel: HostKernel<AdamwConfig> = {
  outputShapes: ([parameter]) => [[...parameter], [...parameter], [...parameter]],
  run([parameter, gradient, m, v], [nextParameter, nextM, nextV], _, config) {
    const { learningRate, beta1, beta2, epsilon, weightDecay, step, gradientScale } = config;
    const correction1 = 1 - beta1 ** step;
    const correction2 = 1 - beta2 ** step;
    for (let i = 0; i < parameter.length; i++) {
      const g = gradient[i] * gradientScale;
      const m1 = beta1 * m[i] + (1 - beta1) * g;
      const v1 = beta2 * v[i] + (1 - beta2) * g * g;
      nextM[i] = m1;
      nextV[i] = v1;
      const update = m1 / correction1 / (Math.sqrt(v1 / correction2) + epsilon);
      nextParameter[i] = parameter[i] - learningRate * (update + weightDecay * parameter[i]);
    }
  },
};

const fused = defineFusedOp<AdamwConfig>({
  name: 'AdamwUpdate',
  forward: kernel,
  reference([parameter, gradient, m, v], config) {
    const { learningRate, beta1, beta2, epsilon, weightDecay, step, gradientScale } = config;
    const g = tf.mul(gradient, gradientScale);
    const m1 = tf.add(tf.mul(beta1, m), tf.mul(1 - beta1, g));
    const v1 = tf.add(tf.mul(beta2, v), tf.mul(1 - beta2, tf.square(g)));
    const scale = tf.add(tf.sqrt(tf.div(v1, 1 - beta2 ** step)), epsilon);
    const update = tf.div(tf.div(m1, 1 - beta1 ** step), scale);
    const decay = tf.mul(weightDecay, parameter);
    return [tf.sub(parameter, tf.mul(learningRate, tf.add(update, decay))), m1, v1];
  },
});

/** A parameter with its moments; all of one shape. */
export interface AdamwState {
  readonly parameter: tf.Tensor;
  /** First moment, the running mean of the gradient. */
  readonly m: tf.Tensor;
  /** Second moment, the running mean of its square. */
  readonly v: tf.Tensor;
}

/** One step of AdamW (Loshchilov & Hutter 2019, Algorithm 2, schedule multiplier in the rate). */
export function adamw(state: AdamwState, gradient: tf.Tensor, config: AdamwConfig): AdamwState {
  const [parameter, m, v] = fused([state.parameter, gradient, state.m, state.v], config);
  return { parameter, m, v };
}

export const adamwDefinition = fused.definition;

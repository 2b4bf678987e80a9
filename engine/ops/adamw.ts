import * as tf from '@tensorflow/tfjs-core';

import { defineFusedOp, type Attributes, type HostKernel } from '../fused.js';

/** Settings of AdamW that stay the same from update to update. */
export interface AdamwConfig extends Attributes {
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  /** The norm of all gradients to which a larger one is scaled down; 0 for none. */
  readonly gradientClip: number;
  /** Learning rate of each parameter, in that of `UpdateControl`. */
  readonly rates: Float32Array;
  /** Of each parameter. Decoupled: it shrinks by learningRate · weightDecay, apart from the moments. */
  readonly weightDecays: Float32Array;
}

/** What decides about an update, where it is computed: nobody has to wait for it. */
export interface UpdateControl {
  /**
   * `[learning rate, number of this update from 1, share]`: the number corrects the bias of the moments, the share is that of
   * new values in running averages.
   */
  readonly settings: tf.Tensor;
  /** A scalar. */
  readonly loss: tf.Tensor;
  /** `euclideanNorms` of the gradients. Where the first of them or the loss is not finite, nothing changes. */
  readonly norms: tf.Tensor;
}

const perParameter = 4;

const kernel: HostKernel<AdamwConfig> = {
  outputShapes: ([, , , ...shapes]) =>
    shapes.filter((_, i) => i % perParameter !== 1).map((shape) => [...shape]),
  run([settings, loss, norms, ...tensors], outputs, _, config) {
    const { beta1, beta2, epsilon, rates, weightDecays } = config;
    const [learningRate, step] = settings;
    const correction1 = 1 - beta1 ** step;
    const correction2 = 1 - beta2 ** step;
    const gradientScale = gradientScaleOf(norms[0], config);
    const changes = isFiniteUpdate(loss, norms);
    for (let p = 0; p < tensors.length / perParameter; p++) {
      const [parameter, gradient, m, v] = tensors.slice(perParameter * p);
      const [nextParameter, nextM, nextV] = outputs.slice(3 * p);
      if (!changes) {
        nextParameter.set(parameter);
        nextM.set(m);
        nextV.set(v);
        continue;
      }
      for (let i = 0; i < parameter.length; i++) {
        const g = gradient[i] * gradientScale;
        const m1 = beta1 * m[i] + (1 - beta1) * g;
        const v1 = beta2 * v[i] + (1 - beta2) * g * g;
        nextM[i] = m1;
        nextV[i] = v1;
        const update = m1 / correction1 / (Math.sqrt(v1 / correction2) + epsilon);
        nextParameter[i] =
          parameter[i] - rates[p] * learningRate * (update + weightDecays[p] * parameter[i]);
      }
    }
  },
};

/** The factor that gradients of such a norm are multiplied by. */
export function gradientScaleOf(norm: number, { gradientClip }: AdamwConfig): number {
  return gradientClip > 0 && norm > gradientClip ? gradientClip / norm : 1;
}

/** Whether loss and gradients let anything change. */
export function isFiniteUpdate(loss: ArrayLike<number>, norms: ArrayLike<number>): boolean {
  return Number.isFinite(loss[0]) && Number.isFinite(norms[0]);
}

/** `isFiniteUpdate` in core ops. */
export function finiteUpdate(loss: tf.Tensor, norms: tf.Tensor): tf.Tensor {
  // A number that is not finite has no difference from itself.
  const norm = tf.slice(norms, [0], [1]);
  const difference = tf.add(tf.sub(loss, loss), tf.sub(norm, norm));
  return tf.reshape(tf.equal(difference, 0), []);
}

const fused = defineFusedOp<AdamwConfig>({
  name: 'AdamwUpdate',
  forward: kernel,
  reference([settings, loss, norms, ...tensors], config) {
    const { beta1, beta2, epsilon, gradientClip, rates, weightDecays } = config;
    const [learningRate, step] = [0, 1].map((i) => tf.reshape(tf.slice(settings, [i], [1]), []));
    const norm = tf.reshape(tf.slice(norms, [0], [1]), []);
    const gradientScale = gradientClip > 0 ? tf.minimum(1, tf.div(gradientClip, norm)) : 1;
    const [correction1, correction2] = [beta1, beta2].map((beta) => tf.sub(1, tf.pow(beta, step)));
    const finite = finiteUpdate(loss, norms);
    return Array.from({ length: tensors.length / perParameter }, (_, p) => {
      const [parameter, gradient, m, v] = tensors.slice(perParameter * p);
      const g = tf.mul(gradient, gradientScale);
      const m1 = tf.add(tf.mul(beta1, m), tf.mul(1 - beta1, g));
      const v1 = tf.add(tf.mul(beta2, v), tf.mul(1 - beta2, tf.square(g)));
      const scale = tf.add(tf.sqrt(tf.div(v1, correction2)), epsilon);
      const update = tf.div(tf.div(m1, correction1), scale);
      const decay = tf.mul(weightDecays[p], parameter);
      const rate = tf.mul(rates[p], learningRate);
      const next = tf.sub(parameter, tf.mul(rate, tf.add(update, decay)));
      return [tf.where(finite, next, parameter), tf.where(finite, m1, m), tf.where(finite, v1, v)];
    }).flat();
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

/**
 * One step of AdamW (Loshchilov & Hutter 2019, Algorithm 2, schedule multiplier in the rate) for all parameters at once.
 * The states given are used up: on a device, the next ones lie in their memory.
 *
 * @param gradients one for each state, of its shape.
 */
export function adamw(
  states: readonly AdamwState[],
  gradients: readonly tf.Tensor[],
  { settings, loss, norms }: UpdateControl,
  config: AdamwConfig,
): AdamwState[] {
  const tensors = states.flatMap(({ parameter, m, v }, i) => [parameter, gradients[i], m, v]);
  const next = fused([settings, loss, norms, ...tensors], config);
  return states.map((_, i) => {
    const [parameter, m, v] = next.slice(3 * i);
    return { parameter, m, v };
  });
}

export const adamwDefinition = fused.definition;

import * as tf from '@tensorflow/tfjs-core';

import { defineFusedOp, type Attributes, type HostKernel } from '../fused.js';
import { timeSteps } from './timeSteps.js';

/**
 * The derivative that stands in for the step function's in the backward pass (surrogate gradient;
 * Neftci et al. 2019). `x` is the membrane minus the threshold, `w` the width:
 * - `atan`: (1/w) / (1 + (π x / w)²)   (Fang et al. 2021, their α = 2/w)
 * - `sigmoid`: s (1 - s) / w with s = sigmoid(x / w)
 * - `triangle`: max(0, 1 - |x| / w) / w   (Bellec et al. 2018)
 * - `rectangle`: 1 / w where |x| < w / 2   (Wu et al. 2018)
 * Each has the integral 1.
 */
export type Surrogate = 'atan' | 'sigmoid' | 'triangle' | 'rectangle';

/** Settings of leaky integrate-and-fire neurons. */
export interface LifConfig extends Attributes {
  /** Membrane time constant in time steps, > 1 - or `Infinity` for integrate-and-fire. */
  readonly tau: number;
  /** Membrane value at which a neuron spikes, > 0. */
  readonly threshold: number;
  /** After a spike: `hard` sets the membrane to 0, `soft` subtracts the threshold. */
  readonly reset: 'hard' | 'soft';
  /** Whether the input is divided by tau as well: H = V + (X - V)/τ, otherwise H = V - V/τ + X. */
  readonly decayInput: boolean;
  /** Whether the backward pass takes the reset as a constant. */
  readonly detachReset: boolean;
  readonly surrogate: Surrogate;
  /** Width of the surrogate in units of the membrane, > 0. */
  readonly surrogateWidth: number;
  /**
   * Replaces the step by the surrogate's primitive, so that the op is smooth and its gradient exact.
   * For gradient checks only: outputs are then no spikes.
   */
  readonly relaxed: boolean;
}

/** τ = 2, threshold 1, hard reset (detached), decaying input, arc-tangent surrogate of width 1. */
export const defaultLif: LifConfig = {
  tau: 2,
  threshold: 1,
  reset: 'hard',
  decayInput: true,
  detachReset: true,
  surrogate: 'atan',
  surrogateWidth: 1,
  relaxed: false,
};

const forward: HostKernel<LifConfig> = {
  outputShapes: ([input, membrane]) => [[...input], [...membrane], [...input]],
  run([input, initial], [spikes, last, charged], [[batch, steps, features]], config) {
    const { leak, gain } = coefficients(config);
    const { threshold, relaxed } = config;
    const hard = config.reset === 'hard';
    const primitive = primitives[config.surrogate];
    for (let b = 0; b < batch; b++) {
      const stateAt = b * features;
      for (let f = 0; f < features; f++) last[stateAt + f] = initial[stateAt + f];
      for (let t = 0; t < steps; t++) {
        const at = (b * steps + t) * features;
        for (let f = 0; f < features; f++) {
          const h = leak * last[stateAt + f] + gain * input[at + f];
          const x = h - threshold;
          const spike = relaxed ? primitive(x, config.surrogateWidth) : x >= 0 ? 1 : 0;
          charged[at + f] = h;
          spikes[at + f] = spike;
          last[stateAt + f] = hard ? h * (1 - spike) : h - threshold * spike;
        }
      }
    }
  },
};

const backward: HostKernel<LifConfig> = {
  outputShapes: ([input, membrane]) => [[...input], [...membrane]],
  run(tensors, [inputGradient, membraneGradient], [[batch, steps, features]], config) {
    const [, , charged, spikeGradient, lastGradient] = tensors;
    const { leak, gain } = coefficients(config);
    const { threshold, relaxed, detachReset, surrogateWidth } = config;
    const hard = config.reset === 'hard';
    const primitive = primitives[config.surrogate];
    const derivative = derivatives[config.surrogate];
    // `membraneGradient` holds dL/dV[t] while t runs backwards.
    membraneGradient.set(lastGradient);
    for (let b = 0; b < batch; b++) {
      const stateAt = b * features;
      for (let t = steps - 1; t >= 0; t--) {
        const at = (b * steps + t) * features;
        for (let f = 0; f < features; f++) {
          const h = charged[at + f];
          const x = h - threshold;
          const spike = relaxed ? primitive(x, surrogateWidth) : x >= 0 ? 1 : 0;
          const slope = derivative(x, surrogateWidth);
          const dV = membraneGradient[stateAt + f];
          let dSpike = spikeGradient[at + f];
          if (!detachReset) dSpike -= dV * (hard ? h : threshold);
          const dH = dV * (hard ? 1 - spike : 1) + dSpike * slope;
          inputGradient[at + f] = dH * gain;
          membraneGradient[stateAt + f] = dH * leak;
        }
      }
    }
  },
};

function coefficients({ tau, decayInput }: LifConfig): { leak: number; gain: number } {
  return { leak: 1 - 1 / tau, gain: decayInput ? 1 / tau : 1 };
}

type Curve = (x: number, width: number) => number;

const derivatives: Readonly<Record<Surrogate, Curve>> = {
  atan: (x, w) => 1 / w / (1 + ((Math.PI * x) / w) ** 2),
  sigmoid: (x, w) => {
    const s = 1 / (1 + Math.exp(-x / w));
    return (s * (1 - s)) / w;
  },
  triangle: (x, w) => Math.max(0, 1 - Math.abs(x) / w) / w,
  rectangle: (x, w) => (Math.abs(x) < w / 2 ? 1 / w : 0),
};

/** The integrals of `derivatives`, from 0 (far below the threshold) to 1 (far above). */
const primitives: Readonly<Record<Surrogate, Curve>> = {
  atan: (x, w) => Math.atan((Math.PI * x) / w) / Math.PI + 0.5,
  sigmoid: (x, w) => 1 / (1 + Math.exp(-x / w)),
  triangle: (x, w) => {
    const u = Math.max(-1, Math.min(1, x / w));
    return u < 0 ? 0.5 * (1 + u) ** 2 : 1 - 0.5 * (1 - u) ** 2;
  },
  rectangle: (x, w) => Math.max(0, Math.min(1, x / w + 0.5)),
};

function surrogateTensor(x: tf.Tensor, config: LifConfig): tf.Tensor {
  const scaled = tf.div(x, config.surrogateWidth);
  const curve = {
    atan: () => tf.reciprocal(tf.add(1, tf.square(tf.mul(Math.PI, scaled)))),
    sigmoid: () => tf.mul(tf.sigmoid(scaled), tf.sub(1, tf.sigmoid(scaled))),
    triangle: () => tf.relu(tf.sub(1, tf.abs(scaled))),
    rectangle: () => tf.cast(tf.less(tf.abs(scaled), 0.5), 'float32'),
  }[config.surrogate]();
  return tf.div(curve, config.surrogateWidth);
}

/** The step function with the surrogate's derivative, in core ops. */
function spikeTensor(x: tf.Tensor, config: LifConfig): tf.Tensor {
  const spike = tf.customGrad((input, save) => {
    (save as tf.GradSaveFunc)([input as tf.Tensor]);
    return {
      value: tf.cast(tf.greaterEqual(input as tf.Tensor, 0), 'float32'),
      gradFunc: (dy: tf.Tensor, [saved]: tf.Tensor[]) => tf.mul(dy, surrogateTensor(saved, config)),
    };
  });
  return spike(x);
}

const fused = defineFusedOp<LifConfig>({
  name: 'Lif',
  forward,
  backward,
  saveOutputs: [false, false, true],
  reference([input, initial], config) {
    const { leak, gain } = coefficients(config);
    let membrane = initial;
    const spikes: tf.Tensor[] = [];
    const charged: tf.Tensor[] = [];
    for (const x of timeSteps(input)) {
      const h = tf.add(tf.mul(leak, membrane), tf.mul(gain, x));
      const spike = spikeTensor(tf.sub(h, config.threshold), config);
      const reset = config.detachReset ? stopGradient(spike) : spike;
      membrane =
        config.reset === 'hard'
          ? tf.mul(h, tf.sub(1, reset))
          : tf.sub(h, tf.mul(config.threshold, reset));
      spikes.push(spike);
      charged.push(h);
    }
    return [tf.stack(spikes, 1), membrane, tf.stack(charged, 1)];
  },
});

function stopGradient(x: tf.Tensor): tf.Tensor {
  return tf.customGrad((input) => ({
    value: tf.clone(input as tf.Tensor),
    gradFunc: (dy: tf.Tensor) => tf.zerosLike(dy),
  }))(x);
}

/**
 * Leaky integrate-and-fire neurons over an explicit time axis. For each clip and feature, with
 * V[-1] = `membrane`:
 *
 *     H[t] = V[t-1] + (X[t] - V[t-1]) / τ       (decayInput; otherwise V[t-1] - V[t-1]/τ + X[t])
 *     S[t] = 1 where H[t] ≥ threshold, else 0
 *     V[t] = H[t] (1 - S[t])                     (hard reset; soft: H[t] - threshold S[t])
 *
 * (Fang et al., "Incorporating learnable membrane time constant", ICCV 2021, eqs. 2-4.)
 *
 * @param input X, `[batch, time, features]`.
 * @param membrane V before the first step, `[batch, features]`.
 * @returns spikes S, shape of `input`, values 0 and 1; and the membrane after the last step,
 *   `[batch, features]`, the state for the next chunk.
 */
export function lif(
  input: tf.Tensor,
  membrane: tf.Tensor,
  config: LifConfig = defaultLif,
): { spikes: tf.Tensor; membrane: tf.Tensor } {
  const [spikes, last] = fused([input, membrane], config);
  return { spikes, membrane: last };
}

/** For tests and other engines: the op's definition, with its loops and its reference. */
export const lifDefinition = fused.definition;

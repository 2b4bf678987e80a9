import * as tf from '@tensorflow/tfjs-core';

import { defineFusedOp, sizeOf, type Attributes, type HostKernel } from '../fused.js';
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

/** An adapting threshold: it rises with each spike and falls back (Bellec et al. 2018, eq. 2). */
export interface AdaptiveLifConfig extends LifConfig {
  /** β: how far adaptation 1 raises the threshold, ≥ 0. */
  readonly adaptationStrength: number;
  /** ρ: share of the adaptation that is left after a step, 0 … 1. */
  readonly adaptationDecay: number;
}

/** Which of the variants runs; decides what the inputs are. */
interface Variant {
  /** tau is an input rather than a setting. */
  readonly parametric: boolean;
  /** The threshold adapts. */
  readonly adaptive: boolean;
}

type Settings = LifConfig & Partial<AdaptiveLifConfig>;

/** `[batch, time, …]` with all that comes after time on one axis. */
export function sequenceExtents([batch, steps, ...rest]: readonly number[]): number[] {
  return [batch, steps, sizeOf(rest)];
}

/** Inputs are X, V and, by variant, tau or the adaptation; outputs S, V and the adaptation. */
function forwardOf({ parametric, adaptive }: Variant): HostKernel<Settings> {
  return {
    outputShapes: ([input, membrane]) => [
      [...input],
      [...membrane],
      ...(adaptive ? [[...membrane]] : []),
    ],
    run([input, initial, extra], [spikes, last, lastAdaptation], [shape], config) {
      const [batch, steps, features] = sequenceExtents(shape);
      const { threshold, relaxed, surrogateWidth } = config;
      const { adaptationStrength = 0, adaptationDecay = 0 } = config;
      const hard = config.reset === 'hard';
      const primitive = primitives[config.surrogate];
      const fixed = coefficients(config.tau, config.decayInput);
      last.set(initial);
      if (adaptive) lastAdaptation.set(extra);
      for (let b = 0; b < batch; b++) {
        const stateAt = b * features;
        for (let t = 0; t < steps; t++) {
          const at = (b * steps + t) * features;
          for (let f = 0; f < features; f++) {
            const { leak, gain } = parametric
              ? coefficients(extra[f % extra.length], config.decayInput)
              : fixed;
            const h = leak * last[stateAt + f] + gain * input[at + f];
            const limit = adaptive
              ? threshold + adaptationStrength * lastAdaptation[stateAt + f]
              : threshold;
            const spike = relaxed ? primitive(h - limit, surrogateWidth) : h >= limit ? 1 : 0;
            spikes[at + f] = spike;
            last[stateAt + f] = hard ? h * (1 - spike) : h - limit * spike;
            if (adaptive) {
              lastAdaptation[stateAt + f] =
                adaptationDecay * lastAdaptation[stateAt + f] + (1 - adaptationDecay) * spike;
            }
          }
        }
      }
    },
  };
}

function backwardOf({ parametric, adaptive }: Variant): HostKernel<Settings> {
  const inputs = 2 + (parametric || adaptive ? 1 : 0);
  return {
    outputShapes: (shapes) => shapes.slice(0, inputs).map((shape) => [...shape]),
    run(tensors, [inputGradient, membraneGradient, extraGradient], [shape], config) {
      const [input, initial, extra] = tensors;
      const [spikeGradient, lastGradient, lastAdaptationGradient] = tensors.slice(inputs);
      const [batch, steps, features] = sequenceExtents(shape);
      const { threshold, relaxed, detachReset, surrogateWidth } = config;
      const { adaptationStrength = 0, adaptationDecay = 0 } = config;
      const hard = config.reset === 'hard';
      const primitive = primitives[config.surrogate];
      const derivative = derivatives[config.surrogate];
      const fixed = coefficients(config.tau, config.decayInput);
      // States before each step of one neuron: cheaper to compute again than to keep for all.
      const membranes = new Float64Array(steps + 1);
      const adaptations = new Float64Array(steps + 1);
      const kept = input instanceof Float32Array ? Math.fround : (x: number): number => x;
      for (let b = 0; b < batch; b++) {
        for (let f = 0; f < features; f++) {
          const state = b * features + f;
          const tau = parametric ? extra[f % extra.length] : config.tau;
          const { leak, gain } = parametric ? coefficients(tau, config.decayInput) : fixed;
          const charge = (t: number): { h: number; limit: number; spike: number } => {
            const h = leak * membranes[t] + gain * input[(b * steps + t) * features + f];
            const limit = threshold + adaptationStrength * adaptations[t];
            const spike = relaxed ? primitive(h - limit, surrogateWidth) : h >= limit ? 1 : 0;
            return { h, limit, spike };
          };
          membranes[0] = initial[state];
          if (adaptive) adaptations[0] = extra[state];
          for (let t = 0; t < steps; t++) {
            const { h, limit, spike } = charge(t);
            membranes[t + 1] = kept(hard ? h * (1 - spike) : h - limit * spike);
            if (adaptive) {
              const next = adaptationDecay * adaptations[t] + (1 - adaptationDecay) * spike;
              adaptations[t + 1] = kept(next);
            }
          }
          // Gradients of the states after step t, while t runs backwards.
          let dV = lastGradient[state];
          let dA = adaptive ? lastAdaptationGradient[state] : 0;
          let dRate = 0;
          for (let t = steps - 1; t >= 0; t--) {
            const at = (b * steps + t) * features + f;
            const { h, limit, spike } = charge(t);
            let dSpike = spikeGradient[at];
            if (!detachReset) dSpike -= dV * (hard ? h : limit);
            if (adaptive) dSpike += (1 - adaptationDecay) * dA;
            const crossing = dSpike * derivative(h - limit, surrogateWidth);
            const dH = dV * (hard ? 1 - spike : 1) + crossing;
            if (adaptive) {
              const dLimit = -crossing - (hard ? 0 : dV * spike);
              dA = adaptationDecay * dA + adaptationStrength * dLimit;
            }
            if (parametric) dRate += dH * ((config.decayInput ? input[at] : 0) - membranes[t]);
            inputGradient[at] = dH * gain;
            dV = dH * leak;
          }
          membraneGradient[state] = dV;
          if (adaptive) extraGradient[state] = dA;
          if (parametric) extraGradient[f % extra.length] -= dRate / (tau * tau);
        }
      }
    },
  };
}

/** Factors of V and X in H. Without a leak, the input isn't divided either. */
function coefficients(tau: number, decayInput: boolean): { leak: number; gain: number } {
  return { leak: 1 - 1 / tau, gain: decayInput && tau !== Infinity ? 1 / tau : 1 };
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

/** The integral of `surrogateTensor`, which `relaxed` puts in the step's place. */
function primitiveTensor(x: tf.Tensor, config: LifConfig): tf.Tensor {
  const scaled = tf.div(x, config.surrogateWidth);
  return {
    atan: () => tf.add(tf.div(tf.atan(tf.mul(Math.PI, scaled)), Math.PI), 0.5),
    sigmoid: () => tf.sigmoid(scaled),
    triangle: () => {
      const u = tf.clipByValue(scaled, -1, 1);
      return tf.add(0.5, tf.sub(u, tf.mul(0.5, tf.mul(u, tf.abs(u)))));
    },
    rectangle: () => tf.clipByValue(tf.add(scaled, 0.5), 0, 1),
  }[config.surrogate]();
}

/**
 * Spikes of neurons that have no kernel, in core ops: 1 where x ≥ 0, else 0, with the surrogate's derivative; its
 * primitive where `relaxed`.
 *
 * @param x membrane minus threshold, any shape.
 */
export function surrogateSpikes(x: tf.Tensor, config: LifConfig): tf.Tensor {
  return config.relaxed ? primitiveTensor(x, config) : spikeTensor(x, config);
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

function referenceOf({ parametric, adaptive }: Variant) {
  return ([input, initial, extra]: readonly tf.Tensor[], config: Settings): tf.Tensor[] => {
    const { threshold, reset, detachReset } = config;
    const { adaptationStrength = 0, adaptationDecay = 0 } = config;
    const features = input.shape[input.shape.length - 1];
    const { leak, gain } = coefficients(config.tau, config.decayInput);
    const rate = parametric
      ? tf.reciprocal(tf.tile(extra, [features / extra.size]))
      : tf.scalar(1 - leak);
    const inputRate = parametric ? rate : tf.scalar(gain);
    let membrane = initial;
    let adaptation = extra;
    const spikes: tf.Tensor[] = [];
    for (const x of timeSteps(input)) {
      const charge = parametric && !config.decayInput ? x : tf.mul(inputRate, x);
      const h = tf.add(tf.mul(tf.sub(1, rate), membrane), charge);
      const limit = adaptive
        ? tf.add(threshold, tf.mul(adaptationStrength, adaptation))
        : tf.scalar(threshold);
      const spike = spikeTensor(tf.sub(h, limit), config);
      const resetting = detachReset ? stopGradient(spike) : spike;
      membrane =
        reset === 'hard' ? tf.mul(h, tf.sub(1, resetting)) : tf.sub(h, tf.mul(limit, resetting));
      if (adaptive) {
        adaptation = tf.add(
          tf.mul(adaptationDecay, adaptation),
          tf.mul(1 - adaptationDecay, spike),
        );
      }
      spikes.push(spike);
    }
    return [tf.stack(spikes, 1), membrane, ...(adaptive ? [adaptation] : [])];
  };
}

function defineLif(name: string, variant: Variant) {
  return defineFusedOp<Settings>({
    name,
    forward: forwardOf(variant),
    backward: backwardOf(variant),
    reference: referenceOf(variant),
  });
}

const plain = defineLif('Lif', { parametric: false, adaptive: false });
const parametric = defineLif('ParametricLif', { parametric: true, adaptive: false });
const adaptive = defineLif('AdaptiveLif', { parametric: false, adaptive: true });

/** The same values, through which no gradient flows. */
export function stopGradient(x: tf.Tensor): tf.Tensor {
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
 * @param input X, `[batch, time, …, features]`.
 * @param membrane V before the first step, `[batch, …, features]`.
 * @returns spikes S, shape of `input`, values 0 and 1; and the membrane after the last step,
 *   shape of `membrane`, the state for the next chunk.
 */
export function lif(
  input: tf.Tensor,
  membrane: tf.Tensor,
  config: LifConfig = defaultLif,
): { spikes: tf.Tensor; membrane: tf.Tensor } {
  const [spikes, last] = plain([input, membrane], config);
  return { spikes, membrane: last };
}

/**
 * `lif` with a time constant that is learned (PLIF; Fang et al. 2021). `config.tau` is not used.
 *
 * @param tau time constants in steps, > 1, `[n]` where n divides the features: neuron f has tau[f mod n].
 */
export function parametricLif(
  input: tf.Tensor,
  membrane: tf.Tensor,
  tau: tf.Tensor,
  config: LifConfig = defaultLif,
): { spikes: tf.Tensor; membrane: tf.Tensor } {
  const [spikes, last] = parametric([input, membrane, tau], config);
  return { spikes, membrane: last };
}

/** Integrate-and-fire: `lif` without a leak; `config.tau` and `config.decayInput` are not used. */
export function integrateAndFire(
  input: tf.Tensor,
  membrane: tf.Tensor,
  config: LifConfig = defaultLif,
): { spikes: tf.Tensor; membrane: tf.Tensor } {
  return lif(input, membrane, { ...config, tau: Infinity, decayInput: false });
}

/**
 * `lif` with a threshold that adapts (Bellec et al. 2018, eqs. 1-2): with A[-1] = `adaptation`, neurons
 * spike where H[t] ≥ threshold + β A[t-1], and A[t] = ρ A[t-1] + (1 - ρ) S[t]. A soft reset subtracts the
 * threshold that was reached.
 *
 * @param adaptation A before the first step, shape of `membrane`.
 */
export function adaptiveLif(
  input: tf.Tensor,
  membrane: tf.Tensor,
  adaptation: tf.Tensor,
  config: AdaptiveLifConfig,
): { spikes: tf.Tensor; membrane: tf.Tensor; adaptation: tf.Tensor } {
  const [spikes, last, lastAdaptation] = adaptive([input, membrane, adaptation], config);
  return { spikes, membrane: last, adaptation: lastAdaptation };
}

/** For tests and other engines: the ops' definitions, with their loops and references. */
export const lifDefinition = plain.definition;
export const parametricLifDefinition = parametric.definition;
export const adaptiveLifDefinition = adaptive.definition;

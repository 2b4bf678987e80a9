import * as tf from '@tensorflow/tfjs-core';

import { adaptiveLif, integrateAndFire, lif, parametricLif } from '../../engine/ops/lif.js';
import type { ParameterTree } from '../parameters.js';
import type { Neuron } from './neuron.js';

/** `[batch, (time,) tokens, features]` as the kernels take it: tokens and features on one axis. */
function flat(x: tf.Tensor): tf.Tensor {
  return tf.reshape(x, [...x.shape.slice(0, -2), x.shape.slice(-2).reduce((a, b) => a * b, 1)]);
}

/** Runs a kernel over flat tensors and gives its results the shapes of `x` and of the state. */
function inKernel(
  x: tf.Tensor,
  state: readonly tf.Tensor[],
  run: (input: tf.Tensor, states: tf.Tensor[]) => { spikes: tf.Tensor; next: tf.Tensor[] },
): { spikes: tf.Tensor; state: tf.Tensor[] } {
  const { spikes, next } = run(flat(x), state.map(flat));
  return {
    spikes: tf.reshape(spikes, x.shape),
    state: next.map((value, i) => tf.reshape(value, state[i].shape)),
  };
}

/** Integrate-and-fire: no leak. */
export const integrateAndFireNeuron: Neuron = {
  kind: 'if',
  states: 1,
  run: (x, state, _, config) =>
    inKernel(x, state, (input, [before]) => {
      const { spikes, membrane } = integrateAndFire(input, before, config);
      return { spikes, next: [membrane] };
    }),
};

/** Leaky integrate-and-fire (`engine/ops/lif.ts` has the equations). */
export const lifNeuron: Neuron = {
  kind: 'lif',
  states: 1,
  run: (x, state, _, config) =>
    inKernel(x, state, (input, [before]) => {
      const { spikes, membrane } = lif(input, before, config);
      return { spikes, next: [membrane] };
    }),
};

/** Leaky integrate-and-fire with a learned time constant per feature, τ = 1 + e^a (PLIF; Fang et al. 2021). */
export const parametricLifNeuron: Neuron = {
  kind: 'plif',
  states: 1,
  initialise: (initialiser, features, { tau }): ParameterTree => ({
    logTau: initialiser.constant([features], Math.log(tau - 1)),
  }),
  run: (x, state, { logTau }, config) =>
    inKernel(x, state, (input, [before]) => {
      const tau = tf.add(1, tf.exp(logTau as tf.Tensor));
      const { spikes, membrane } = parametricLif(input, before, tau, config);
      return { spikes, next: [membrane] };
    }),
};

/** Leaky integrate-and-fire whose threshold rises with each spike and falls back (Bellec et al. 2018). */
export const adaptiveLifNeuron: Neuron = {
  kind: 'alif',
  states: 2,
  run: (x, state, _, config) =>
    inKernel(x, state, (input, [membraneBefore, adaptationBefore]) => {
      const { spikes, membrane, adaptation } = adaptiveLif(
        input,
        membraneBefore,
        adaptationBefore,
        config,
      );
      return { spikes, next: [membrane, adaptation] };
    }),
};

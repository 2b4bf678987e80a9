import * as tf from '@tensorflow/tfjs-core';

import { adaptiveLif, integrateAndFire, lif, parametricLif } from '../../engine/ops/lif.js';
import type { ParameterTree } from '../parameters.js';
import type { Neuron } from './neuron.js';

/** Integrate-and-fire: no leak. */
export const integrateAndFireNeuron: Neuron = {
  kind: 'if',
  states: 1,
  run: (x, [before], _, config) => {
    const { spikes, membrane } = integrateAndFire(x, before, config);
    return { spikes, state: [membrane] };
  },
};

/** Leaky integrate-and-fire (`engine/ops/lif.ts` has the equations). */
export const lifNeuron: Neuron = {
  kind: 'lif',
  states: 1,
  run: (x, [before], _, config) => {
    const { spikes, membrane } = lif(x, before, config);
    return { spikes, state: [membrane] };
  },
};

/** Leaky integrate-and-fire with a learned time constant per feature, τ = 1 + e^a (PLIF; Fang et al. 2021). */
export const parametricLifNeuron: Neuron = {
  kind: 'plif',
  states: 1,
  initialise: (initialiser, features, { tau }): ParameterTree => ({
    logTau: initialiser.constant([features], Math.log(tau - 1)),
  }),
  run: (x, [before], { logTau }, config) => {
    const tau = tf.add(1, tf.exp(logTau as tf.Tensor));
    const { spikes, membrane } = parametricLif(x, before, tau, config);
    return { spikes, state: [membrane] };
  },
};

/** Leaky integrate-and-fire whose threshold rises with each spike and falls back (Bellec et al. 2018). */
export const adaptiveLifNeuron: Neuron = {
  kind: 'alif',
  states: 2,
  run: (x, [membraneBefore, adaptationBefore], _, config) => {
    const { spikes, membrane, adaptation } = adaptiveLif(
      x,
      membraneBefore,
      adaptationBefore,
      config,
    );
    return { spikes, state: [membrane, adaptation] };
  },
};

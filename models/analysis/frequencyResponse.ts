import * as tf from '@tensorflow/tfjs-core';

import { SaccadeError } from '../../engine/support/errors.js';
import { defaultNeuron, type NeuronConfig } from '../neurons/neuron.js';
import { neurons } from '../neurons/registry.js';
import { Initialiser } from '../parameters.js';

/** Input so small that no neuron fires: below threshold, neurons are linear filters. */
const amplitude = 1e-3;

/**
 * How strongly a neuron's membrane follows an input of each frequency: the absolute Fourier transform of its response to a single
 * frame, in which it never fires. Of LIF neurons with a time constant τ that is 1 / |τ - (τ-1) e^(-iω)|: 1 for constant
 * input and 1 / (2 τ - 1) for one that alternates from frame to frame, a low-pass filter (Max-Former, Fang et al. 2025).
 *
 * @param neuron settings, whose threshold must be above 0.
 * @param frames of the response, more than the membrane remembers.
 * @returns gains at the frequencies 0, 1 / frames, … 1/2 per frame.
 */
export function frequencyResponse(neuron: NeuronConfig, frames = 64): Float64Array {
  const config = { ...defaultNeuron, ...neuron };
  const { run, states, initialise } = neurons[config.kind];
  const response = tf.tidy(() => {
    const parameters = initialise?.(new Initialiser(1), 1, config) ?? {};
    let state = Array.from({ length: states }, () => tf.zeros([1, 1, 1]) as tf.Tensor);
    return Array.from({ length: frames }, (_, t) => {
      const x = tf.fill([1, 1, 1, 1], t === 0 ? amplitude : 0);
      const result = run(x, state, parameters, config);
      if (result.spikes.dataSync()[0] !== 0) {
        throw new SaccadeError('usage', 'fires at once; expected a threshold above the input', {
          field: 'neuron.threshold',
        });
      }
      state = result.state;
      return state[0].dataSync()[0] / amplitude;
    });
  });
  return Float64Array.from({ length: Math.floor(frames / 2) + 1 }, (_, bin) => {
    const omega = (2 * Math.PI * bin) / frames;
    const [re, im] = [Math.cos, Math.sin].map((wave) =>
      response.reduce((sum, value, t) => sum + value * wave(omega * t), 0),
    );
    return Math.hypot(re, im);
  });
}

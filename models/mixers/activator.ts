import * as tf from '@tensorflow/tfjs-core';

import { gelu } from '../../engine/ops/gelu.js';
import { linear } from '../../engine/ops/linear.js';
import { initialiseLayerNorm, layerNorm, type LayerNormParameters } from '../blocks/layerNorm.js';
import type { ParameterTree } from '../parameters.js';
import { inSegments } from './segments.js';
import { defineMixer, trafficBytes } from './tokenMixer.js';

/** `gate` and `value` `[width, width]`, `output` `[width, width]`. */
type Weights = Readonly<Record<'gate' | 'value' | 'output', tf.Tensor>>;
type Norms = Readonly<Record<'gateNorm' | 'valueNorm', LayerNormParameters>>;

/**
 * What stands in Activator's place of attention (2024): `(LN(GELU(x W_g)) ⊙ LN(x W_v)) W_o`, features of one token alone, each
 * norm with its own scale. It mixes no tokens: the control that every mixer must beat.
 */
export const activator = defineMixer({
  name: 'activator',
  paper: 'Activator: GLU activations as the core functions of a vision transformer, 2024',
  fields: {},
  create(_settings, shape) {
    const { width } = shape;
    return {
      name: 'activator',
      shape,
      causal: true,
      tokenCausal: true,
      streaming: true,
      mixesTokens: false,
      forms: ['parallel', 'chunked', 'step'],
      initialise: (initialiser): ParameterTree => ({
        ...Object.fromEntries(
          ['gate', 'value', 'output'].map((name) => [name, initialiser.weight(name, width, width)]),
        ),
        gateNorm: { ...initialiseLayerNorm(initialiser, width) },
        valueNorm: { ...initialiseLayerNorm(initialiser, width) },
      }),
      apply(parameters, x, state, _, options = {}) {
        const { gate, value, output, gateNorm, valueNorm } = parameters as ParameterTree & Weights & Norms; // prettier-ignore
        return inSegments(x, state, shape, options, (segment) => {
          const product = tf.mul(
            layerNorm(gateNorm, gelu(linear(segment.x, gate))),
            layerNorm(valueNorm, linear(segment.x, value)),
          );
          return { output: linear(product, output), state: undefined };
        });
      },
      cost(count) {
        const parameters = 3 * width ** 2 + 4 * width;
        return {
          parameters,
          macs: 3 * count * width ** 2,
          synapses: 0,
          stateBytes: 0,
          trafficBytes: trafficBytes(parameters, count, shape, 0),
        };
      },
    };
  },
});

import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';

import { depthwiseConv2d } from '../../engine/ops/depthwiseConv2d.js';
import { linear } from '../../engine/ops/linear.js';
import { within } from '../context.js';
import type { StateTree } from '../model.js';
import { initialiseSpiking, spiking, type SpikingParameters } from '../neurons/spiking.js';
import type { ParameterTree } from '../parameters.js';
import { mixerNeurons } from './linear/featureMaps/spikes.js';
import { inSegments } from './segments.js';
import { defineMixer, trafficBytes } from './tokenMixer.js';

interface Parameters extends ParameterTree {
  /** `[width, width]`. */
  readonly input: tf.Tensor;
  readonly output: tf.Tensor;
  /** `[size, size, width]`. */
  readonly convolution: tf.Tensor;
}

/** Membranes, `[batch, patches, width]`. */
type State = Readonly<Record<'inner' | 'outer', tf.Tensor>>;

/**
 * The depthwise mixer of Max-Former's early stages (Fang et al. 2025): a large depthwise convolution among the patches of a
 * frame, which keeps the high frequencies that attention averages away, between spiking neurons: `Linear(SNN(DWC(SNN(Linear
 * x))))`.
 */
export const depthwiseMixer = defineMixer({
  name: 'depthwise',
  paper: 'Fang et al., Spiking Transformers Need High-Frequency Information, 2025',
  fields: {
    size: z.union([z.literal(3), z.literal(5), z.literal(7)]).default(5),
    /** Neurons without a step, for gradient checks. */
    smooth: z.boolean().default(false),
  },
  create({ size, smooth }, shape) {
    const { width, rows, columns } = shape;
    const patches = rows * columns;
    const neuron = mixerNeurons(smooth);
    return {
      name: 'depthwise',
      shape,
      causal: true,
      tokenCausal: patches === 1,
      streaming: true,
      mixesTokens: true,
      forms: ['parallel', 'chunked', 'step'],
      initialise: (initialiser): ParameterTree => ({
        input: initialiser.weight('input', width, width),
        output: initialiser.weight('output', width, width),
        convolution: initialiser.normal('convolution', [size, size, width], 1 / size),
        inner: initialiseSpiking(initialiser, width, neuron) as unknown as ParameterTree,
        outer: initialiseSpiking(initialiser, width, neuron) as unknown as ParameterTree,
      }),
      apply: (tree, x, state, context, options = {}) => {
        const parameters = tree as Parameters;
        const fire = (
          name: keyof State,
          y: tf.Tensor,
          membrane: tf.Tensor | undefined,
        ): { spikes: tf.Tensor; membrane: tf.Tensor } =>
          spiking(
            tree[name] as unknown as SpikingParameters,
            y,
            membrane,
            neuron,
            within(context, name),
          );
        return inSegments(x, state, shape, options, (segment, layers) => {
          const before = layers as State | undefined;
          const [batch, count] = segment.x.shape as [number, number];
          const framed = [batch, count / patches, patches, width];
          const inner = fire(
            'inner',
            tf.reshape(linear(segment.x, parameters.input), framed),
            before?.inner,
          );
          // Padding has no spikes that its neighbours could see.
          const spikes =
            segment.mask === undefined
              ? inner.spikes
              : tf.mul(inner.spikes, tf.reshape(segment.mask, [...framed.slice(0, 3), 1]));
          const convolved = depthwiseConv2d(
            tf.reshape(spikes, [framed[0] * framed[1], rows, columns, width]),
            parameters.convolution,
            tf.zeros([width]),
          );
          const outer = fire('outer', tf.reshape(convolved, framed), before?.outer);
          const output = linear(tf.reshape(outer.spikes, segment.x.shape), parameters.output);
          const after: State = { inner: inner.membrane, outer: outer.membrane };
          return { output, state: after as unknown as StateTree };
        });
      },
      cost(count) {
        const parameters = 2 * width ** 2 + size ** 2 * width + 4 * width;
        const stateBytes = 8 * patches * width;
        return {
          parameters,
          macs: count * width ** 2,
          synapses: count * width * (size ** 2 + width),
          stateBytes,
          trafficBytes: trafficBytes(parameters, count, shape, stateBytes),
        };
      },
    };
  },
});

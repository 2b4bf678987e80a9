import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';

import type { StateTree } from '../../model.js';
import { inSegments } from '../segments.js';
import {
  initialiseSpikingLinearAttention,
  spikingLinearAttention,
  type SpikingLinearAttentionParameters,
  type SpikingLinearAttentionState,
} from '../spikingLinearAttention.js';
import { defineMixer, trafficBytes, type TokenMixer } from '../tokenMixer.js';
import { windowLayout } from '../window.js';
import { mixerNeurons } from './featureMaps/spikes.js';

/** SpikMamba's spiking linear attention, SLA, as it stands in the SpikMamba block, as a token mixer. */
export const spikMambaAttention = defineMixer({
  name: 'spikMambaAttention',
  paper: 'SpikMamba, arXiv 2410.16746',
  fields: {
    /** What attends together: frames, rows and columns; 0 = all. */
    windowFrames: z.number().int().min(0).default(1),
    windowRows: z.number().int().min(0).default(0),
    windowColumns: z.number().int().min(0).default(0),
    epsilon: z.number().positive().default(1),
    /** Spikes replaced by the surrogate's primitive: for gradient checks. */
    smooth: z.boolean().default(false),
  },
  create({ windowFrames, windowRows, windowColumns, epsilon, smooth }, shape): TokenMixer {
    const { width, heads, rows, columns } = shape;
    const tokens = rows * columns;
    const window = { frames: windowFrames, rows: windowRows, columns: windowColumns };
    const { windows } = windowLayout(window, rows, columns);
    const neuron = mixerNeurons(smooth);
    const config = { width, heads, rows, columns, window, causal: true, epsilon, neuron };
    const headWidth = width / heads;
    const parameterCount = 5 * width * width + 10 * width + 6 * width;
    return {
      name: 'spikMambaAttention',
      shape,
      causal: true,
      tokenCausal: tokens === 1,
      streaming: true,
      mixesTokens: true,
      forms: ['parallel', 'chunked', 'step'],
      initialise: (initialiser) => ({ ...initialiseSpikingLinearAttention(initialiser, config) }),
      apply(parameters, x, state, context, options = {}) {
        // In training, neurons are normalised by the whole sequence.
        const form = context.training ? 'parallel' : options.form;
        return inSegments(x, state, shape, { ...options, form }, (segment, before) => {
          const [batch, length] = segment.x.shape as [number, number];
          const byFrame = (y: tf.Tensor): tf.Tensor =>
            tf.reshape(y, [batch, length / tokens, tokens, -1]);
          const present = segment.mask && byFrame(segment.mask);
          const patches = byFrame(segment.x);
          const result = spikingLinearAttention(
            parameters as unknown as SpikingLinearAttentionParameters,
            present === undefined ? patches : tf.mul(patches, present),
            before as unknown as SpikingLinearAttentionState | undefined,
            segment.frame,
            config,
            context,
            present,
          );
          return {
            output: tf.reshape(result.output, segment.x.shape),
            state: result.state as unknown as StateTree,
          };
        });
      },
      cost(count) {
        const open = windowFrames === 0 || (count / tokens) % windowFrames !== 0;
        const memory = windows * width * (headWidth + 1);
        const stateBytes = 4 * (3 * tokens * width + (open ? memory : 0));
        return {
          parameters: parameterCount,
          macs: count * (5 * width * width + 9 * width),
          synapses: 2 * count * width * headWidth,
          stateBytes,
          trafficBytes: trafficBytes(parameterCount, count, shape, stateBytes),
        };
      },
    };
  },
});

import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';

import { linearAttention } from '../../../engine/ops/linearAttention.js';
import { inference, type Context } from '../../context.js';
import type { FrameCount } from '../../frames.js';
import type { StateTree } from '../../model.js';
import { joinHeads, splitHeads } from '../heads.js';
import { inSegments } from '../segments.js';
import {
  initialiseSpikingLinearAttention,
  spikingLinearAttention,
  type SpikingLinearAttentionParameters,
  type SpikingLinearAttentionState,
} from '../spikingLinearAttention.js';
import type { ParameterTree } from '../../parameters.js';
import { defineMixer, trafficBytes, type LinearSystem } from '../tokenMixer.js';
import { windowLayout } from '../window.js';
import type { LinearMixer } from './cell.js';
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
  create({ windowFrames, windowRows, windowColumns, epsilon, smooth }, shape): LinearMixer {
    const { width, heads, rows, columns } = shape;
    const tokens = rows * columns;
    const window = { frames: windowFrames, rows: windowRows, columns: windowColumns };
    const { windows } = windowLayout(window, rows, columns);
    const neuron = mixerNeurons(smooth);
    const config = { width, heads, rows, columns, window, causal: true, epsilon, neuron };
    const headWidth = width / heads;
    const parameterCount = 5 * width * width + 10 * width + 6 * width;
    /** @param present 1 for tokens, 0 for padding, `[batch, tokens, 1]`. */
    const attend = (
      parameters: ParameterTree,
      x: tf.Tensor,
      before: StateTree | undefined,
      frame: FrameCount,
      context: Context,
      present?: tf.Tensor,
      compute?: typeof linearAttention,
    ): { output: tf.Tensor; state: SpikingLinearAttentionState } => {
      const [batch, length] = x.shape as [number, number];
      const byFrame = (y: tf.Tensor): tf.Tensor =>
        tf.reshape(y, [batch, length / tokens, tokens, -1]);
      const { output, state } = spikingLinearAttention(
        parameters as unknown as SpikingLinearAttentionParameters,
        byFrame(present === undefined ? x : tf.mul(x, present)),
        before as unknown as SpikingLinearAttentionState | undefined,
        frame,
        config,
        context,
        present && byFrame(present),
        compute,
      );
      return { output: tf.reshape(output, x.shape), state };
    };
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
          const { mask, frame } = segment;
          const present = mask && tf.expandDims(mask, 2);
          const result = attend(parameters, segment.x, before, frame, context, present);
          return { output: result.output, state: result.state as unknown as StateTree };
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
      systems(parameters, x) {
        const systems: LinearSystem[] = [];
        attend(parameters, x, undefined, 0, inference, undefined, (...inputs) => {
          const [q, k, v] = inputs;
          systems.push(windowSystem(q, k, v, heads));
          return linearAttention(...inputs);
        });
        return {
          systems,
          finish(outputs) {
            let next = 0;
            return attend(
              parameters,
              x,
              undefined,
              0,
              inference,
              undefined,
              (q, _, __, memory) => ({
                out: readWindows(outputs[next++], q.shape as number[], epsilon),
                state: memory,
              }),
            ).output;
          },
        };
      },
    };
  },
});

/**
 * The attention of windows as linear systems, each window a sequence of its own in place of the batch. Tokens of a frame see
 * all of it, so that each is two steps: first all of a frame are written, then all are read. A value more, 1, sums up
 * the weights.
 *
 * @param q `[windows, frames, tokens, width]`.
 */
function windowSystem(q: tf.Tensor, k: tf.Tensor, v: tf.Tensor, heads: number): LinearSystem {
  const [windows, frames, tokens, width] = q.shape as [number, number, number, number];
  const steps = (written: tf.Tensor, read: tf.Tensor): tf.Tensor =>
    splitHeads(tf.reshape(tf.concat([written, read], 2), [windows, 2 * frames * tokens, width]), heads); // prettier-ignore
  const none = tf.zerosLike(q);
  const input = steps(k, none);
  const values = steps(v, none);
  return {
    transition: tf.onesLike(input),
    input,
    output: steps(none, q),
    values: tf.concat([values, tf.ones([windows, heads, 2 * frames * tokens, 1])], 3),
  };
}

/** What the steps that read gave, as the attention's output of that shape. */
function readWindows(y: tf.Tensor, shape: readonly number[], epsilon: number): tf.Tensor {
  const [windows, frames, tokens, width] = shape;
  const [sums, weights] = tf.split(y, [y.shape[3]! - 1, 1], 3);
  const steps = tf.reshape(joinHeads(tf.div(sums, tf.add(weights, epsilon))), [windows, frames, 2 * tokens, width]); // prettier-ignore
  return tf.slice(steps, [0, 0, tokens, 0], [windows, frames, tokens, width]);
}

import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';

import { linear } from '../../../engine/ops/linear.js';
import { selectiveScan, type ScanInputs } from '../../../engine/ops/selectiveScan.js';
import { silu } from '../../../engine/ops/silu.js';
import {
  initialiseScan,
  scan,
  type ScanParameters,
  type ScanSizes,
  type ScanState,
} from '../convolvedScan.js';
import type { ParameterTree } from '../../parameters.js';
import { inSegments, segmentLengths } from '../segments.js';
import { defineMixer, trafficBytes, type LinearSystem } from '../tokenMixer.js';
import type { LinearMixer } from './cell.js';
import { causalMask, decayBetween } from './memories/masks.js';

/** Step sizes and what they make of the inputs, by channel: `[batch, channels, tokens, …]`. */
function discretised({ u, delta, B, C, deltaBias }: ScanInputs): {
  step: tf.Tensor;
  drive: tf.Tensor;
  B: tf.Tensor;
  C: tf.Tensor;
} {
  const step = tf.expandDims(tf.transpose(tf.softplus(tf.add(delta, deltaBias)), [0, 2, 1]), 3);
  const drive = tf.mul(step, tf.expandDims(tf.transpose(u, [0, 2, 1]), 3));
  return { step, drive, B: tf.expandDims(B, 1), C: tf.expandDims(C, 1) };
}

/**
 * S6 as attention: with c the cumulated step sizes, channel e of token t gets from token i
 * Σ_s C[t, s] exp(A[e, s] (c[t] - c[i])) B[i, s] times Δ[i] u[i]. Quadratic in the tokens.
 */
export function selectiveAttention(
  inputs: ScanInputs,
  state: tf.Tensor,
): { y: tf.Tensor; state: tf.Tensor } {
  const { u, A, D } = inputs;
  const [batch, tokens, channels] = u.shape as [number, number, number];
  const states = A.shape[1]!;
  const { step, drive, B, C } = discretised(inputs);
  const sums = tf.cumsum(tf.reshape(step, [batch, channels, tokens]), 2);
  const b = tf.mul(tf.expandDims(sums, 3), tf.expandDims(A, 1));
  const factors = decayBetween(
    tf.expandDims(b, 3),
    tf.expandDims(b, 2),
    tf.reshape(causalMask(tokens), [tokens, tokens, 1]),
  );
  const keys = tf.mul(factors, tf.expandDims(B, 2));
  const queries = tf.add(C, tf.zeros([batch, channels, tokens, states]));
  const scores = tf.reshape(
    tf.matMul(
      tf.reshape(keys, [batch * channels * tokens, tokens, states]),
      tf.reshape(queries, [batch * channels * tokens, states, 1]),
    ),
    [batch, channels, tokens, tokens],
  );
  const known = tf.matMul(tf.mul(queries, tf.exp(b)), tf.expandDims(state, 3));
  const y = tf.add(tf.matMul(scores, drive), known);
  const lastKeys = tf.reshape(tf.slice(keys, [0, 0, tokens - 1], [batch, channels, 1]), [
    batch,
    channels,
    tokens,
    states,
  ]);
  const left = tf.reshape(
    tf.exp(tf.slice(b, [0, 0, tokens - 1], [batch, channels, 1])),
    state.shape,
  );
  const written = tf.reshape(tf.matMul(lastKeys, drive, true, false), state.shape);
  return {
    y: tf.add(tf.transpose(tf.reshape(y, [batch, channels, tokens]), [0, 2, 1]), tf.mul(D, u)),
    state: tf.add(tf.mul(left, state), written),
  };
}

/**
 * Mamba's mixer (Gu & Dao 2023): projection, causal convolution, SiLU and the selective scan S6, times
 * SiLU of a gate. In parallel it computes S6 as attention; otherwise by the engine's scan. Padding stops
 * the scan: its step size is 0. The state is the convolution's tail and S6's.
 */
export const selectiveStateSpace = defineMixer({
  name: 'selectiveStateSpace',
  paper: 'Gu & Dao, Mamba: Linear-Time Sequence Modeling with Selective State Spaces, 2023',
  fields: {
    /** Channels, in widths of a token. */
    expand: z.number().int().positive().default(2),
    states: z.number().int().positive().default(8),
    deltaRank: z.number().int().positive().default(4),
    taps: z.number().int().min(2).default(4),
  },
  create({ expand, ...settings }, shape): LinearMixer {
    const { width } = shape;
    const channels = expand * width;
    const { states, deltaRank, taps } = settings;
    const sizes: ScanSizes = { channels, ...settings };
    const tokens = shape.rows * shape.columns;
    const parameterCount =
      3 * width * channels +
      channels * (taps + 1 + deltaRank + 2 * states + deltaRank + 1 + states + 1);

    const run = (
      parameters: ParameterTree,
      x: tf.Tensor,
      mask: tf.Tensor | undefined,
      before: ScanState | undefined,
      compute: typeof selectiveScan,
    ): { output: tf.Tensor; state: ScanState } => {
      const present = mask && tf.expandDims(mask, -1);
      const tokensIn = present === undefined ? x : tf.mul(x, present);
      const scanned = scan(
        parameters.scan as unknown as ScanParameters,
        linear(tokensIn, parameters.input as tf.Tensor),
        before,
        sizes,
        false,
        (inputs, state, config) =>
          compute(
            present === undefined
              ? inputs
              : // Far below 0, softplus is 0.
                { ...inputs, delta: tf.sub(inputs.delta, tf.mul(tf.sub(1, present), 1e4)) },
            state,
            config,
          ),
      );
      const gate = silu(linear(tokensIn, parameters.gate as tf.Tensor));
      return {
        output: linear(tf.mul(scanned.y, gate), parameters.output as tf.Tensor),
        state: { tail: scanned.tail, hidden: scanned.hidden },
      };
    };

    return {
      name: 'selectiveStateSpace',
      shape,
      causal: true,
      tokenCausal: true,
      streaming: true,
      mixesTokens: true,
      forms: ['chunked', 'parallel', 'step'],
      initialise: (initialiser) => ({
        input: initialiser.weight('input', width, channels),
        gate: initialiser.weight('gate', width, channels),
        output: initialiser.weight('output', channels, width),
        scan: { ...initialiseScan(initialiser.within('scan'), sizes) },
      }),
      apply(parameters, x, state, _, options = {}) {
        const form = options.form ?? 'chunked';
        const compute = form === 'parallel' ? selectiveAttention : selectiveScan;
        return inSegments(x, state, shape, { ...options, form }, (segment, before) => {
          const known = before as ScanState | undefined;
          const result = run(parameters, segment.x, segment.mask, known, compute);
          return { output: result.output, state: { ...result.state } };
        });
      },
      cost(count, { form = 'chunked', chunk } = {}) {
        const perToken =
          3 * width * channels + channels * (taps + deltaRank + 2 * states) + deltaRank * channels;
        let macs = count * perToken;
        for (const frames of segmentLengths(count / tokens, form, chunk)) {
          const here = frames * tokens;
          macs +=
            form === 'parallel'
              ? channels * here * (here * (states + 1) + 2 * states)
              : channels * here * (3 * states + 2);
        }
        const stateBytes = 4 * channels * (taps - 1 + states);
        return {
          parameters: parameterCount,
          macs,
          synapses: 0,
          stateBytes,
          trafficBytes: trafficBytes(parameterCount, count, shape, stateBytes),
        };
      },
      systems(parameters, x) {
        const systems: LinearSystem[] = [];
        const recorded: typeof selectiveScan = (inputs, state, config) => {
          const { step, B, C } = discretised(inputs);
          const [batch, length] = inputs.u.shape as [number, number];
          const full = tf.zeros([batch, channels, length, states]);
          systems.push({
            transition: tf.exp(tf.mul(step, tf.expandDims(inputs.A, 1))),
            input: tf.mul(step, tf.add(B, full)),
            output: tf.add(C, full),
            skip: tf.add(
              tf.reshape(inputs.D, [channels, 1, 1]),
              tf.zeros([batch, channels, length, 1]),
            ),
            values: tf.expandDims(tf.transpose(inputs.u, [0, 2, 1]), 3),
          });
          return selectiveScan(inputs, state, config);
        };
        run(parameters, x, undefined, undefined, recorded);
        return {
          systems,
          finish: ([y]) =>
            run(parameters, x, undefined, undefined, (_, state) => ({
              y: tf.transpose(tf.squeeze(y, [3]), [0, 2, 1]),
              state,
            })).output,
        };
      },
    };
  },
});

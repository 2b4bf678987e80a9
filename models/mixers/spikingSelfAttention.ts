import * as tf from '@tensorflow/tfjs-core';

import { linearAttention } from '../../engine/ops/linearAttention.js';
import { spikeMatMul } from '../../engine/ops/spikes.js';
import { within, type Context } from '../context.js';
import type { NeuronConfig } from '../neurons/neuron.js';
import { initialiseSpiking, spiking, type SpikingParameters } from '../neurons/spiking.js';
import type { Initialiser } from '../parameters.js';
import { project } from '../project.js';

export interface SpikingSelfAttentionConfig {
  readonly width: number;
  readonly heads: number;
  /** The factor s of the scores. */
  readonly scale: number;
  readonly neuron: NeuronConfig;
}

/** The places where spikes arise, in order. */
const populations = ['query', 'key', 'value', 'attended', 'output'] as const;
type Population = (typeof populations)[number];

export interface SpikingSelfAttentionParameters {
  /** `[width, width]` each; `attended` has none. */
  readonly weights: Readonly<Record<Exclude<Population, 'attended'>, tf.Tensor>>;
  readonly neurons: Readonly<Record<Population, SpikingParameters>>;
}

/** Membranes, `[batch, tokens, width]` each. */
export type SpikingSelfAttentionState = Readonly<Record<Population, tf.Tensor>>;

export function initialiseSpikingSelfAttention(
  initialiser: Initialiser,
  { width, neuron }: SpikingSelfAttentionConfig,
): SpikingSelfAttentionParameters {
  const weight = (name: string): tf.Tensor => initialiser.weight(name, width, width);
  return {
    weights: {
      query: weight('query'),
      key: weight('key'),
      value: weight('value'),
      output: weight('output'),
    },
    neurons: Object.fromEntries(
      populations.map((name) => [name, initialiseSpiking(initialiser, width, neuron)]),
    ) as Record<Population, SpikingParameters>,
  };
}

/**
 * Spiking self-attention, SSA (Zhou et al., "Spikformer", ICLR 2023, eqs. 5-6): `q, k, v = SNN(Linear x)`,
 * `SNN(Linear(SNN(q kᵀ v · s)))`, without a softmax, among the tokens of one frame. Since no softmax
 * stands between, kᵀv is formed first. Unlike there, the inner neurons normalise too, like all SNN(·)
 * here, so that they fire from the start whatever the number of tokens.
 *
 * @param x tokens, `[batch, time, tokens, width]`.
 * @returns spikes of the same shape, and the state for the next chunk.
 */
export function spikingSelfAttention(
  { weights, neurons }: SpikingSelfAttentionParameters,
  x: tf.Tensor,
  state: SpikingSelfAttentionState | undefined,
  { width, heads, scale, neuron }: SpikingSelfAttentionConfig,
  context: Context,
): { output: tf.Tensor; state: SpikingSelfAttentionState } {
  const [batch, time, tokens] = x.shape as [number, number, number];
  const frames = batch * time;
  const fire = (name: Population, y: tf.Tensor): { spikes: tf.Tensor; membrane: tf.Tensor } =>
    spiking(neurons[name], y, state?.[name], neuron, within(context, `neurons.${name}`));

  const [query, key, value] = (['query', 'key', 'value'] as const).map((name) =>
    fire(name, project(x, weights[name], within(context, `weights.${name}`))),
  );
  const [q, k, v] = [query, key, value].map(({ spikes }) =>
    tf.reshape(spikes, [frames, 1, tokens, width]),
  );
  const empty = {
    memory: tf.zeros([frames, heads, width / heads, width / heads]),
    keySum: tf.zeros([frames, heads, width / heads]),
  };
  const scores = { heads, causal: false, normalise: false, epsilon: 1 / scale };
  const mixed = linearAttention(q, k, v, empty, scores).out;
  const attended = fire('attended', tf.reshape(mixed, x.shape));
  const output = fire('output', spikeMatMul(attended.spikes, weights.output));
  return {
    output: output.spikes,
    state: {
      query: query.membrane,
      key: key.membrane,
      value: value.membrane,
      attended: attended.membrane,
      output: output.membrane,
    },
  };
}

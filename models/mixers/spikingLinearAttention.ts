import * as tf from '@tensorflow/tfjs-core';

import { depthwiseConv2d } from '../../engine/ops/depthwiseConv2d.js';
import { linearAttention, type LinearAttentionState } from '../../engine/ops/linearAttention.js';
import { silu, siluGate } from '../../engine/ops/silu.js';
import { spikeMatMul } from '../../engine/ops/spikes.js';
import { zeros } from '../../engine/ops/zeros.js';
import { within, type Context } from '../context.js';
import { FrameClock, type FrameCount, frameNumbers } from '../frames.js';
import type { NeuronConfig } from '../neurons/neuron.js';
import { initialiseSpiking, spiking, type SpikingParameters } from '../neurons/spiking.js';
import type { Initialiser } from '../parameters.js';
import { project } from '../project.js';
import { fromWindows, toWindows, windowLayout, type WindowSize } from './window.js';

export interface SpikingLinearAttentionConfig {
  /** Width of the tokens, D. */
  readonly width: number;
  readonly heads: number;
  /** Patches of a frame: rows × columns. */
  readonly rows: number;
  readonly columns: number;
  /** What attends together. */
  readonly window: WindowSize;
  /** Whether a frame sees only itself and frames before it. */
  readonly causal: boolean;
  /**
   * Added to the normaliser. With spikes the normaliser counts coincidences; one more keeps a query
   * that met none (and its gradient) finite.
   */
  readonly epsilon: number;
  readonly neuron: NeuronConfig;
}

export interface SpikingLinearAttentionParameters {
  readonly input: tf.Tensor;
  readonly gate: tf.Tensor;
  readonly output: tf.Tensor;
  readonly query: tf.Tensor;
  readonly key: tf.Tensor;
  readonly convolutionWeight: tf.Tensor;
  readonly convolutionBias: tf.Tensor;
  readonly queryNeurons: SpikingParameters;
  readonly keyNeurons: SpikingParameters;
  readonly outputNeurons: SpikingParameters;
}

export interface SpikingLinearAttentionState {
  /** Membranes, `[batch, tokens, width]`. */
  readonly queryMembrane: tf.Tensor;
  readonly keyMembrane: tf.Tensor;
  readonly outputMembrane: tf.Tensor;
  /** Attention memory of the window that is still open; none at a window's start. */
  readonly memory?: { readonly [name in keyof LinearAttentionState]: tf.Tensor };
}

const convolutionSize = 3;

export function initialiseSpikingLinearAttention(
  initialiser: Initialiser,
  { width, neuron }: SpikingLinearAttentionConfig,
): SpikingLinearAttentionParameters {
  return {
    input: initialiser.weight('input', width, width),
    gate: initialiser.weight('gate', width, width),
    output: initialiser.weight('output', width, width),
    query: initialiser.weight('query', width, width),
    key: initialiser.weight('key', width, width),
    convolutionWeight: initialiser.normal(
      'convolution',
      [convolutionSize, convolutionSize, width],
      1 / convolutionSize,
    ),
    convolutionBias: initialiser.constant([width], 0),
    queryNeurons: initialiseSpiking(initialiser, width, neuron),
    keyNeurons: initialiseSpiking(initialiser, width, neuron),
    outputNeurons: initialiseSpiking(initialiser, width, neuron),
  };
}

/**
 * Spiking window-based linear attention, SLA (SpikMamba, fig. 2):
 * `u = SiLU(Conv(Linear x))`, `q = SNN(Linear u)`, `k = SNN(Linear u)`, `v = u`, linear attention in
 * each window, SNN, times `SiLU(Linear x)`, `Linear` out. The depthwise convolution is 3 × 3 in a frame.
 *
 * @param x patch tokens in raster order, `[batch, time, rows · columns, width]`.
 * @param state of the chunk before; undefined at the start of a clip.
 * @param frame number of frames of the clip, or of each clip, before this chunk: windows in time are aligned to
 *   the clip.
 * @param present 1 for tokens, 0 for padding, whose keys are left out, `[batch, time, rows · columns, 1]`.
 * @param compute what attends inside windows, in place of the op.
 * @returns the same shape, and the state for the next chunk.
 */
export function spikingLinearAttention(
  parameters: SpikingLinearAttentionParameters,
  x: tf.Tensor,
  state: SpikingLinearAttentionState | undefined,
  frame: FrameCount,
  config: SpikingLinearAttentionConfig,
  context: Context,
  present?: tf.Tensor,
  compute: typeof linearAttention = linearAttention,
): { output: tf.Tensor; state: SpikingLinearAttentionState } {
  const [batch, time] = x.shape;
  const { width, rows, columns, neuron } = config;
  const convolved = depthwiseConv2d(
    tf.reshape(project(x, parameters.input, within(context, 'input')), [
      batch * time,
      rows,
      columns,
      width,
    ]),
    parameters.convolutionWeight,
    parameters.convolutionBias,
  );
  const u = tf.reshape(silu(convolved), x.shape);
  const query = spiking(
    parameters.queryNeurons,
    project(u, parameters.query, within(context, 'query')),
    state?.queryMembrane,
    neuron,
    within(context, 'queryNeurons'),
  );
  const key = spiking(
    parameters.keyNeurons,
    project(u, parameters.key, within(context, 'key')),
    state?.keyMembrane,
    neuron,
    within(context, 'keyNeurons'),
  );
  const keys = present === undefined ? key.spikes : tf.mul(key.spikes, present);
  const attended = attend(query.spikes, keys, u, state?.memory, frame, config, compute);
  const out = spiking(
    parameters.outputNeurons,
    attended.out,
    state?.outputMembrane,
    neuron,
    within(context, 'outputNeurons'),
  );
  const gated = siluGate(out.spikes, project(x, parameters.gate, within(context, 'gate')));
  return {
    output: spikeMatMul(gated, parameters.output),
    state: {
      queryMembrane: query.membrane,
      keyMembrane: key.membrane,
      outputMembrane: out.membrane,
      ...(attended.memory && { memory: { ...attended.memory } }),
    },
  };
}

/** Linear attention window by window along time; each window is one call. */
function attend(
  q: tf.Tensor,
  k: tf.Tensor,
  v: tf.Tensor,
  memory: LinearAttentionState | undefined,
  frame: FrameCount,
  { width, heads, rows, columns, window, causal, epsilon }: SpikingLinearAttentionConfig,
  compute: typeof linearAttention,
): { out: tf.Tensor; memory?: LinearAttentionState } {
  const [batch, time] = q.shape;
  const layout = windowLayout(window, rows, columns);
  const attention = { heads, causal, epsilon, normalise: true };
  const run = (
    parts: readonly tf.Tensor[],
    groupFrames: number,
    state: LinearAttentionState | undefined,
  ): { out: tf.Tensor; state: LinearAttentionState } => {
    const [Q, K, V] = parts.map((part) => toWindows(part, groupFrames, layout));
    const [groups] = Q.shape;
    const empty = {
      memory: zeros([groups, heads, width / heads, width / heads]),
      keySum: zeros([groups, heads, width / heads]),
    };
    const result = compute(Q, K, V, state ?? empty, attention);
    return {
      out: fromWindows(result.out, batch, parts[0].shape[1]!, groupFrames, layout),
      state: result.state,
    };
  };

  // Whole windows from their first frame on are independent: all of them in one call.
  const windowFrames = window.frames;
  // Windows of one frame begin with every frame, and those of the whole clip never again.
  const frames = windowFrames <= 1 && frame instanceof FrameClock ? 0 : frameNumbers(frame);
  const starts = typeof frames === 'number' ? [frames] : frames;
  const aligned = windowFrames > 0 && starts.every((start) => start % windowFrames === 0);
  if (aligned && time % windowFrames === 0) {
    return { out: run([q, k, v], windowFrames, undefined).out };
  }
  const outputs: tf.Tensor[] = [];
  let open = memory;
  for (let at = 0; at < time;) {
    const left = starts.map((start) =>
      windowFrames > 0 ? windowFrames - ((start + at) % windowFrames) : Infinity,
    );
    const length = Math.min(...left, time - at);
    const parts = [q, k, v].map((x) => tf.slice(x, [0, at, 0, 0], [batch, length, -1, -1]));
    const { out, state } = run(parts, length, open);
    outputs.push(out);
    open = forgetEnded(
      state,
      left.map((frames) => frames === length),
    );
    at += length;
  }
  return { out: tf.concat(outputs, 1), memory: open };
}

/** The memory of windows that go on; none where all have ended, zeros for the clips whose window has. */
function forgetEnded(
  state: LinearAttentionState,
  ended: readonly boolean[],
): LinearAttentionState | undefined {
  if (!ended.includes(true)) return state;
  if (!ended.includes(false)) return undefined;
  const goesOn = tf.tensor(ended.map((end) => (end ? 0 : 1)));
  const masked = (x: tf.Tensor): tf.Tensor => {
    const perClip = tf.reshape(x, [ended.length, -1]);
    return tf.reshape(tf.mul(perClip, tf.reshape(goesOn, [-1, 1])), x.shape);
  };
  return { memory: masked(state.memory), keySum: masked(state.keySum) };
}

import * as tf from '@tensorflow/tfjs-core';

import { siluGate } from '../../engine/ops/silu.js';
import { spikeMatMul } from '../../engine/ops/spikes.js';
import { within, type Context } from '../context.js';
import type { NeuronConfig } from '../neurons/neuron.js';
import { initialiseSpiking, spiking, type SpikingParameters } from '../neurons/spiking.js';
import type { Initialiser } from '../parameters.js';
import { project } from '../project.js';
import { initialiseScan, scan, type ScanParameters, type ScanSizes } from './convolvedScan.js';

export interface SpikeMambaConfig extends ScanSizes {
  /** Width of the tokens, D. */
  readonly width: number;
  /**
   * What one scan runs over: `frame` all tokens of frame 0, then frame 1, … (one sequence a clip);
   * `tube` each patch position through time (one sequence a position).
   */
  readonly scanOrder: 'frame' | 'tube';
  /** Adds a second convolution and scan against the sequence. Needs the whole clip at once. */
  readonly bidirectional: boolean;
  readonly neuron: NeuronConfig;
}

export interface SpikeMambaParameters {
  readonly input: tf.Tensor;
  readonly gate: tf.Tensor;
  readonly output: tf.Tensor;
  readonly inputNeurons: SpikingParameters;
  readonly outputNeurons: SpikingParameters;
  readonly forward: ScanParameters;
  readonly backward?: ScanParameters;
}

/** Carried from chunk to chunk; `sequences` is the batch, or batch × tokens for tubes. */
export interface SpikeMambaState {
  /** Membranes, `[batch, tokens, channels]`. */
  readonly inputMembrane: tf.Tensor;
  readonly outputMembrane: tf.Tensor;
  /** Last inputs of the convolution, `[sequences, taps-1, channels]`. */
  readonly tail: tf.Tensor;
  /** S6 state, `[sequences, channels, states]`. */
  readonly hidden: tf.Tensor;
}

export function initialiseSpikeMamba(
  initialiser: Initialiser,
  config: SpikeMambaConfig,
): SpikeMambaParameters {
  const { width, channels, neuron } = config;
  return {
    input: initialiser.weight('input', width, channels),
    gate: initialiser.weight('gate', width, channels),
    output: initialiser.weight('output', channels, width),
    inputNeurons: initialiseSpiking(initialiser, channels, neuron),
    outputNeurons: initialiseSpiking(initialiser, channels, neuron),
    forward: initialiseScan(initialiser.within('forward'), config),
    ...(config.bidirectional && {
      backward: initialiseScan(initialiser.within('backward'), config),
    }),
  };
}

/**
 * Spike Mamba (SpikMamba, fig. 2):
 * `Linear → SNN → Conv → SiLU → SSM → SNN`, times `SiLU(Linear x)`, `Linear` out.
 *
 * @param x tokens, `[batch, time, tokens, width]`.
 * @param state of the chunk before; undefined at the start of a clip.
 * @returns the same shape, and the state for the next chunk.
 */
export function spikeMamba(
  parameters: SpikeMambaParameters,
  x: tf.Tensor,
  state: SpikeMambaState | undefined,
  config: SpikeMambaConfig,
  context: Context,
): { output: tf.Tensor; state: SpikeMambaState } {
  const [batch, time, tokens] = x.shape;
  const { channels } = config;
  const tubes = config.scanOrder === 'tube';
  const sequences = tubes ? batch * tokens : batch;
  const length = tubes ? time : time * tokens;
  const toSequences = (y: tf.Tensor): tf.Tensor =>
    tf.reshape(tubes ? tf.transpose(y, [0, 2, 1, 3]) : y, [sequences, length, channels]);
  const toTokens = (y: tf.Tensor): tf.Tensor =>
    tubes
      ? tf.transpose(tf.reshape(y, [batch, tokens, time, channels]), [0, 2, 1, 3])
      : tf.reshape(y, [batch, time, tokens, channels]);

  const entered = spiking(
    parameters.inputNeurons,
    project(x, parameters.input, within(context, 'input')),
    state?.inputMembrane,
    config.neuron,
    within(context, 'inputNeurons'),
  );
  const sequence = toSequences(entered.spikes);
  const scanned = scan(parameters.forward, sequence, state, config, false);
  const mixed =
    parameters.backward === undefined
      ? scanned.y
      : tf.add(scanned.y, scan(parameters.backward, sequence, undefined, config, true).y);
  const left = spiking(
    parameters.outputNeurons,
    toTokens(mixed),
    state?.outputMembrane,
    config.neuron,
    within(context, 'outputNeurons'),
  );
  const gated = siluGate(left.spikes, project(x, parameters.gate, within(context, 'gate')));
  return {
    output: spikeMatMul(gated, parameters.output),
    state: {
      inputMembrane: entered.membrane,
      outputMembrane: left.membrane,
      tail: scanned.tail,
      hidden: scanned.hidden,
    },
  };
}

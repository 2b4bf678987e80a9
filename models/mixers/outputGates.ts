import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';

import { linear } from '../../engine/ops/linear.js';
import { silu } from '../../engine/ops/silu.js';
import type { Initialiser, ParameterTree } from '../parameters.js';
import type { MixerShape } from './tokenMixer.js';

/** What a mixer's output is multiplied by, before its last projection. */
export interface OutputGate {
  readonly parameters: number;
  initialise(initialiser: Initialiser): ParameterTree;
  /** @param x the mixer's input, and `y` what it would give, `[batch, tokens, width]` each. */
  apply(parameters: ParameterTree, x: tf.Tensor, y: tf.Tensor): tf.Tensor;
}

/** A gate σ(W x) of some function σ, `outputs` values for each token. */
const gate = (
  { width }: MixerShape,
  outputs: number,
  squash: (x: tf.Tensor) => tf.Tensor,
): OutputGate => ({
  parameters: width * outputs,
  initialise: (initialiser) => ({ weight: initialiser.weight('weight', width, outputs) }),
  apply({ weight }, x, y) {
    const [batch, tokens] = x.shape as [number, number];
    const factors = tf.reshape(squash(linear(x, weight as tf.Tensor)), [batch, tokens, outputs, 1]);
    const parts = tf.reshape(y, [batch, tokens, outputs, width / outputs]);
    return tf.reshape(tf.mul(parts, factors), y.shape);
  },
});

/**
 * Output gates by the name that configurations use: `head` and `element` are those of Gated Attention (Qiu
 * et al. 2025), `σ(W x)` for a head or for each feature; `swish` is gated linear attention's `SiLU(W x)`;
 * `linear` is TransNormerLLM's `W x`.
 */
export const outputGates = {
  none: undefined,
  head: (shape) => gate(shape, shape.heads, tf.sigmoid),
  element: (shape) => gate(shape, shape.width, tf.sigmoid),
  swish: (shape) => gate(shape, shape.width, silu),
  linear: (shape) => gate(shape, shape.width, (x) => x),
} satisfies Record<string, ((shape: MixerShape) => OutputGate) | undefined>;

export type OutputGateName = keyof typeof outputGates;

export const outputGateNames = Object.keys(outputGates) as [OutputGateName, ...OutputGateName[]];

/** A mixer's setting for it. */
export const outputGateField = z.enum(outputGateNames).default('none');

/** A mixer's last projection, and the gate before it. */
export interface GatedProjection {
  /** Trained values; as many multiply-accumulates for each token. */
  readonly parameters: number;
  initialise(initialiser: Initialiser): ParameterTree;
  /** @param x the mixer's input, and `y` what it gathered, `[batch, tokens, width]` each. */
  apply(parameters: ParameterTree, x: tf.Tensor, y: tf.Tensor): tf.Tensor;
}

/** (σ(W x) ⊙ y) W_o; y W_o where there is no gate. */
export function gatedProjection(name: OutputGateName, shape: MixerShape): GatedProjection {
  const { width } = shape;
  const outputGate = outputGates[name]?.(shape);
  return {
    parameters: width * width + (outputGate?.parameters ?? 0),
    initialise: (initialiser) => ({
      output: initialiser.weight('output', width, width),
      ...(outputGate && { outputGate: outputGate.initialise(initialiser.within('outputGate')) }),
    }),
    apply: (parameters, x, y) =>
      linear(
        outputGate?.apply(parameters.outputGate as ParameterTree, x, y) ?? y,
        parameters.output as tf.Tensor,
      ),
  };
}

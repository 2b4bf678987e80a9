import type * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';

import { SaccadeError } from '../../engine/support/errors.js';
import type { Context } from '../context.js';
import type { Initialiser, ParameterTree } from '../parameters.js';
import type { ClipState } from '../state.js';

/** The tokens that a mixer reads. */
export interface MixerShape {
  /** Features of a token, a multiple of `heads`. */
  readonly width: number;
  readonly heads: number;
  /** Patches of a frame, rows × columns; 1 × 1 where each token is a time step of its own. */
  readonly rows: number;
  readonly columns: number;
}

/**
 * How a mixer computes: `parallel` all tokens at once (often quadratic in them), `chunked` some frames at
 * once with a state between, `step` frame by frame. All give the same output and state.
 */
export type MixerForm = 'parallel' | 'chunked' | 'step';

export interface MixerOptions {
  /** The mixer's first form by default. */
  readonly form?: MixerForm;
  /** Frames of a chunk, 16 by default. */
  readonly chunk?: number;
  /**
   * 1 for tokens, 0 for the padding after a sequence's last token, `[batch, tokens]`. Padding is not read, it
   * makes nothing decay, and gives output 0. It still takes its place in time.
   */
  readonly mask?: tf.Tensor;
}

/** What a mixer needs for one sequence, its products counted densely; predicted without running it. */
export interface MixerCost {
  readonly parameters: number;
  /** Multiply-accumulates of products whose operands are both real numbers. */
  readonly macs: number;
  /** Accumulates of products with spikes, if all of them fired: times the firing rate, additions. */
  readonly synapses: number;
  /** Of the state after the last token; 0 where there is none. */
  readonly stateBytes: number;
  /** What has to move at least: parameters, input and output once, the state in and out. */
  readonly trafficBytes: number;
}

/** A mixer's system of one head: `h[i] = Λ[i] h[i-1] + B[i] u[i]ᵀ`, `y[i] = C[i] h[i] + D[i] u[i]`. */
export interface LinearSystem {
  /** Λ: diagonal `[batch, heads, tokens, states]`, or full `[batch, heads, tokens, states, states]`. */
  readonly transition: tf.Tensor;
  /** B, `[batch, heads, tokens, states]`. */
  readonly input: tf.Tensor;
  /** C, `[batch, heads, tokens, states]`. */
  readonly output: tf.Tensor;
  /** D, `[batch, heads, tokens, 1]`; none is 0. */
  readonly skip?: tf.Tensor;
  /** u, `[batch, heads, tokens, values]`. */
  readonly values: tf.Tensor;
}

/**
 * What lets tokens see each other, as a function of parameters, input and state, which holds nothing.
 * `test/models/mixerConformance.ts` holds every mixer to what is written here.
 */
export interface TokenMixer {
  readonly name: string;
  readonly shape: MixerShape;
  /** Whether no output depends on a later frame; inside a frame, see `tokenCausal`. */
  readonly causal: boolean;
  /** Whether no output depends on a later token of the same frame either. */
  readonly tokenCausal?: boolean;
  /** Whether sequences can be fed in parts of whole frames, with the state between. */
  readonly streaming: boolean;
  /** Whether the state holds all tokens so far, so that it grows with the stream. */
  readonly growingState?: boolean;
  /** Whether tokens see each other at all. */
  readonly mixesTokens: boolean;
  /** What it can run as; the first is the usual one. Without `streaming`, `parallel` alone. */
  readonly forms: readonly MixerForm[];
  initialise(initialiser: Initialiser): ParameterTree;
  /**
   * @param x `[batch, tokens, width]`: frames in order, in each the patches in raster order.
   * @param state of the sequence so far; undefined at its start.
   * @returns output, shape of `x`, and the state after it (`frame` counts frames).
   */
  apply(
    parameters: ParameterTree,
    x: tf.Tensor,
    state: ClipState | undefined,
    context: Context,
    options?: MixerOptions,
  ): { output: tf.Tensor; state: ClipState };
  /**
   * The weights by which each head sums up its values, from the start of a sequence; undefined where it does
   * something else with them. Output gates and norms come after. Quadratic in tokens, for analysis and distillation.
   *
   * @param x `[batch, tokens, width]`.
   * @returns `[batch, heads, tokens, tokens]`: of what each token reads, its row.
   */
  attentionWeights?(parameters: ParameterTree, x: tf.Tensor): tf.Tensor;
  /** For one sequence of that many tokens, from its start. Counted values are `analysis/operationCount.ts`'s. */
  cost(tokens: number, options?: MixerOptions): MixerCost;
}

/** A kind of mixer: its name and settings in configurations, and how one is made. */
export interface MixerDefinition {
  readonly name: string;
  /** Where it comes from. */
  readonly paper: string;
  /** Settings beside the name. */
  readonly fields: z.ZodRawShape;
  /** @param settings parsed by `fields`. */
  create(settings: unknown, shape: MixerShape): TokenMixer;
}

/** A definition whose `create` gets its settings with their types. */
export function defineMixer<F extends z.ZodRawShape>(definition: {
  readonly name: string;
  readonly paper: string;
  readonly fields: F;
  create(settings: z.infer<z.ZodObject<F>>, shape: MixerShape): TokenMixer;
}): MixerDefinition {
  return definition as MixerDefinition;
}

/** Frames of `x`, `[batch, tokens, width]`. Throws where the tokens don't make whole frames. */
export function framesOf(x: tf.Tensor, { rows, columns }: MixerShape): number {
  const frames = x.shape[1]! / (rows * columns);
  if (!Number.isInteger(frames)) {
    throw new SaccadeError(
      'usage',
      `${x.shape[1]} tokens are not whole frames of ${rows} × ${columns} patches`,
    );
  }
  return frames;
}

/** The bytes that a mixer has to move for one sequence, of float32. */
export function trafficBytes(
  parameters: number,
  tokens: number,
  { width }: MixerShape,
  stateBytes: number,
): number {
  return 4 * (parameters + 2 * tokens * width) + 2 * stateBytes;
}

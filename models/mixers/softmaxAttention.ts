import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';

import { inference, within, type Context } from '../context.js';
import type { StateTree } from '../model.js';
import type { ParameterTree } from '../parameters.js';
import { project } from '../project.js';
import { joinHeads, splitHeads } from './heads.js';
import { inSegments, requireWhole, segmentLengths } from './segments.js';
import { outputGateNames, outputGates, type OutputGateName } from './outputGates.js';
import { defineMixer, trafficBytes, type MixerShape, type TokenMixer } from './tokenMixer.js';

/** Weights `[width, width]` each. */
type Weights = Readonly<Record<'query' | 'key' | 'value' | 'output', tf.Tensor>>;
type Parameters = Weights & { readonly outputGate: ParameterTree };

/** All keys and values so far, `[batch, heads, tokens, width / heads]`, and their mask `[batch, tokens]`. */
type State = Readonly<Record<'keys' | 'values' | 'mask', tf.Tensor>>;

/** Of scores that take no part: finite, so that a row without any key is no 0 / 0. */
const excluded = -1e9;

const fieldsOf = (
  outputGate: OutputGateName,
): {
  causal: z.ZodDefault<z.ZodBoolean>;
  context: z.ZodDefault<z.ZodNumber>;
  outputGate: z.ZodDefault<z.ZodEnum<{ [name in OutputGateName]: name }>>;
} => ({
  causal: z.boolean().default(true),
  /** Frames that a causal one looks back to, its own included; 0 = all. */
  context: z.number().int().min(0).default(0),
  outputGate: z.enum(outputGateNames).default(outputGate),
});

/**
 * Softmax attention (Vaswani et al. 2017, eq. 1), `softmax(q kᵀ / √d) v` in each head: the exact mixer that
 * linear and sparse ones are measured against, and the full layer of hybrid schedules. Its state holds all
 * keys and values so far, so that it grows; with a `context`, those of as many frames, so that clips of different age
 * have states of one size. Causal, frame t sees frames 0 … t; inside a frame every token sees every other.
 */
export const softmaxAttention = defineMixer({
  name: 'softmaxAttention',
  paper: 'Vaswani et al., Attention Is All You Need, 2017',
  fields: fieldsOf('none'),
  create: (settings, shape) => createAttention('softmaxAttention', settings, shape),
});

/** Softmax attention whose output passes σ(W x) before its last projection. */
export const gatedAttention = defineMixer({
  name: 'gatedAttention',
  paper: 'Qiu et al., Gated Attention for Large Language Models, 2025',
  fields: fieldsOf('element'),
  create: (settings, shape) => createAttention('gatedAttention', settings, shape),
});

interface Settings {
  readonly causal: boolean;
  readonly context: number;
  readonly outputGate: OutputGateName;
}

function createAttention(
  name: string,
  { causal, context, outputGate }: Settings,
  shape: MixerShape,
): TokenMixer {
  const { width, heads, rows, columns } = shape;
  const gate = outputGates[outputGate]?.(shape);
  const tokens = rows * columns;
  /** Tokens that the state always holds, where it doesn't grow. */
  const kept = causal && context > 0 ? (context - 1) * tokens : 0;
  const latest = (x: tf.Tensor, axis: number): tf.Tensor => {
    if (!causal || context === 0) return x;
    const begin = x.shape.map((size, i) => (i === axis ? size - kept : 0));
    return tf.slice(
      x,
      begin,
      x.shape.map((size, i) => (i === axis ? kept : size)),
    );
  };
  const attend = (
    weights: Parameters,
    x: tf.Tensor,
    mask: tf.Tensor | undefined,
    before: State | undefined,
    layer: Context,
  ): { output: tf.Tensor; shares(): tf.Tensor; state: State } => {
    const [batch, length] = x.shape as [number, number];
    const projected = (weight: keyof Weights, y: tf.Tensor = x): tf.Tensor =>
      project(y, weights[weight], within(layer, weight));
    const [q, k, v] = (['query', 'key', 'value'] as const).map((weight) =>
      splitHeads(projected(weight), heads),
    );
    const present = mask ?? tf.ones([batch, length]);
    const extended = (past: tf.Tensor | undefined, now: tf.Tensor, axis: number): tf.Tensor =>
      tf.concat(past === undefined ? [now] : [past, now], axis);
    const empty = (features: number): tf.Tensor | undefined =>
      kept === 0 ? undefined : tf.zeros([batch, heads, kept, features]);
    const keys = extended(before?.keys ?? empty(width / heads), k, 2);
    const values = extended(before?.values ?? empty(width / heads), v, 2);
    const known = extended(
      before?.mask ?? (kept === 0 ? undefined : tf.zeros([batch, kept])),
      present,
      1,
    );
    const shares = (): tf.Tensor => tf.softmax(scores(q, keys, known));
    const form = mask === undefined ? layer.forms?.attention : undefined;
    const read = joinHeads(form?.(q, k, v, layer) ?? tf.matMul(shares(), values));
    return {
      shares,
      output: projected('output', gate?.apply(weights.outputGate, x, read) ?? read),
      state: { keys: latest(keys, 2), values: latest(values, 2), mask: latest(known, 1) },
    };
  };
  /** q kᵀ / √d of what is seen, the last of the keys being the queries' own. */
  const scores = (q: tf.Tensor, keys: tf.Tensor, known: tf.Tensor): tf.Tensor => {
    const [batch, , length] = q.shape as [number, number, number];
    const all = keys.shape[2]!;
    const frameOf = (from: number, count: number): tf.Tensor =>
      tf.floorDiv(tf.range(from, from + count, 1, 'int32'), tf.scalar(tokens, 'int32'));
    const age = tf.sub(
      tf.expandDims(frameOf(all - length, length), 1),
      tf.expandDims(frameOf(0, all), 0),
    );
    const inContext =
      context === 0
        ? tf.greaterEqual(age, 0)
        : tf.logicalAnd(tf.greaterEqual(age, 0), tf.less(age, context));
    const visible = causal ? tf.cast(inContext, 'float32') : tf.ones([length, all]);
    const admitted = tf.mul(visible, tf.reshape(known, [batch, 1, 1, all]));
    return tf.add(
      tf.mul(tf.matMul(q, keys, false, true), (width / heads) ** -0.5),
      tf.mul(tf.sub(1, admitted), excluded),
    );
  };
  return {
    name,
    shape,
    causal,
    tokenCausal: causal && tokens === 1,
    streaming: causal,
    growingState: causal && context === 0,
    mixesTokens: true,
    forms: causal ? ['parallel', 'chunked', 'step'] : ['parallel'],
    initialise: (initialiser) => ({
      ...Object.fromEntries(
        (['query', 'key', 'value', 'output'] as const).map((weight) => [
          weight,
          initialiser.weight(weight, width, width),
        ]),
      ),
      ...(gate && { outputGate: gate.initialise(initialiser.within('outputGate')) }),
    }),
    apply(parameters, x, state, layer, options = {}) {
      requireWhole(causal, state, options.form);
      return inSegments(x, state, shape, options, (segment, before) => {
        const { output, state: after } = attend(
          parameters as ParameterTree & Parameters,
          segment.x,
          segment.mask,
          before as State | undefined,
          layer,
        );
        return { output, state: causal ? (after as unknown as StateTree) : undefined };
      });
    },
    attentionWeights: (parameters, x) => {
      const weights = parameters as ParameterTree & Parameters;
      const shares = attend(weights, x, undefined, undefined, inference).shares();
      return kept === 0 ? shares : tf.slice(shares, [0, 0, 0, kept]);
    },
    cost(count, { form = 'parallel', chunk } = {}) {
      let pairs = 0;
      let seen = kept;
      for (const frames of segmentLengths(count / tokens, form, chunk)) {
        seen = (context > 0 && causal ? kept : seen) + frames * tokens;
        pairs += frames * tokens * seen;
      }
      const parameters = 4 * width * width + (gate?.parameters ?? 0);
      const held = context > 0 ? kept : count;
      const stateBytes = causal ? 4 * held * (2 * width + 1) : 0;
      return {
        parameters,
        macs: count * parameters + 2 * pairs * width,
        synapses: 0,
        stateBytes,
        trafficBytes: trafficBytes(parameters, count, shape, stateBytes),
      };
    },
  };
}

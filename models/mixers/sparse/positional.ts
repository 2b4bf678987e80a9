import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';

import { gatherRows } from '../../../engine/ops/gatherRows.js';
import { linear } from '../../../engine/ops/linear.js';
import type { StateTree } from '../../model.js';
import type { ParameterTree } from '../../parameters.js';
import { joinHeads, splitHeads } from '../heads.js';
import { gatedProjection, outputGateField } from '../outputGates.js';
import { inSegments, segmentLengths } from '../segments.js';
import { defineMixer, trafficBytes, type MixerShape } from '../tokenMixer.js';
import { leftOut } from './blockMask.js';
import { keepLatest, withLatest } from './cache.js';

interface Parameters extends ParameterTree {
  /** A position's features: of each patch as a query, `[patches, positions]`. */
  readonly queryPosition: tf.Tensor;
  /** … and of each patch as a key, by frames back, `[frames · patches, positions]`. */
  readonly keyPosition: tf.Tensor;
  /** `[positions, width]`. */
  readonly query: tf.Tensor;
  readonly key: tf.Tensor;
  /** `[width, width]`; and those of the last projection. */
  readonly value: tf.Tensor;
}

/** Values of the latest frames `[batch, heads, tokens, width / heads]`, and their mask `[batch, tokens]`. */
type State = Readonly<Record<'values' | 'mask', tf.Tensor>>;

/**
 * The scores of positional attention, which no content changes: (P W_q) (P W_k)ᵀ / √d of a patch and a patch some frames
 * back. It can be exported once and for all.
 *
 * @returns `[heads, patches, frames · patches]`, frames back in ascending order.
 */
export function positionalScores(parameters: ParameterTree, heads: number): tf.Tensor {
  const { queryPosition, keyPosition, query, key } = parameters as Parameters;
  const [q, k] =
    [tf.matMul(queryPosition as tf.Tensor2D, query as tf.Tensor2D), tf.matMul(keyPosition as tf.Tensor2D, key as tf.Tensor2D)] // prettier-ignore
      .map((x) => splitHeads(tf.expandDims(x, 0), heads));
  const scores = tf.mul(tf.matMul(q, k, false, true), q.shape[3]! ** -0.5);
  return tf.reshape(scores, scores.shape.slice(1));
}

/** For each pair of query and key: where its score stands in a head's table, or -1. */
function tableIndex(
  piece: { readonly length: number; readonly past: number },
  { rows, columns }: MixerShape,
  reachFrames: number,
): Int32Array {
  const patches = rows * columns;
  const keys = (piece.past + piece.length) * patches;
  return Int32Array.from({ length: piece.length * patches * keys }, (_, at) => {
    const query = Math.floor(at / keys) + piece.past * patches;
    const key = at % keys;
    const back = Math.floor(query / patches) - Math.floor(key / patches);
    if (back < 0 || back >= reachFrames) return -1;
    return ((query % patches) * reachFrames + back) * patches + (key % patches);
  });
}

/**
 * Positional attention (after "Positional Attention", Back de Luca et al. 2024): who attends to whom is decided by positions
 * alone, `softmax((P W_q)(P W_k)ᵀ / √d) v`: the control for whether content has to route. Positions are relative in time, so
 * that it streams and is the same at any time; at a clip's start, frames that aren't there take no share.
 */
export const positionalAttention = defineMixer({
  name: 'positionalAttention',
  paper: 'Back de Luca et al., Positional Attention, 2024',
  fields: {
    /** Frames that are seen, the query's own among them. */
    frames: z.number().int().positive().default(8),
    /** Features of a position. */
    positions: z.number().int().positive().default(16),
    outputGate: outputGateField,
  },
  create({ frames, positions, outputGate }, shape) {
    const projection = gatedProjection(outputGate, shape);
    const { width, heads, rows, columns } = shape;
    const patches = rows * columns;
    return {
      name: 'positionalAttention',
      shape,
      causal: true,
      tokenCausal: patches === 1,
      streaming: true,
      mixesTokens: true,
      forms: ['parallel', 'chunked', 'step'],
      initialise: (initialiser): ParameterTree => ({
        queryPosition: initialiser.normal('queryPosition', [patches, positions], 1),
        keyPosition: initialiser.normal('keyPosition', [frames * patches, positions], 1),
        query: initialiser.weight('query', positions, width),
        key: initialiser.weight('key', positions, width),
        value: initialiser.weight('value', width, width),
        ...projection.initialise(initialiser),
      }),
      apply: (tree, x, state, _, options = {}) => {
        const parameters = tree as Parameters;
        const scores = tf.reshape(positionalScores(parameters, heads), [heads, -1, 1]);
        return inSegments(x, state, shape, options, (segment, layers) => {
          const before = layers as State | undefined;
          const [batch, tokens] = segment.x.shape as [number, number];
          const now = splitHeads(linear(segment.x, parameters.value), heads);
          const real = segment.mask ?? tf.ones([batch, tokens]);
          const past = Math.min(segment.frame, frames - 1) * patches;
          const values = withLatest(before?.values, now, 2, past);
          const present = withLatest(before?.mask, real, 1, past);
          const keys = values.shape[2]!;
          const piece = {
            length: tokens / patches,
            past: past / patches,
          };
          const index = tableIndex(piece, shape, frames);
          const table = tf.reshape(gatherRows(scores, index), [1, heads, tokens, keys]);
          const out = Float32Array.from(index, (at) => (at < 0 ? leftOut : 0));
          const padding = tf.mul(tf.sub(present, 1), -leftOut);
          const masked = tf.add(
            tf.add(table, tf.tensor(out, [1, 1, tokens, keys])),
            tf.reshape(padding, [batch, 1, 1, keys]),
          );
          const mixed = joinHeads(tf.matMul(tf.softmax(masked), values));
          const output = projection.apply(parameters, segment.x, mixed);
          const kept = (frames - 1) * patches;
          if (kept === 0) return { output, state: undefined };
          const after: State = {
            values: keepLatest(values, 2, kept),
            mask: keepLatest(present, 1, kept),
          };
          return { output, state: after as unknown as StateTree };
        });
      },
      cost(count, { form = 'parallel', chunk } = {}) {
        let seen = 0;
        let pairs = 0;
        for (const length of segmentLengths(count / patches, form, chunk)) {
          pairs += length * patches * (Math.min(seen, frames - 1) + length) * patches;
          seen += length;
        }
        const places = patches * (frames + 1) * positions;
        const own = places + 2 * positions * width + width * width;
        const parameters = own + projection.parameters;
        const stateBytes = 4 * (frames - 1) * patches * (width + 1);
        return {
          parameters,
          macs:
            places * width +
            patches * patches * frames * width +
            count * (width ** 2 + projection.parameters) +
            pairs * width,
          synapses: 0,
          stateBytes,
          trafficBytes: trafficBytes(parameters, count, shape, stateBytes),
        };
      },
    };
  },
});

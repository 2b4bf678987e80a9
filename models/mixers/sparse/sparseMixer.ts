import * as tf from '@tensorflow/tfjs-core';

import { linear } from '../../../engine/ops/linear.js';
import type { Context } from '../../context.js';
import type { StateTree } from '../../model.js';
import type { Initialiser, ParameterTree } from '../../parameters.js';
import { joinHeads, splitHeads } from '../heads.js';
import { gatedProjection, type OutputGateName } from '../outputGates.js';
import { inSegments, requireWhole, segmentLengths } from '../segments.js';
import { trafficBytes, type MixerShape, type TokenMixer } from '../tokenMixer.js';
import { blockAttention } from './blockAttention.js';
import {
  pack,
  staticBlocks,
  type BlockMask,
  type BlockSizes,
  type PackedMask,
  type StaticMask,
  type Tiles,
} from './blockMask.js';
import { keepLatest, withLatest } from './cache.js';
import { contentOf, type Content } from './content.js';
import { patchesOf, type Piece } from './grid.js';

/** What decides which keys the queries of a piece see. */
export interface SparseMask {
  /** Frames before its own that a query reads at most; undefined where it reads later frames too. */
  readonly reach?: number;
  /** What it learns, for heads of that width; nothing where it's left out. */
  initialise?(initialiser: Initialiser, headWidth: number): ParameterTree;
  /** Extents of the blocks, whatever the content. */
  sizes(piece: Piece): BlockSizes;
  /** Multiply-accumulates of choosing, all heads together, as far as tensors do it; none where it's left out. */
  choiceMacs?(piece: Piece, headWidth: number): number;
  pack(piece: Piece, content: Content, parameters: ParameterTree, context: Context): PackedMask;
}

/** A mask that reads its content; `sizes` bound its blocks. */
export function choosing(
  mask: Omit<SparseMask, 'pack'> & {
    blocks(piece: Piece, content: Content, parameters: ParameterTree, context: Context): BlockMask;
  },
): SparseMask {
  return {
    ...mask,
    pack: (piece, content, parameters, context) =>
      pack(mask.blocks(piece, content, parameters, context), piece, mask.sizes(piece)),
  };
}

/** A static mask in tiles. */
export function tiled(mask: StaticMask, heads: number, tiles: Tiles): SparseMask {
  const whole = (piece: Piece): PackedMask => pack(staticBlocks(mask, piece, heads, tiles), piece);
  return {
    reach: mask.reach,
    sizes: whole,
    pack(piece, content) {
      const ends = mask.reach === undefined ? clipEnds(content, piece) : [];
      if (ends.every((end) => end === piece.frames)) return whole(piece);
      // Where windows look ahead, a clip ends where its padding begins.
      const lists = ends.flatMap((frames): BlockMask => {
        const own = staticBlocks(mask, { ...piece, frames }, heads, tiles);
        return Array.from({ length: heads }, (_, head) => own[head % own.length]);
      });
      return pack(lists, piece);
    },
  };
}

/** Frames of each clip up to its last token that is no padding. */
function clipEnds({ present, groups, heads }: Content, piece: Piece): number[] {
  const tokens = present.length / (groups / heads);
  return Array.from({ length: groups / heads }, (_, clip) => {
    const last = present.subarray(clip * tokens, (clip + 1) * tokens).lastIndexOf(1);
    return Math.floor(last / patchesOf(piece)) + 1;
  });
}

/** Weights `[width, width]` each, beside those of the last projection, and what the mask learns. */
interface Parameters extends ParameterTree {
  readonly query: tf.Tensor;
  readonly key: tf.Tensor;
  readonly value: tf.Tensor;
}

/**
 * Of as many frames as the mask reaches back: keys and values `[batch, heads, tokens, width / heads]`, mask `[batch, tokens]`, 0
 * before the clip's start.
 */
type State = Readonly<Record<'keys' | 'values' | 'mask', tf.Tensor>>;

/**
 * Softmax attention over the keys that a mask lets through, `softmax(q kᵀ / √d + mask) v` in each head, computed
 * block by block. Its state holds the keys and values of the mask's reach, so it is bounded however long a stream
 * runs.
 */
export function sparseMixer(
  name: string,
  mask: SparseMask,
  shape: MixerShape,
  outputGate: OutputGateName,
): TokenMixer {
  const { width, heads, rows, columns } = shape;
  const patches = rows * columns;
  const headWidth = width / heads;
  const { reach } = mask;
  const projection = gatedProjection(outputGate, shape);
  const streaming = reach !== undefined;
  /** The piece of `length` frames after `frame` others. */
  const pieceOf = (frame: number, length: number): Piece => ({
    rows,
    columns,
    keyFrom: frame - Math.min(frame, reach ?? 0),
    queryFrom: frame,
    frames: frame + length,
  });

  const attend = (
    parameters: Parameters,
    x: tf.Tensor,
    given: tf.Tensor | undefined,
    piece: Piece,
    before: State | undefined,
    context: Context,
  ): { output: tf.Tensor; state?: State } => {
    const [batch, tokens] = x.shape as [number, number];
    const project = (weight: tf.Tensor): tf.Tensor => splitHeads(linear(x, weight), heads);
    const past = (piece.queryFrom - piece.keyFrom) * patches;
    const q = project(parameters.query);
    const keys = withLatest(before?.keys, project(parameters.key), 2, past);
    const values = withLatest(before?.values, project(parameters.value), 2, past);
    const present = withLatest(before?.mask, given ?? tf.ones([batch, tokens]), 1, past);
    const known = keys.shape[2]!;
    const grouped = (y: tf.Tensor): tf.Tensor =>
      tf.reshape(y, [batch * heads, y.shape[2]!, headWidth]);
    const [queryRows, keyRows, valueRows] = [q, keys, values].map(grouped);
    const content = contentOf(queryRows, keyRows, present, heads);
    const { output } = blockAttention(
      queryRows,
      keyRows,
      valueRows,
      mask.pack(piece, content, parameters, context),
      headWidth ** -0.5,
      tf.reshape(tf.tile(tf.expandDims(present, 1), [1, heads, 1]), [batch * heads, known]),
    );
    const joined = joinHeads(tf.reshape(output, [batch, heads, tokens, headWidth]));
    const mixed = projection.apply(parameters, x, joined);
    if (reach === undefined || reach === 0) return { output: mixed };
    const kept = reach * patches;
    return {
      output: mixed,
      state: {
        keys: keepLatest(keys, 2, kept),
        values: keepLatest(values, 2, kept),
        mask: keepLatest(present, 1, kept),
      },
    };
  };

  return {
    name,
    shape,
    causal: streaming,
    tokenCausal: streaming && patches === 1,
    streaming,
    mixesTokens: true,
    forms: streaming ? ['parallel', 'chunked', 'step'] : ['parallel'],
    initialise: (initialiser) => ({
      ...Object.fromEntries(
        ['query', 'key', 'value'].map((part) => [part, initialiser.weight(part, width, width)]),
      ),
      ...projection.initialise(initialiser),
      ...mask.initialise?.(initialiser, headWidth),
    }),
    apply(parameters, x, state, context, options = {}) {
      requireWhole(streaming, state, options.form);
      return inSegments(x, state, shape, options, (segment, before) => {
        const length = segment.x.shape[1]! / patches;
        const { output, state: after } = attend(
          parameters as Parameters,
          segment.x,
          segment.mask,
          pieceOf(segment.frame, length),
          before as State | undefined,
          context,
        );
        return { output, state: after as StateTree | undefined };
      });
    },
    cost(count, { form = 'parallel', chunk } = {}) {
      let frame = 0;
      let pairs = 0;
      let choice = 0;
      for (const length of segmentLengths(count / patches, form, chunk)) {
        const piece = pieceOf(frame, length);
        const { blocks, blockQueries, blockKeys } = mask.sizes(piece);
        choice += mask.choiceMacs?.(piece, headWidth) ?? 0;
        pairs += blocks * blockQueries * blockKeys;
        frame += length;
      }
      const parameters = 3 * width * width + projection.parameters;
      const kept = (reach ?? 0) * patches;
      const stateBytes = 4 * kept * (2 * width + 1);
      return {
        parameters,
        macs: count * parameters + 2 * pairs * width + choice,
        synapses: 0,
        stateBytes,
        trafficBytes: trafficBytes(parameters, count, shape, stateBytes),
      };
    },
  };
}

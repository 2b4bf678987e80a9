import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';

import type { ParameterTree } from '../../parameters.js';
import { outputGateField } from '../outputGates.js';
import { defineMixer } from '../tokenMixer.js';
import { leftOut, type BlockList, type BlockMask, type BlockSizes } from './blockMask.js';
import { greatest, groupContent, pool, visibleFrames, type Content } from './content.js';
import { patchesOf, tilesOf, type Grid, type Piece } from './grid.js';
import { choosing, sparseMixer } from './sparseMixer.js';
import { frameTileField, reachField, tileField } from './tileFields.js';

export interface SeerConfig {
  /** Patches whose queries choose together, in one frame: later queries may not have a say. */
  readonly queryTile: Omit<Grid, 'frames'>;
  /** Keys that are chosen together. */
  readonly keyTile: Grid;
  /** Blocks that are kept beside those of the query's own frames. */
  readonly top: number;
  /** Keeps blocks by their share of the gate's softmax instead, of all if it's 0. */
  readonly threshold?: number;
  /** Furthest frame back; undefined looks at the whole clip, later frames too. */
  readonly reach?: number;
}

/** The gate: `[heads, width, gate width]` for pooled queries, `[heads, 3 · width, gate width]` for pooled keys. */
export interface SeerGate {
  readonly query: tf.Tensor;
  readonly key: tf.Tensor;
}

/** What the gate reads, per head of each clip, and which blocks each tile may choose and has anyway. */
interface Pooled {
  readonly tiles: readonly Int32Array[];
  readonly blocks: readonly Int32Array[];
  /** Mean query of each tile, `[groups, tiles, width]`. */
  readonly queries: Float32Array;
  /** Greatest, least and mean key of each block, `[groups, blocks, 3 · width]`. */
  readonly keys: Float32Array;
  readonly candidates: readonly (readonly number[])[];
  readonly always: readonly (readonly number[])[];
}

/**
 * The blocks of SeerAttention (Gao et al. 2024): a learned gate scores blocks of keys by their greatest, least and mean key
 * against the mean query of a tile; the best are kept, and always those of the query's own frames, the last of which
 * may not be complete yet. `seerGateLoss` trains the gate. Positions come with the tokens, not by rotation.
 */
export function seerMask(
  config: SeerConfig,
  piece: Piece,
  content: Content,
  gate: SeerGate,
): BlockMask {
  const { groups } = content;
  const { tiles, blocks, queries, keys, candidates, always } = poolBlocks(config, piece, content);
  const scores = tf.tidy(
    () => gateScores(gate, queries, keys, content, tiles, blocks).dataSync() as Float32Array,
  );
  const patches = patchesOf(piece);
  return Array.from({ length: groups }, (_, group): BlockList => {
    const { isPresent } = groupContent(content, piece, group);
    const visits = tiles.map((_, tile) => {
      const open = candidates[tile].filter((block) => blocks[block].some(isPresent));
      const own = open.map(
        (block) => scores[(group * tiles.length + tile) * blocks.length + block],
      );
      return [...kept(config, own).map((i) => open[i]), ...always[tile]];
    });
    return {
      queryBlocks: tiles,
      keyBlocks: blocks,
      visits,
      ...(config.reach !== undefined && {
        logWeight: (query: number, key: number) =>
          Math.floor(key / patches) <= Math.floor(query / patches) ? 0 : -Infinity,
      }),
    };
  });
}

function kept({ top, threshold }: SeerConfig, scores: readonly number[]): number[] {
  if (threshold === undefined) return greatest(scores, top);
  const most = Math.max(...scores);
  const shares = scores.map((score) => Math.exp(score - most));
  const total = shares.reduce((a, b) => a + b, 0);
  return [...shares.keys()].filter((i) => shares[i] / total >= threshold);
}

function poolBlocks(
  { queryTile, keyTile, reach }: SeerConfig,
  piece: Piece,
  content: Content,
): Pooled {
  const { groups, width } = content;
  const patches = patchesOf(piece);
  const tiles = tilesOf(piece, { frames: 1, ...queryTile }, piece.queryFrom);
  const blocks = tilesOf(piece, keyTile, piece.keyFrom);
  const spans = blocks.map((tokens) => [
    Math.floor(tokens[0] / patches),
    Math.floor(tokens[tokens.length - 1] / patches),
  ]);
  const span = (frame: number): number => Math.floor(frame / keyTile.frames);
  const chosenFrom = tiles.map((tile) => {
    const frame = Math.floor(tile[0] / patches);
    const [first, last] = visibleFrames(frame, reach, piece);
    const numbers = [...blocks.keys()];
    const isOwn = (block: number): boolean => span(spans[block][0]) === span(frame);
    return {
      always: numbers.filter(isOwn),
      // Blocks that the reach cuts are out: what is left of them would depend on where a chunk began.
      candidates: numbers.filter(
        (block) =>
          !isOwn(block) &&
          span(spans[block][0]) * keyTile.frames >= first &&
          spans[block][1] <= last,
      ),
    };
  });
  const queries = new Float32Array(groups * tiles.length * width);
  const keys = new Float32Array(groups * blocks.length * 3 * width);
  for (let group = 0; group < groups; group++) {
    const { query, key, isPresent } = groupContent(content, piece, group);
    tiles.forEach((tile, i) => {
      const mean = pool([...tile].filter(isPresent).map(query), 'mean');
      if (mean) queries.set(mean, (group * tiles.length + i) * width);
    });
    blocks.forEach((tokens, i) => {
      const rows = [...tokens].filter(isPresent).map(key);
      (['max', 'min', 'mean'] as const).forEach((kind, part) => {
        const pooled = pool(rows, kind);
        if (pooled) keys.set(pooled, ((group * blocks.length + i) * 3 + part) * width);
      });
    });
  }
  return {
    tiles,
    blocks,
    queries,
    keys,
    candidates: chosenFrom.map(({ candidates }) => candidates),
    always: chosenFrom.map(({ always }) => always),
  };
}

/** `[clips, heads, tiles, blocks]`. */
function gateScores(
  gate: SeerGate,
  queries: Float32Array,
  keys: Float32Array,
  { groups, heads }: Content,
  tiles: readonly Int32Array[],
  blocks: readonly Int32Array[],
): tf.Tensor {
  const clips = groups / heads;
  // One product per head: TensorFlow.js doesn't sum the gradient of an operand that it repeats.
  const projected = (values: Float32Array, rows: number, weight: tf.Tensor): tf.Tensor => {
    const byHead = tf.transpose(tf.tensor(values, [clips, heads, rows, values.length / groups / rows]), [1, 0, 2, 3]); // prettier-ignore
    const flat = tf.reshape(byHead, [heads, clips * rows, -1]);
    const result = tf.reshape(tf.matMul(flat, weight), [heads, clips, rows, -1]);
    return tf.transpose(result, [1, 0, 2, 3]);
  };
  const asked = projected(queries, tiles.length, gate.query);
  const offered = projected(keys, blocks.length, gate.key);
  return tf.mul(tf.matMul(asked, offered, false, true), gate.query.shape[2]! ** -0.5);
}

/**
 * What trains the gate beside a frozen model: cross-entropy between its softmax over the candidate blocks and the
 * attention's own, which is the greatest weight inside each block, made to sum to 1 over them.
 *
 * @returns a scalar, the mean over tiles that have candidates; 0 if none has.
 */
export function seerGateLoss(
  gate: SeerGate,
  config: SeerConfig,
  piece: Piece,
  content: Content,
): tf.Tensor {
  const pooled = poolBlocks(config, piece, content);
  const { tiles, blocks, candidates } = pooled;
  const allowed = new Float32Array(tiles.length * blocks.length).fill(leftOut);
  candidates.forEach((own, tile) =>
    own.forEach((block) => (allowed[tile * blocks.length + block] = 0)),
  );
  const scores = tf.add(
    gateScores(gate, pooled.queries, pooled.keys, content, tiles, blocks),
    tf.tensor(allowed, [1, 1, tiles.length, blocks.length]),
  );
  const logShares = tf.maximum(tf.logSoftmax(scores), -1e4);
  const targets = tf.tensor(blockTargets(config, piece, content, pooled), scores.shape);
  const rows = candidates.filter(({ length }) => length > 0).length * content.groups;
  return tf.div(tf.neg(tf.sum(tf.mul(targets, logShares))), Math.max(1, rows));
}

/** Share of each candidate block in a tile's attention, `[groups, tiles, blocks]`. */
export function blockTargets(
  { reach }: SeerConfig,
  piece: Piece,
  content: Content,
  { tiles, blocks, candidates }: Pick<Pooled, 'tiles' | 'blocks' | 'candidates'>,
): Float32Array {
  const { groups, width } = content;
  const patches = patchesOf(piece);
  const targets = new Float32Array(groups * tiles.length * blocks.length);
  for (let group = 0; group < groups; group++) {
    const { query, key, isPresent } = groupContent(content, piece, group);
    tiles.forEach((tile, i) => {
      const row = targets.subarray(
        (group * tiles.length + i) * blocks.length,
        (group * tiles.length + i + 1) * blocks.length,
      );
      const [first, last] = visibleFrames(Math.floor(tile[0] / patches), reach, piece);
      for (const token of tile) {
        if (!isPresent(token)) continue;
        const q = query(token);
        const scores = new Map<number, number>();
        for (let other = first * patches; other < (last + 1) * patches; other++) {
          if (!isPresent(other)) continue;
          const k = key(other);
          let score = 0;
          for (let f = 0; f < width; f++) score += q[f] * k[f];
          scores.set(other, score / Math.sqrt(width));
        }
        const most = Math.max(...scores.values());
        let total = 0;
        for (const score of scores.values()) total += Math.exp(score - most);
        for (const block of candidates[i]) {
          for (const other of blocks[block]) {
            const score = scores.get(other);
            if (score !== undefined) {
              row[block] = Math.max(row[block], Math.exp(score - most) / total);
            }
          }
        }
      }
      const sum = row.reduce((a, b) => a + b, 0);
      if (sum > 0) row.forEach((value, block) => (row[block] = value / sum));
    });
  }
  return targets;
}

function seerSizes(config: SeerConfig, piece: Piece): BlockSizes {
  const { queryTile, keyTile, top, threshold, reach } = config;
  const tiles = tilesOf(piece, { frames: 1, ...queryTile }, piece.queryFrom);
  const cut = (extent: number, size: number): number => Math.ceil(extent / size);
  const rows = Math.min(keyTile.rows, piece.rows);
  const columns = Math.min(keyTile.columns, piece.columns);
  const perSpan = cut(piece.rows, rows) * cut(piece.columns, columns);
  const spans = cut(Math.min(piece.frames, (reach ?? Infinity) + 1), keyTile.frames) - 1;
  const candidates = Math.min(threshold === undefined ? top : Infinity, spans * perSpan);
  const frames = Math.min(keyTile.frames, piece.frames);
  return {
    blocks: tiles.length,
    blockQueries: Math.max(...tiles.map(({ length }) => length)),
    blockKeys: (candidates + perSpan) * frames * rows * columns,
  };
}

interface Parameters extends ParameterTree {
  readonly selector: { readonly query: tf.Tensor; readonly key: tf.Tensor };
}

export const seerAttention = defineMixer({
  name: 'seerAttention',
  paper: 'Gao et al., SeerAttention, 2024',
  fields: {
    queryTile: frameTileField,
    keyTile: tileField(4, 4, 4),
    top: z.number().int().positive().default(8),
    threshold: z.number().min(0).max(1).optional(),
    gateWidth: z.number().int().positive().default(16),
    reach: reachField,
    causal: z.boolean().default(true),
    outputGate: outputGateField,
  },
  create({ causal, gateWidth, outputGate, ...settings }, shape) {
    const config = { ...settings, reach: causal ? settings.reach : undefined };
    const mask = choosing({
      reach: config.reach,
      initialise: (initialiser, width) => ({
        selector: {
          query: initialiser.normal(
            'selector.query',
            [shape.heads, width, gateWidth],
            width ** -0.5,
          ),
          key: initialiser.normal(
            'selector.key',
            [shape.heads, 3 * width, gateWidth],
            (3 * width) ** -0.5,
          ),
        },
      }),
      sizes: (piece) => seerSizes(config, piece),
      choiceMacs(piece, width) {
        const tiles = tilesOf(piece, { frames: 1, ...config.queryTile }, piece.queryFrom).length;
        const blocks = tilesOf(piece, config.keyTile, piece.keyFrom).length;
        return shape.heads * gateWidth * (tiles * width + blocks * 3 * width + tiles * blocks);
      },
      blocks: (piece, content, parameters) =>
        seerMask(config, piece, content, (parameters as Parameters).selector),
    });
    return sparseMixer('seerAttention', mask, shape, outputGate);
  },
});

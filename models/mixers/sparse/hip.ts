import { z } from 'zod';

import { outputGateField } from '../outputGates.js';
import { defineMixer } from '../tokenMixer.js';
import type { BlockList, BlockMask, BlockSizes } from './blockMask.js';
import { dot, greatest, groupContent, pool, visibleFrames, type Content } from './content.js';
import { patchesOf, tilesOf, type Grid, type Piece } from './grid.js';
import { choosing, sparseMixer } from './sparseMixer.js';
import { frameTileField, reachField } from './tileFields.js';

export interface HipConfig {
  /** Patches whose queries search together, in one frame: later queries may not have a say. */
  readonly queryTile: Omit<Grid, 'frames'>;
  /** Ranges of keys that are kept on each level, k. */
  readonly ranges: number;
  /** Tokens of a range that isn't halved any more. */
  readonly leaf: number;
  /** Furthest frame back; undefined searches the whole clip, later frames too. */
  readonly reach?: number;
}

/**
 * HiP attention (Lee et al. 2024): the keys with the greatest scores, by a search down a tree. The visible tokens are cut
 * into k ranges; each is halved, every half is scored by its middle token against the mean query of the tile, and the k
 * best halves go on, until ranges are leaves. Without training, and O(k log(n/k)) scores per tile of queries.
 *
 * @param onScore is called for each score that the search computes.
 */
export function hipMask(
  { queryTile, ranges, leaf, reach }: HipConfig,
  piece: Piece,
  content: Content,
  onScore?: () => void,
): BlockMask {
  const patches = patchesOf(piece);
  const tiles = tilesOf(piece, { frames: 1, ...queryTile }, piece.queryFrom);
  return Array.from({ length: content.groups }, (_, group): BlockList => {
    const { query, key, isPresent } = groupContent(content, piece, group);
    const keyBlocks: Int32Array[] = [];
    const visits = tiles.map((tile) => {
      const mean = pool([...tile].filter(isPresent).map(query), 'mean');
      if (mean === undefined) return [];
      const [from, to] = visibleFrames(Math.floor(tile[0] / patches), reach, piece);
      const visible = tokensOf(from * patches, (to + 1) * patches).filter(isPresent);
      const score = (position: number): number => {
        onScore?.();
        return dot(mean, key(visible[position]));
      };
      return searchTree(visible.length, ranges, leaf, score).map(([start, end]) => {
        keyBlocks.push(visible.slice(start, end));
        return keyBlocks.length - 1;
      });
    });
    return { queryBlocks: tiles, keyBlocks, visits };
  });
}

function tokensOf(from: number, to: number): Int32Array {
  return Int32Array.from({ length: to - from }, (_, i) => from + i);
}

type Range = readonly [start: number, end: number];

/** The `kept` ranges of at most `leaf` positions, of [0, length), whose middles led the search to them. */
export function searchTree(
  length: number,
  kept: number,
  leaf: number,
  score: (position: number) => number,
): Range[] {
  const count = Math.min(kept, length);
  const cut = (i: number): number => Math.floor((i * length) / count);
  let open: Range[] = Array.from({ length: count }, (_, i) => [cut(i), cut(i + 1)]);
  while (open.some(([a, b]) => b - a > leaf)) {
    const halves = open.flatMap(([a, b]): Range[] => {
      const middle = (a + b) >> 1;
      return b - a > leaf ? [[a, middle], [middle, b]] : [[a, b]]; // prettier-ignore
    });
    const total = halves.reduce((sum, [a, b]) => sum + b - a, 0);
    // As long as leaves would hold them all, there is nothing to choose.
    open =
      total <= kept * leaf || halves.length <= kept
        ? halves
        : greatest(halves.map(([a, b]) => score((a + b) >> 1)), kept).map((i) => halves[i]); // prettier-ignore
  }
  return [...open].sort(([a], [b]) => a - b);
}

function hipSizes({ queryTile, ranges, leaf, reach }: HipConfig, piece: Piece): BlockSizes {
  const tiles = tilesOf(piece, { frames: 1, ...queryTile }, piece.queryFrom);
  const visible = patchesOf(piece) * Math.min(piece.frames, (reach ?? Infinity) + 1);
  return {
    blocks: tiles.length,
    blockQueries: Math.max(...tiles.map(({ length }) => length)),
    blockKeys: Math.min(visible, ranges * leaf),
  };
}

export const hipAttention = defineMixer({
  name: 'hipAttention',
  paper: 'Lee et al., HiP Attention, 2024',
  fields: {
    queryTile: frameTileField,
    ranges: z.number().int().positive().default(8),
    leaf: z.number().int().positive().default(8),
    reach: reachField,
    causal: z.boolean().default(true),
    outputGate: outputGateField,
  },
  create({ causal, outputGate, ...settings }, shape) {
    const config = { ...settings, reach: causal ? settings.reach : undefined };
    const mask = choosing({
      reach: config.reach,
      sizes: (piece) => hipSizes(config, piece),
      blocks: (piece, content) => hipMask(config, piece, content),
    });
    return sparseMixer('hipAttention', mask, shape, outputGate);
  },
});

import { z } from 'zod';

import { createRandom, permutation } from '../../../engine/support/random.js';
import { defineMixer } from '../tokenMixer.js';
import type { BlockList, BlockMask, BlockSizes } from './blockMask.js';
import { dot, groupContent, type Content } from './content.js';
import { patchesOf, type Piece } from './grid.js';
import { choosing, sparseMixer } from './sparseMixer.js';

export interface HyperConfig {
  /** Tokens of a block of the sorted queries and keys. */
  readonly block: number;
  /** Keys drawn to stand for those outside of a query's block. */
  readonly samples: number;
  /** Random directions that queries and keys are hashed by; 2^bits buckets. */
  readonly bits: number;
  /** Of the directions and the samples. */
  readonly seed: number;
}

/**
 * HyperAttention (Han et al. 2023), of a whole clip: queries and keys are sorted by an angular hash, whose buckets are
 * numbered so that neighbours differ in one sign (Gray code); a block of sorted queries sees the block of keys at the
 * same place, and keys drawn without replacement stand for all others, each with weight (others / drawn others). A drawn
 * key that is in the block already isn't counted again.
 */
export function hyperMask(config: HyperConfig, piece: Piece, content: Content): BlockMask {
  const tokens = piece.frames * patchesOf(piece);
  const directions = hashDirections(config, content.width);
  return Array.from({ length: content.groups }, (_, group): BlockList => {
    const { query, key, isPresent } = groupContent(content, piece, group);
    const present = Array.from({ length: tokens }, (_, token) => token).filter(isPresent);
    const blocksOf = (row: (token: number) => Float32Array): Int32Array[] => {
      const bucket = new Map(present.map((token) => [token, bucketOf(row(token), directions)]));
      const order = [...present].sort((a, b) => bucket.get(a)! - bucket.get(b)! || a - b);
      return Array.from({ length: Math.ceil(order.length / config.block) }, (_, i) =>
        Int32Array.from(order.slice(i * config.block, (i + 1) * config.block)),
      );
    };
    const queryBlocks = blocksOf(query);
    const keyBlocks = blocksOf(key);
    const placesOf = (blocks: readonly Int32Array[]): Map<number, number> =>
      new Map(blocks.flatMap((block, i) => [...block].map((token) => [token, i] as const)));
    const [queryPlaces, keyPlaces] = [queryBlocks, keyBlocks].map(placesOf);
    const drawn = permutation(present.length, createRandom(config.seed, 'keys'))
      .slice(0, config.samples)
      .map((i) => present[i]);
    const logShares = keyBlocks.map((block, i) => {
      const others = drawn.reduce((count, token) => count + Number(keyPlaces.get(token) !== i), 0);
      return Math.log((present.length - block.length) / others);
    });
    const sample = keyBlocks.length;
    return {
      queryBlocks,
      keyBlocks: [...keyBlocks, Int32Array.from(drawn)],
      visits: queryBlocks.map((_, i) => [i, sample]),
      logWeight(token, keyToken, keyBlock) {
        if (keyBlock !== sample) return 0;
        const own = queryPlaces.get(token)!;
        return keyPlaces.get(keyToken) === own ? -Infinity : logShares[own];
      },
    };
  });
}

function hashDirections({ bits, seed }: HyperConfig, width: number): Float32Array[] {
  const random = createRandom(seed, 'directions');
  return Array.from({ length: bits }, () =>
    Float32Array.from({ length: width }, () => random.normal()),
  );
}

/** Place of a vector's signs in the Gray code. */
export function bucketOf(x: Float32Array, directions: readonly Float32Array[]): number {
  let place = 0;
  let bit = 0;
  for (const direction of directions) {
    bit ^= dot(x, direction) > 0 ? 1 : 0;
    place = 2 * place + bit;
  }
  return place;
}

function hyperSizes({ block, samples }: HyperConfig, piece: Piece): BlockSizes {
  const tokens = piece.frames * patchesOf(piece);
  return {
    blocks: Math.ceil(tokens / block),
    blockQueries: Math.min(block, tokens),
    blockKeys: Math.min(block, tokens) + Math.min(samples, tokens),
  };
}

const positive = z.number().int().positive();

export const hyperAttention = defineMixer({
  name: 'hyperAttention',
  paper: 'Han et al., HyperAttention, 2023',
  fields: {
    block: positive.default(64),
    samples: positive.default(64),
    bits: positive.max(30).default(7),
    seed: z.number().int().min(0).default(0),
  },
  create(config, shape) {
    const mask = choosing({
      sizes: (piece) => hyperSizes(config, piece),
      blocks: (piece, content) => hyperMask(config, piece, content),
    });
    return sparseMixer('hyperAttention', mask, shape);
  },
});

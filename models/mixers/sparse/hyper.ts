import { z } from 'zod';

import { createRandom, permutation } from '../../../engine/support/random.js';
import { outputGateField } from '../outputGates.js';
import { defineMixer } from '../tokenMixer.js';
import { firstAtLeast, type BlockList, type BlockMask, type BlockSizes } from './blockMask.js';
import { dot, groupContent, type Content } from './content.js';
import { patchesOf, type Piece } from './grid.js';
import { choosing, sparseMixer } from './sparseMixer.js';
import { reachField } from './tileFields.js';

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

export interface CausalHyperConfig extends HyperConfig {
  /** Frames of the smallest parts, inside of which a query sees all keys so far. */
  readonly leaf: number;
  /** Furthest frame back. */
  readonly reach: number;
}

/**
 * The parts of the past that recursive halving gives a frame: time is halved down to leaves, and a frame sees the left half
 * of each part in whose right half it stands; counted from the clip's start, whatever its length. The latest comes first.
 */
export function pastParts(frame: number, leaf: number): (readonly [from: number, to: number])[] {
  const parts: [number, number][] = [];
  for (let size = leaf; size <= frame; size *= 2) {
    const index = Math.floor(frame / size);
    if (index % 2 === 1) parts.push([(index - 1) * size, index * size]);
  }
  return parts;
}

/**
 * HyperAttention with a causal mask, by recursive halving (Han et al. 2023): a query sees all keys of its leaf so
 * far, and of each part of `pastParts` the block of sorted keys that its hash falls into and drawn keys for the others. In
 * the paper, the queries of a right half are sorted too and take the key block of the same rank, so that later queries move
 * earlier ones to other blocks; here a query's own hash alone decides, and no later token changes what it sees.
 */
export function causalHyperMask(
  config: CausalHyperConfig,
  piece: Piece,
  content: Content,
): BlockMask {
  const { leaf, reach, block, samples, seed } = config;
  const patches = patchesOf(piece);
  const directions = hashDirections(config, content.width);
  const tokensOf = (from: number, to: number): number[] =>
    Array.from({ length: Math.max(0, to - from) * patches }, (_, i) => from * patches + i);
  return Array.from({ length: content.groups }, (_, group): BlockList => {
    const { query, key, isPresent } = groupContent(content, piece, group);
    const buckets = new Map<number, number>();
    const bucket = (token: number): number => {
      const known = buckets.get(token) ?? bucketOf(key(token), directions);
      buckets.set(token, known);
      return known;
    };
    const partOf = (from: number, to: number): SortedPart => {
      const keys = tokensOf(from, to)
        .filter(isPresent)
        .sort((a, b) => bucket(a) - bucket(b) || a - b);
      const order = permutation(keys.length, createRandom(seed, 'keys', from, to));
      const drawn = Array.from(order.slice(0, samples), (i) => keys[i]);
      return { keys, buckets: keys.map(bucket), drawn };
    };
    const whole = new Map<number, SortedPart>();
    const queryBlocks: Int32Array[] = [];
    const keyBlocks: Int32Array[] = [];
    const logWeights: Map<number, number>[] = [];
    for (let frame = piece.queryFrom; frame < piece.frames; frame++) {
      const oldest = Math.max(0, frame - reach);
      const leafStart = Math.max(oldest, frame - (frame % leaf));
      const near = tokensOf(leafStart, frame + 1).filter(isPresent);
      const past = pastParts(frame, leaf)
        .filter(([, to]) => to > oldest)
        .map(([from, to]) => {
          // Those that the reach cuts are other parts in the next frame.
          if (from < oldest) return partOf(oldest, to);
          const known = whole.get(to) ?? partOf(from, to);
          whole.set(to, known);
          return known;
        });
      for (const token of tokensOf(frame, frame + 1).filter(isPresent)) {
        const place = bucketOf(query(token), directions);
        const logWeight = new Map<number, number>();
        const far = past.flatMap((part) => chosenKeys(part, place, block, logWeight));
        queryBlocks.push(Int32Array.of(token));
        keyBlocks.push(Int32Array.from([...near, ...far]));
        logWeights.push(logWeight);
      }
    }
    return {
      queryBlocks,
      keyBlocks,
      visits: queryBlocks.map((_, i) => [i]),
      logWeight: (_, keyToken, keyBlock) => logWeights[keyBlock].get(keyToken) ?? 0,
    };
  });
}

/** Keys in order of their buckets, and those drawn to stand for others. */
interface SortedPart {
  readonly keys: readonly number[];
  readonly buckets: readonly number[];
  readonly drawn: readonly number[];
}

/** The block of keys around a bucket, and the drawn keys outside of it with their weights. */
function chosenKeys(
  { keys, buckets, drawn }: SortedPart,
  bucket: number,
  block: number,
  logWeight: Map<number, number>,
): number[] {
  if (keys.length === 0) return [];
  // The middle of the keys of the same bucket, or the place between its neighbours.
  const middle = (firstAtLeast(buckets, bucket) + firstAtLeast(buckets, bucket + 1)) >> 1;
  const place = Math.min(keys.length - 1, middle);
  const start = place - (place % block);
  const own = keys.slice(start, start + block);
  const others = drawn.filter((token) => !own.includes(token));
  const share = Math.log((keys.length - own.length) / others.length);
  for (const token of others) logWeight.set(token, share);
  return [...own, ...others];
}

function causalHyperSizes(config: CausalHyperConfig, piece: Piece): BlockSizes {
  const { leaf, reach, block, samples } = config;
  const patches = patchesOf(piece);
  let blockKeys = 1;
  for (let frame = piece.queryFrom; frame < piece.frames; frame++) {
    const oldest = Math.max(0, frame - reach);
    let keys = patches * (frame + 1 - Math.max(oldest, frame - (frame % leaf)));
    for (const [from, to] of pastParts(frame, leaf)) {
      const all = patches * Math.max(0, to - Math.max(from, oldest));
      keys += Math.min(all, block + samples);
    }
    blockKeys = Math.max(blockKeys, keys);
  }
  return { blocks: (piece.frames - piece.queryFrom) * patches, blockQueries: 1, blockKeys };
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
    causal: z.boolean().default(false),
    leaf: positive.default(16),
    reach: reachField,
    outputGate: outputGateField,
  },
  create({ causal, outputGate, ...config }, shape) {
    const mask = causal
      ? choosing({
          reach: config.reach,
          sizes: (piece) => causalHyperSizes(config, piece),
          blocks: (piece, content) => causalHyperMask(config, piece, content),
        })
      : choosing({
          sizes: (piece) => hyperSizes(config, piece),
          blocks: (piece, content) => hyperMask(config, piece, content),
        });
    return sparseMixer('hyperAttention', mask, shape, outputGate);
  },
});

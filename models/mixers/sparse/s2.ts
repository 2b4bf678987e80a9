import { z } from 'zod';

import { SaccadeError } from '../../../engine/support/errors.js';
import { outputGateField } from '../outputGates.js';
import { defineMixer } from '../tokenMixer.js';
import type { StaticMask } from './blockMask.js';
import { patchesOf, type Grid } from './grid.js';
import { sparseMixer, tiled } from './sparseMixer.js';
import { tileField } from './tileFields.js';

export interface S2Config {
  /** Frames of a block. */
  readonly blockFrames: number;
  /** Latest blocks that every head sees, the query's own among them. */
  readonly localBlocks: number;
  /** Of earlier blocks, head h sees those with (block + h · step) mod stride = 0. */
  readonly stride: number;
  readonly step: number;
  /** Furthest frame back, ≥ 0. */
  readonly furthest: number;
}

/**
 * S2-Attention (Lin et al. 2024): each head sees a shard of the past, and together the heads see all of it. The shard is
 * chosen by the block's own number, not by its distance, which would be the same for all heads.
 */
export function s2Mask(config: S2Config): StaticMask {
  const { blockFrames, localBlocks, stride, step, furthest } = config;
  return {
    reach: furthest,
    perHead: true,
    *keysOf(query: number, grid: Grid, head: number) {
      const patches = patchesOf(grid);
      const frame = Math.floor(query / patches);
      const own = Math.floor(frame / blockFrames);
      for (let past = Math.max(0, frame - furthest); past <= frame; past++) {
        const block = Math.floor(past / blockFrames);
        if (own - block >= localBlocks && (block + head * step) % stride !== 0) continue;
        for (let patch = 0; patch < patches; patch++) yield past * patches + patch;
      }
    },
  };
}

/** @throws SaccadeError of kind `config` where the heads' shards leave blocks that no head sees. */
export function requireCovered({ stride, step }: S2Config, heads: number): void {
  const shards = new Set(Array.from({ length: heads }, (_, head) => (head * step) % stride));
  if (shards.size < stride) {
    throw new SaccadeError(
      'config',
      `lets ${heads} heads see ${shards.size} of ${stride} shards, expected all of them`,
      { field: 'mixer.stride' },
    );
  }
}

const positive = z.number().int().positive();

export const s2Attention = defineMixer({
  name: 's2Attention',
  paper: 'Lin et al., S2-Attention, 2024',
  fields: {
    blockFrames: positive.default(2),
    localBlocks: positive.default(1),
    stride: positive.default(2),
    step: positive.default(1),
    furthest: z.number().int().min(0).default(63),
    outputGate: outputGateField,
    queryTile: tileField(4, 4, 4),
  },
  create({ queryTile, outputGate, ...config }, shape) {
    requireCovered(config, shape.heads);
    // Keys in the blocks that heads choose between.
    const key = { frames: config.blockFrames, rows: shape.rows, columns: shape.columns };
    const mask = tiled(s2Mask(config), shape.heads, { query: queryTile, key });
    return sparseMixer('s2Attention', mask, shape, outputGate);
  },
});

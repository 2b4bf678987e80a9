import { z } from 'zod';

import { outputGateField } from '../outputGates.js';
import { defineMixer } from '../tokenMixer.js';
import type { StaticMask } from './blockMask.js';
import { patchesOf, type Grid } from './grid.js';
import { sparseMixer, tiled } from './sparseMixer.js';
import { tileFields } from './tileFields.js';

export interface PowerConfig {
  /** Latest frames that are all seen, the query's own among them, ≥ 1. */
  readonly window: number;
  /** Furthest frame back, ≥ 0; the largest power of two up to it is the last one seen. */
  readonly furthest: number;
}

/**
 * PowerAttention (Chen et al. 2025) over frames: a query sees all tokens of the latest frames, and of those 1, 2, 4, 8, …
 * frames back. L layers see at least 2^L frames without a gap, at window + log₂(furthest) frames per layer.
 */
export function powerMask({ window, furthest }: PowerConfig): StaticMask {
  if (window < 1) throw new RangeError(`window ${window}: expected at least 1`);
  const distances = powerDistances(window, furthest);
  return {
    reach: distances[distances.length - 1],
    perHead: false,
    *keysOf(query: number, grid: Grid) {
      const patches = patchesOf(grid);
      const frame = Math.floor(query / patches);
      for (const distance of distances) {
        if (distance > frame) return;
        for (let patch = 0; patch < patches; patch++) yield (frame - distance) * patches + patch;
      }
    },
  };
}

/** Distances in frames, ascending; delays of 1, 2, 4, … frames have the same taps. */
export function powerDistances(window: number, furthest: number): number[] {
  const distances = Array.from({ length: window }, (_, i) => i);
  for (let distance = 1; distance <= furthest; distance *= 2) {
    if (distance >= window) distances.push(distance);
  }
  return distances;
}

export const powerAttention = defineMixer({
  name: 'powerAttention',
  paper: 'Chen et al., PowerAttention, 2025',
  fields: {
    window: z.number().int().positive().default(2),
    furthest: z.number().int().min(0).default(64),
    outputGate: outputGateField,
    ...tileFields,
  },
  create: ({ queryTile, keyTile, outputGate, ...config }, shape) =>
    sparseMixer(
      'powerAttention',
      tiled(powerMask(config), shape.heads, { query: queryTile, key: keyTile }),
      shape,
      outputGate,
    ),
});

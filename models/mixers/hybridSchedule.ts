import type { MixerConfig } from './registry.js';

/** How the layers of a network divide into linear and full ones. */
export interface HybridPlan {
  /** The usual mixer, a linear one. */
  readonly base: MixerConfig;
  /** The one that looks at every token, such as softmax attention. */
  readonly full: MixerConfig;
  /** Layers of `base` for each one of `full`, ≥ 1. */
  readonly ratio: number;
  /** Where the full layers are: one at the end of each group of ratio + 1, or all together. */
  readonly placement: HybridPlacement;
}

export const hybridPlacements = ['interleaved', 'first', 'middle', 'last'] as const;
export type HybridPlacement = (typeof hybridPlacements)[number];

/**
 * Mixers layer by layer, after the analysis of hybrid linear attention (Wang et al. 2025): recall rises with
 * the share of full layers up to about 3 linear ones for each, at which quality otherwise is flat. Of
 * `depth` layers, one in ratio + 1 is full, rounded down, but at least one.
 */
export function hybridSchedule(
  depth: number,
  { base, full, ratio, placement }: HybridPlan,
): readonly MixerConfig[] {
  const group = ratio + 1;
  const count = Math.max(1, Math.floor(depth / group));
  const start = { first: 0, middle: Math.floor((depth - count) / 2), last: depth - count };
  const isFull = (layer: number): boolean => {
    if (placement !== 'interleaved') {
      return layer >= start[placement] && layer < start[placement] + count;
    }
    // With fewer layers than one group, the last one.
    return depth < group ? layer === depth - 1 : (layer + 1) % group === 0;
  };
  return Array.from({ length: depth }, (_, layer) => (isFull(layer) ? full : base));
}

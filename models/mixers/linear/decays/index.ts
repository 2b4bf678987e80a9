import type { DecayGate, Sizes } from '../slots.js';
import { additive } from './additive.js';
import { alibi, annealed, linearSlopes, retention, type LayerPlace } from './fixed.js';
import { channel, scalar } from './learned.js';

/** Decay gates by the name that configurations use. */
export const decays = {
  none: undefined,
  alibi,
  annealed,
  linearSlopes,
  retention,
  scalar,
  channel,
  additive,
} satisfies Record<
  string,
  ((sizes: Sizes, settings: LayerPlace & { rank: number }) => DecayGate) | undefined
>;

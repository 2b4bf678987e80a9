import type { PositionCode, Sizes } from '../slots.js';
import { linearised, linearisedGrid } from './linearised.js';
import { rotary } from './rotary.js';

/** Position codes by the name that configurations use. */
export const positions = {
  none: undefined,
  rotary,
  linearised,
  linearisedGrid,
} satisfies Record<string, ((sizes: Sizes, features: number) => PositionCode) | undefined>;

import type { PositionCode, Sizes } from '../slots.js';
import { linearised } from './linearised.js';
import { rotary } from './rotary.js';

/** Position codes by the name that configurations use. */
export const positions = {
  none: undefined,
  rotary,
  linearised,
} satisfies Record<string, ((sizes: Sizes, features: number) => PositionCode) | undefined>;

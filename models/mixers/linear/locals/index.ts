import type { LocalBranch, Sizes } from '../slots.js';
import { convolution } from './convolution.js';
import { dynamicConvolution } from './dynamicConvolution.js';
import { positional } from './positional.js';
import { shift } from './shift.js';
import { toeplitz } from './toeplitz.js';
import { window } from './window.js';

/** Local branches by the name that configurations use. */
export const locals = {
  none: undefined,
  convolution,
  shift,
  positional,
  window,
  dynamic: dynamicConvolution,
  toeplitz,
} satisfies Record<
  string,
  ((sizes: Sizes, settings: { taps: number; window: number }) => LocalBranch) | undefined
>;

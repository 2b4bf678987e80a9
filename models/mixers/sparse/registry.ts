import type { MixerDefinition } from '../tokenMixer.js';
import { hipAttention } from './hip.js';
import { hyperAttention } from './hyper.js';
import { neighbourhood } from './neighbourhood.js';
import { positionalAttention } from './positional.js';
import { powerAttention } from './power.js';
import { routingAttention } from './routing.js';
import { s2Attention } from './s2.js';
import { seerAttention } from './seer.js';
import { varyingWindows } from './vsa.js';

/** Every sparse mixer: one line each. */
export const sparseMixers: readonly MixerDefinition[] = [
  neighbourhood,
  powerAttention,
  s2Attention,
  varyingWindows,
  positionalAttention,
  routingAttention,
  seerAttention,
  hipAttention,
  hyperAttention,
];

import type { MemoryUpdate, Sizes } from '../slots.js';
import { chunkAverage } from './chunkAverage.js';
import { delta } from './delta.js';
import { hebb } from './hebb.js';
import { localLinear } from './localLinear.js';
import { miras, type MirasSettings } from './miras.js';
import { titans } from './titans.js';
import { weightedKeyValue } from './weightedKeyValue.js';

/** Memory updates by the name that configurations use. */
export const memories = {
  hebb: () => hebb,
  delta: () => delta,
  titans,
  miras: (_, settings) => miras(settings),
  weightedKeyValue,
  chunkAverage: (_, { chunkTokens }) => chunkAverage(chunkTokens),
  localLinear: (_, { ridge }) => localLinear(ridge),
} satisfies Record<
  string,
  (sizes: Sizes, settings: MirasSettings & { readonly ridge: number }) => MemoryUpdate
>;

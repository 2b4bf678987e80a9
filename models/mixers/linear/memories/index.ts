import type { MemoryUpdate, Sizes } from '../slots.js';
import { chunkAverage } from './chunkAverage.js';
import { delta } from './delta.js';
import { hebb } from './hebb.js';
import { localLinear } from './localLinear.js';
import { titans } from './titans.js';
import { weightedKeyValue } from './weightedKeyValue.js';

/** Memory updates by the name that configurations use. */
export const memories = {
  hebb: () => hebb,
  delta: () => delta,
  titans,
  weightedKeyValue,
  chunkAverage: (_, { chunkTokens }) => chunkAverage(chunkTokens),
  localLinear: (_, { ridge }) => localLinear(ridge),
} satisfies Record<
  string,
  (sizes: Sizes, settings: { chunkTokens: number; ridge: number }) => MemoryUpdate
>;

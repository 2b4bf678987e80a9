import type { FeatureMap, Sizes } from '../slots.js';
import { elu1, identity, relu, sigmoid, siluMap, siluQuery, unit } from './elementwise.js';
import { hedgehog, hedgehogJoint } from './hedgehog.js';
import { normAware } from './normAware.js';
import { spikes } from './spikes.js';
import { taylor } from './taylor.js';

/** Feature maps by the name that configurations use. */
export const featureMaps = {
  identity,
  elu1,
  relu,
  silu: siluMap,
  siluQuery,
  sigmoid,
  unit,
  taylor,
  hedgehog,
  hedgehogJoint,
  normAware,
  spikes: spikes(false),
  /** Spikes replaced by the surrogate's primitive: for gradient checks. */
  smoothSpikes: spikes(true),
} satisfies Record<string, (sizes: Sizes) => FeatureMap>;

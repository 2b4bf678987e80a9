import type { Normaliser } from '../slots.js';
import { flow } from './flow.js';
import { inLine } from './inLine.js';
import { none, scaled, type NormaliserSizes } from './plain.js';
import { sum } from './sum.js';

/** Normalisers by the name that configurations use. */
export const normalisers = { none, scaled, sum, inLine, flow } satisfies Record<
  string,
  (sizes: NormaliserSizes) => Normaliser
>;

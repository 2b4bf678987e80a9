import { SaccadeError } from '../../engine/support/errors.js';
import { permutation, type Random } from '../../engine/support/random.js';

export interface RecallConfig {
  /** Number of keys and of values. Symbol 0 fills gaps, 1 … keys are keys, those after them values. */
  readonly keys: number;
  readonly values: number;
  readonly length: number;
  /** Keys with their values, each asked for once. */
  readonly pairs: number;
  /** Exponent a of the gaps' density a g^(a-1): the smaller, the sooner keys come again. */
  readonly powerLaw: number;
}

/** A sequence of symbols and what has to be said at each of them. */
export interface RecallSequence {
  readonly symbols: Int32Array;
  /** The value that belongs to the key here, where it is asked for; -1 else. */
  readonly targets: Int32Array;
}

/** Throws where the pairs don't fit into the symbols or the length. */
export function checkRecall({ keys, values, length, pairs, powerLaw }: RecallConfig): void {
  const wrong = (field: string, message: string): SaccadeError =>
    new SaccadeError('config', message, { field });
  const most = Math.min(keys, values);
  if (pairs < 1 || pairs > most) {
    throw wrong(
      'pairs',
      `is ${pairs}, expected 1 … ${most}, for ${keys} keys and ${values} values`,
    );
  }
  if (length < 4 * pairs) {
    throw wrong('length', `is ${length}, expected at least ${4 * pairs}: a pair and a query each`);
  }
  if (!(powerLaw > 0)) throw wrong('powerLaw', `is ${powerLaw}, expected a number above 0`);
}

/**
 * Multi-query associative recall, MQAR (Arora et al., Zoology, 2023, section 3.2): pairs of key and value,
 * then, at gaps that follow a power law, each key once more. Keys and values of a sequence are all
 * different, and what fills the gaps is neither. There, a vocabulary of V has V / 2 - 1 keys and V / 2 values.
 */
export function recallSequence(config: RecallConfig, random: Random): RecallSequence {
  checkRecall(config);
  const { length, pairs, powerLaw } = config;
  const keys = permutation(config.keys, random).map((key) => 1 + key);
  const values = permutation(config.values, random).map((value) => 1 + config.keys + value);
  const symbols = new Int32Array(length);
  const targets = new Int32Array(length).fill(-1);
  for (let i = 0; i < pairs; i++) {
    symbols[2 * i] = keys[i];
    symbols[2 * i + 1] = values[i];
  }
  const slots = Math.floor((length - 2 * pairs) / 2);
  const weights = Array.from({ length: slots }, (_, i) => (i + 1) ** (powerLaw - 1));
  for (let i = 0; i < pairs; i++) {
    const slot = drawOne(weights, random);
    weights[slot] = 0;
    const at = 2 * pairs + 2 * slot;
    symbols[at] = keys[i];
    targets[at] = values[i];
  }
  return { symbols, targets };
}

/** An index, with probabilities in proportion to the weights; never one of weight 0. */
function drawOne(weights: readonly number[], random: Random): number {
  const total = weights.reduce((a, b) => a + b, 0);
  let left = random.uniform() * total;
  let last = 0;
  for (const [i, weight] of weights.entries()) {
    if (weight === 0) continue;
    last = i;
    left -= weight;
    if (left < 0) break;
  }
  return last;
}

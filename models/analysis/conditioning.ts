import * as tf from '@tensorflow/tfjs-core';

import { createRandom } from '../../engine/support/random.js';
import { delta } from '../mixers/linear/memories/delta.js';
import { hebb } from '../mixers/linear/memories/hebb.js';
import type { MemoryUpdate } from '../mixers/linear/slots.js';
import { mixerSchema, type MixerConfig } from '../mixers/registry.js';

/**
 * What a memory gives back for each query, after it was written key by key, `[queries, values]` from
 * `[trials, features]`, `[trials, values]` and `[queries, features]`.
 */
export type Learner = (keys: tf.Tensor, values: tf.Tensor, queries: tf.Tensor) => tf.Tensor;

/**
 * A memory on its own, between no projections and norms: one write for each trial, then reads.
 *
 * @param update Hebb's rule, the delta rule, …
 * @param beta strength of each write, for rules that have one.
 */
export function memoryLearner(update: MemoryUpdate, beta = 1): Learner {
  return (keys, values, queries) => {
    const [trials, features] = keys.shape as [number, number];
    const width = values.shape[1]!;
    const row = (x: tf.Tensor): tf.Tensor => tf.reshape(x, [1, 1, ...x.shape]);
    const strengths = tf.fill([1, 1, trials, 1], beta);
    const { state } = update.apply(
      {},
      { q: row(keys), k: row(keys), v: row(values), beta: strengths, position: 0 },
      undefined,
      'step',
    );
    return tf.matMul(queries, tf.reshape(state.memory as tf.Tensor, [features, width]));
  };
}

/** The memory of a mixer whose rule is Hebb's or the delta rule; undefined of others, which keep more than one sum. */
export function mixerLearner(config: MixerConfig): Learner | undefined {
  const { update } = mixerSchema.parse(config) as { readonly update?: string };
  if (update === 'hebb') return memoryLearner(hebb);
  return update === 'delta' ? memoryLearner(delta) : undefined;
}

/** Responses to stimulus A or B, relative to what one pairing of A with the outcome leaves. */
export interface ConditioningResponses {
  /** After each of the pairings of A with the outcome. */
  readonly acquisition: readonly number[];
  /** To A, once A has come without the outcome as often as with it before. */
  readonly extinction: number;
  /** To A, which only came together with B. */
  readonly overshadowing: number;
  /** To B, which came together with A after A alone had predicted the outcome (Kamin 1969). */
  readonly blocking: number;
  /** To A, for the first outcome and for the second one, after A was paired with one and then the other. */
  readonly reversal: readonly [number, number];
}

/**
 * Classical conditioning of a memory, with queries as test stimuli, keys as conditioned and values as
 * unconditioned ones. Hebb's rule adds up, so that nothing is extinguished, blocked or reversed; the delta
 * rule learns from errors alone, as in Rescorla & Wagner 1972.
 *
 * @param pairings trials of each phase, at least 1.
 */
export function conditioningProbe(learner: Learner, pairings = 1): ConditioningResponses {
  const A = [1, 0];
  const B = [0, 1];
  const AB = [1, 1];
  type Phase = readonly [stimulus: number[], outcome: number[]];
  const paired: Phase = [A, [1, 0]];
  const pairedOtherwise: Phase = [A, [0, 1]];
  const unpaired: Phase = [A, [0, 0]];
  const together: Phase = [AB, [1, 0]];
  const respond = (query: number[], times: number, ...phases: Phase[]): number[] => {
    const trials = phases.flatMap((phase) => new Array<Phase>(times).fill(phase));
    return tf.tidy(() => {
      const keys = tf.tensor2d(trials.map(([stimulus]) => stimulus));
      const values = tf.tensor2d(trials.map(([, outcome]) => outcome));
      return Array.from(learner(keys, values, tf.tensor2d([query])).dataSync());
    });
  };
  const [one] = respond(A, 1, paired);
  const reversed = respond(A, pairings, paired, pairedOtherwise);
  return {
    acquisition: Array.from({ length: pairings }, (_, i) => respond(A, i + 1, paired)[0] / one),
    extinction: respond(A, pairings, paired, unpaired)[0] / one,
    overshadowing: respond(A, pairings, together)[0] / one,
    blocking: respond(B, pairings, paired, together)[0] / one,
    reversal: [reversed[0] / one, reversed[1] / one],
  };
}

/**
 * How far recalled values are from those written, relative to their length, for random unit keys: what
 * Hebb's rule gives is √((pairs - 1) / features) in expectation.
 *
 * @param repetitions independent memories whose squared errors are averaged.
 */
export function recallError(
  learner: Learner,
  features: number,
  pairs: number,
  seed: number,
  repetitions = 8,
): number {
  let total = 0;
  for (let repetition = 0; repetition < repetitions; repetition++) {
    total += tf.tidy(() => {
      const random = createRandom(seed, 'recall', repetition);
      const drawn = (): tf.Tensor =>
        tf.tensor2d(
          Float32Array.from({ length: pairs * features }, () => random.normal()),
          [pairs, features],
        );
      const [keys, values] = [drawn(), drawn()];
      const unit = tf.div(keys, tf.norm(keys, 2, 1, true));
      const error = tf.sub(learner(unit, values, unit), values);
      return tf.div(tf.sum(tf.square(error)), tf.sum(tf.square(values))).dataSync()[0];
    });
  }
  return Math.sqrt(total / repetitions);
}

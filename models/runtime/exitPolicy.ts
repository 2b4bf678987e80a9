import type * as tf from '@tensorflow/tfjs-core';

import { SaccadeError } from '../../engine/support/errors.js';

/** When a clip is decided. */
export interface ExitPolicy {
  /** α: logits are divided by it before the softmax, > 0. */
  readonly temperature: number;
  /** The confidence that has to be exceeded, 0 … 1; at 1 every clip runs to its end. */
  readonly threshold: number;
}

/** A labelled clip of a set, with its logits after each step: what has been gathered up to it. */
export interface LogitTrace {
  readonly clip: string;
  readonly label: number;
  /** `[steps][classes]`. */
  readonly logits: readonly ArrayLike<number>[];
}

/** What a policy does to a set of clips. */
export interface ExitPoint {
  readonly threshold: number;
  readonly accuracy: number;
  /** Mean share of the steps that ran, 0 … 1. */
  readonly steps: number;
}

/**
 * A model's logits as traces. They are those of the mean over the frames so far (`blocks/head.ts`); times the number of
 * frames, they are the sum that Dynamic Confidence gathers.
 *
 * @param logits `[batch, time, classes]` of whole clips.
 */
export function logitTraces(
  logits: tf.Tensor,
  clips: readonly string[],
  labels: ArrayLike<number>,
): LogitTrace[] {
  const values = logits.arraySync() as number[][][];
  return values.map((steps, i) => ({
    clip: clips[i],
    label: labels[i],
    logits: steps.map((step, t) => step.map((logit) => logit * (t + 1))),
  }));
}

/**
 * What has been gathered after so many frames, of the probabilities there: up to a constant, which softmax does not see, the
 * logits that `logitTraces` gives.
 *
 * @param probabilities by class; they may be 0.
 */
export function gatheredLogits(probabilities: ArrayLike<number>, frames: number): number[] {
  return Array.from(probabilities, (probability) => frames * Math.log(probability));
}

/** The largest probability of softmax(logits / α). */
export function confidence(logits: ArrayLike<number>, temperature: number): number {
  const values = Array.from(logits, (logit) => logit / temperature);
  const most = Math.max(...values);
  return 1 / values.reduce((sum, value) => sum + Math.exp(value - most), 0);
}

/** Whether to stop after a step with these logits (Dynamic Confidence, Li et al. 2023). */
export function shouldStop(
  { temperature, threshold }: ExitPolicy,
  logits: ArrayLike<number>,
): boolean {
  return confidence(logits, temperature) > threshold;
}

/** The step after which a clip is decided, counted from 1, and its class. */
export function decide(
  policy: ExitPolicy,
  logits: LogitTrace['logits'],
): { readonly steps: number; readonly label: number } {
  const stop = logits.findIndex((step) => shouldStop(policy, step));
  const at = stop < 0 ? logits.length - 1 : stop;
  return { steps: at + 1, label: argMax(logits[at]) };
}

export function evaluateExit(policy: ExitPolicy, traces: readonly LogitTrace[]): ExitPoint {
  requireTraces(traces);
  let [correct, steps] = [0, 0];
  for (const { label, logits } of traces) {
    const decided = decide(policy, logits);
    if (decided.label === label) correct++;
    steps += decided.steps / logits.length;
  }
  return {
    threshold: policy.threshold,
    accuracy: correct / traces.length,
    steps: steps / traces.length,
  };
}

/**
 * What no policy can beat: each clip stops at the first step that is right, and runs to its end where none is.
 */
export function oracleExit(traces: readonly LogitTrace[]): Omit<ExitPoint, 'threshold'> {
  requireTraces(traces);
  let [correct, steps] = [0, 0];
  for (const { label, logits } of traces) {
    const first = logits.findIndex((step) => argMax(step) === label);
    if (first >= 0) correct++;
    steps += (first < 0 ? logits.length : first + 1) / logits.length;
  }
  return { accuracy: correct / traces.length, steps: steps / traces.length };
}

/**
 * Chooses the threshold by clips held back from training: the one of fewest steps whose accuracy is at most `loss` below
 * that of whole clips.
 *
 * @param validation never clips of the test set; `requireDisjoint` says so where both are known.
 * @param thresholds to try; 0 … 1 in hundredths by default.
 * @returns the policy, and the curve of all thresholds, fewest steps first.
 */
export function calibrateExit(
  validation: readonly LogitTrace[],
  {
    temperature = 1,
    loss = 0,
    thresholds = hundredths,
  }: {
    readonly temperature?: number;
    readonly loss?: number;
    readonly thresholds?: readonly number[];
  } = {},
): { readonly policy: ExitPolicy; readonly curve: readonly ExitPoint[] } {
  const whole = evaluateExit({ temperature, threshold: 1 }, validation);
  const curve = [...thresholds]
    .map((threshold) => evaluateExit({ temperature, threshold }, validation))
    .sort((a, b) => a.steps - b.steps || b.accuracy - a.accuracy);
  const chosen = curve.find(({ accuracy }) => accuracy >= whole.accuracy - loss - 1e-12) ?? whole;
  return { policy: { temperature, threshold: chosen.threshold }, curve };
}

const hundredths = Array.from({ length: 101 }, (_, i) => i / 100);

/** @throws SaccadeError where a clip that calibrates is tested as well. */
export function requireDisjoint(
  validation: readonly Pick<LogitTrace, 'clip'>[],
  test: readonly Pick<LogitTrace, 'clip'>[],
): void {
  const known = new Set(validation.map(({ clip }) => clip));
  const shared = test.find(({ clip }) => known.has(clip));
  if (shared === undefined) return;
  throw new SaccadeError(
    'usage',
    `clip ${shared.clip} calibrates early exit and is tested on: expected disjoint sets`,
  );
}

function requireTraces(traces: readonly LogitTrace[]): void {
  if (traces.length === 0) throw new SaccadeError('usage', 'no clips: expected at least one');
  const empty = traces.find(({ logits }) => logits.length === 0);
  if (empty) throw new SaccadeError('usage', `clip ${empty.clip} has no steps: expected at least one`); // prettier-ignore
}

function argMax(values: ArrayLike<number>): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i;
  return best;
}

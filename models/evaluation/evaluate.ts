import * as tf from '@tensorflow/tfjs-core';

import type { ClipBatch } from '../../preprocess/loader.js';
import { Recorder } from '../context.js';
import type { Model } from '../model.js';
import type { ParameterTree } from '../parameters.js';

export interface Evaluation {
  /** True and predicted class of each clip, in order. */
  readonly labels: readonly number[];
  readonly predictions: readonly number[];
  /** Class probabilities of each clip. */
  readonly probabilities: readonly (readonly number[])[];
  /** Mean cross-entropy, nats; 0 where there are no clips. */
  readonly loss: number;
  /** Share of clips that are classified rightly; 0 where there are none. */
  readonly accuracy: number;
  /** Mean spikes per neuron and step, by layer. */
  readonly firingRates: Readonly<Record<string, number>>;
}

export interface EvaluateOptions {
  /** Is shown the logits after every frame, `[batch, time, classes]`, in the order of the batches. */
  readonly onLogits?: (logits: tf.Tensor, batch: ClipBatch) => void;
  /** Is shown what each batch's pass has left, before it is disposed. */
  readonly onRecord?: (recorder: Recorder) => void;
}

/** Below this share of spikes a layer counts as dead, above the other as saturated. */
export const firingRateBounds = { dead: 0.002, saturated: 0.9 } as const;

/** Runs a model over whole clips, with running statistics. */
export async function evaluate(
  model: Model,
  parameters: ParameterTree,
  batches: Iterable<ClipBatch> | AsyncIterable<ClipBatch>,
  { onLogits, onRecord }: EvaluateOptions = {},
): Promise<Evaluation> {
  const labels: number[] = [];
  const predictions: number[] = [];
  const probabilities: number[][] = [];
  const rates = new Map<string, number>();
  let loss = 0;
  for await (const batch of batches) {
    const recorder = new Recorder();
    const rows = tf.tidy(() => {
      const input = tf.tensor(batch.inputs, [...batch.shape]);
      const { logits } = model.apply(parameters, input, undefined, {
        training: false,
        recorder,
        path: '',
      });
      onLogits?.(logits, batch);
      const [clips, time, classes] = logits.shape;
      const last = tf.slice(logits, [0, time - 1, 0], [clips, 1, classes]);
      return tf.reshape(tf.softmax(last), [clips, classes]).arraySync() as number[][];
    });
    rows.forEach((row, i) => {
      const label = batch.labels[i];
      labels.push(label);
      predictions.push(argMax(row));
      probabilities.push(row);
      loss -= Math.log(Math.max(row[label], 1e-12));
    });
    addFiringRates(rates, recorder, rows.length);
    onRecord?.(recorder);
    recorder.dispose();
  }
  const count = Math.max(1, labels.length);
  return {
    labels,
    predictions,
    probabilities,
    loss: loss / count,
    accuracy: predictions.filter((prediction, i) => prediction === labels[i]).length / count,
    firingRates: Object.fromEntries([...rates].map(([path, sum]) => [path, sum / count])),
  };
}

/** Adds the rates of so many clips to the sums of those before, by layer. */
export function addFiringRates(
  sums: Map<string, number>,
  { firingRates }: Recorder,
  clips: number,
): void {
  for (const [path, rate] of firingRates) {
    sums.set(path, (sums.get(path) ?? 0) + rate.dataSync()[0] * clips);
  }
}

/** Names the layers that (almost) never or (almost) always spike. */
export function firingRateWarnings(rates: Readonly<Record<string, number>>): string[] {
  return Object.entries(rates).flatMap(([path, rate]) => {
    if (rate < firingRateBounds.dead) return [`${path} is dead (rate ${rate.toFixed(4)})`];
    if (rate > firingRateBounds.saturated)
      return [`${path} is saturated (rate ${rate.toFixed(4)})`];
    return [];
  });
}

export function argMax(values: ArrayLike<number>): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i;
  return best;
}

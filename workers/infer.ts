import * as tf from '@tensorflow/tfjs-core';

import type { Recording } from '../ingest/recording.js';
import { inference } from '../models/context.js';
import { argMax } from '../models/evaluation/evaluate.js';
import { filterStream } from '../preprocess/filters/index.js';
import { parseRepresentation, representWindow } from '../preprocess/representations/index.js';
import { windowsOf } from '../preprocess/windows/index.js';
import type { JobContext } from './job.js';
import { clipPipelineOf } from './prepare.js';
import type { LoadedModel } from './runs.js';

/** What a model says of one window. */
export interface WindowPrediction {
  readonly index: number;
  readonly startUs: number;
  readonly endUs: number;
  readonly events: number;
  /** Index of the class. */
  readonly prediction: number;
  /** By class. */
  readonly probabilities: readonly number[];
}

/**
 * Recognises what a recording shows, window by window: filtered, cut and represented as for training.
 * Memory holds one window.
 */
export async function* inferWindows(
  { model, parameters, experiment: { preprocess } }: LoadedModel,
  recording: Recording,
  { signal }: JobContext = {},
): AsyncGenerator<WindowPrediction> {
  const { filters, window } = clipPipelineOf(preprocess);
  const { representation: name, bins, height, width } = preprocess;
  const representation = parseRepresentation(name);
  const batches = filterStream(recording.batches({ signal }), filters);
  for await (const clip of windowsOf(batches, window)) {
    const values = representWindow(clip, representation, { bins, height, width });
    const probabilities = tf.tidy(() => {
      const input = tf.tensor(values, [1, bins, representation.channels, height, width]);
      const { logits } = model.apply(parameters, input, undefined, inference);
      return lastProbabilities(logits);
    });
    yield {
      index: clip.index,
      startUs: clip.startUs,
      endUs: clip.endUs,
      events: clip.events.length,
      prediction: argMax(probabilities),
      probabilities,
    };
  }
}

/** Class probabilities after the last frame of a batch of one, from logits `[1, time, classes]`. */
export function lastProbabilities(logits: tf.Tensor): number[] {
  const [, time, classes] = logits.shape;
  const last = tf.slice(logits, [0, time - 1, 0], [1, 1, classes]);
  return Array.from(tf.softmax(tf.reshape(last, [classes])).dataSync());
}

/** Mean over windows: what the whole recording shows. Undefined where there are none. */
export function meanProbabilities(
  windows: readonly WindowPrediction[],
): readonly number[] | undefined {
  if (windows.length === 0) return undefined;
  return windows[0].probabilities.map(
    (_, c) =>
      windows.reduce((sum, { probabilities }) => sum + probabilities[c], 0) / windows.length,
  );
}

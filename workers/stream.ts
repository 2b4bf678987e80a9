import * as tf from '@tensorflow/tfjs-core';

import type { EventBatch } from '../ingest/eventBatch.js';
import { inference } from '../models/context.js';
import { argMax } from '../models/evaluation/evaluate.js';
import type { ClipState } from '../models/model.js';
import { filterStream } from '../preprocess/filters/index.js';
import { type EventBin, EventBinner, type StreamReport, streamInput } from './binning.js';
import { lastProbabilities } from './infer.js';
import type { JobContext } from './job.js';
import { clipPipelineOf } from './prepare.js';
import type { LoadedModel } from './runs.js';

/** What the model says when a time bin is over. */
export interface BinPrediction {
  /** Number of the bin since the stream's first event, from 0. */
  readonly bin: number;
  readonly startUs: number;
  readonly endUs: number;
  /** Events in the bin. */
  readonly events: number;
  readonly prediction: number;
  readonly probabilities: readonly number[];
  /** Bins that the state holds, this one included. */
  readonly frames: number;
}

export interface StreamOptions extends JobContext {
  /** Begins a new clip after so many bins; never where not given. */
  readonly restartBins?: number;
  readonly report?: StreamReport;
}

/**
 * Recognises an action while it happens: events are binned as in the training's windows, and each bin
 * goes through the model once, with the state of all bins before. So the prediction after the last bin of
 * a window is what the whole window would have given. Memory holds one bin and one state, however long
 * the stream.
 *
 * @throws SaccadeError of kind `usage` where the model sees whole clips only, or its bins need events of
 *   their neighbours.
 */
export async function* streamPredictions(
  loaded: LoadedModel,
  events: AsyncIterable<EventBatch>,
  { restartBins = Infinity, report = { lateEvents: 0, jumps: 0 } }: StreamOptions = {},
): AsyncGenerator<BinPrediction> {
  const { filters } = clipPipelineOf(loaded.experiment.preprocess);
  const input = streamInput(loaded);
  const binner = new EventBinner(input.windowUs, input.bins, report);
  const values = new Float32Array(input.length);
  let state: ClipState | undefined;
  const replaceState = (next: ClipState | undefined): void => {
    const kept = new Set(tensorsOf(next?.layers));
    tf.dispose(tensorsOf(state?.layers).filter((tensor) => !kept.has(tensor)));
    state = next;
  };

  const step = (bin: EventBin): BinPrediction => {
    if (bin.afterJump) replaceState(undefined);
    input.represent(bin, values);
    const before = state !== undefined && state.frame < restartBins ? state : undefined;
    const result = applyFrame(loaded, values, before);
    replaceState(result.state);
    const { probabilities } = result;
    return {
      bin: bin.bin,
      startUs: bin.startUs,
      endUs: bin.endUs,
      events: bin.events.length,
      prediction: argMax(probabilities),
      probabilities,
      frames: result.state.frame,
    };
  };

  try {
    for await (const batch of filterStream(events, filters)) {
      for (const bin of binner.push(batch)) yield step(bin);
    }
    const last = binner.end();
    if (last !== undefined) yield step(last);
  } finally {
    replaceState(undefined);
  }
}

/** One frame through the model; the caller owns the state's tensors. */
function applyFrame(
  { model, parameters }: LoadedModel,
  values: Float32Array,
  before: ClipState | undefined,
): { probabilities: number[]; state: ClipState } {
  const { channels, height, width } = model.input;
  const run = (): { probabilities: number[]; state: ClipState } => {
    const input = tf.tensor(values, [1, 1, channels, height, width]);
    const { logits, state } = model.apply(parameters, input, before, inference);
    return { probabilities: lastProbabilities(logits), state };
  };
  // Tensors in what `tidy` returns outlive it; its types know no trees with gaps.
  return tf.tidy(run as unknown as () => tf.TensorContainer) as unknown as ReturnType<typeof run>;
}

function tensorsOf(tree: ClipState['layers'] = {}): tf.Tensor[] {
  return Object.values(tree).flatMap((child) =>
    child instanceof tf.Tensor ? [child] : tensorsOf(child),
  );
}

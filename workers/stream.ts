import * as tf from '@tensorflow/tfjs-core';

import { SaccadeError } from '../engine/support/errors.js';
import { BatchBuilder, type EventBatch } from '../ingest/eventBatch.js';
import { inference } from '../models/context.js';
import { argMax } from '../models/evaluation/evaluate.js';
import type { ClipState } from '../models/model.js';
import { filterStream } from '../preprocess/filters/index.js';
import {
  clipLength,
  parseRepresentation,
  representWindow,
} from '../preprocess/representations/index.js';
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

/** What a stream could not use; filled in while it runs. */
export interface StreamReport {
  /** Events whose bin was closed when they came. */
  lateEvents: number;
  /** Jumps in time, longer than `longestGapBins`, after which the state began anew. */
  jumps: number;
}

export interface StreamOptions extends JobContext {
  /** Begins a new clip after so many bins; never where not given. */
  readonly restartBins?: number;
  readonly report?: StreamReport;
}

/** A gap in time of more bins than this is taken for a jump of the clock, not for a scene at rest. */
export const longestGapBins = 10_000;

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
  const { model, experiment, path } = loaded;
  const { preprocess } = experiment;
  const { filters } = clipPipelineOf(preprocess);
  const { window, representation: name, bins, height, width } = preprocess;
  const representation = parseRepresentation(name);
  const refused = !model.streaming
    ? 'the model sees whole clips only; train one with model.mode: causal'
    : !representation.binwise
      ? `the representation ${name} mixes neighbouring bins; train with spikes, histogram or another of single bins`
      : window.kind !== 'time'
        ? 'its windows count events; train with preprocess.window.kind: time'
        : undefined;
  if (refused !== undefined || window.kind !== 'time') {
    throw new SaccadeError('usage', `cannot be streamed: ${refused}`, { file: path });
  }
  const { windowUs } = window;
  const size = { bins: 1, height, width };
  const values = new Float32Array(clipLength(representation, size));
  let state: ClipState | undefined;
  let originUs: number | undefined;
  /** The bin that is being filled. */
  let current = 0;
  let builder: BatchBuilder | undefined;
  const startOf = (bin: number): number => originUs! + (bin * windowUs) / bins;
  const replaceState = (next: ClipState | undefined): void => {
    const kept = new Set(tensorsOf(next?.layers));
    tf.dispose(tensorsOf(state?.layers).filter((tensor) => !kept.has(tensor)));
    state = next;
  };

  const step = (): BinPrediction => {
    const [startUs, endUs] = [startOf(current), startOf(current + 1)];
    const binEvents = builder!.take();
    const binWindow = { index: current, startUs, endUs, events: binEvents };
    representWindow(binWindow, representation, size, values);
    const before = state !== undefined && state.frame < restartBins ? state : undefined;
    const result = applyFrame(loaded, values, before);
    replaceState(result.state);
    const { probabilities } = result;
    return {
      bin: current,
      startUs,
      endUs,
      events: binEvents.length,
      prediction: argMax(probabilities),
      probabilities,
      frames: result.state.frame,
    };
  };

  try {
    for await (const batch of filterStream(events, filters)) {
      for (let i = 0; i < batch.length; i++) {
        const t = batch.tUs[i];
        originUs ??= t;
        builder ??= new BatchBuilder(batch.sensor, 4096);
        const bin = Math.floor((bins * (t - originUs)) / windowUs);
        if (bin < current) {
          report.lateEvents++;
          continue;
        }
        if (bin - current > longestGapBins) {
          report.jumps++;
          yield step();
          replaceState(undefined);
          originUs = t;
          current = 0;
        } else {
          for (; current < bin; current++) yield step();
        }
        builder.push(t, batch.x[i], batch.y[i], batch.polarity[i]);
      }
    }
    if (builder !== undefined) yield step();
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

import type { EventBatch } from '../ingest/eventBatch.js';
import { Recorder, totalWork, type Work } from '../models/context.js';
import { argMax } from '../models/evaluation/evaluate.js';
import type { Model } from '../models/model.js';
import { type DeltaConfig, deltaModel } from '../models/runtime/deltaModel.js';
import { type ExitPolicy, gatheredLogits, shouldStop } from '../models/runtime/exitPolicy.js';
import { createFrameStepper } from '../models/runtime/frameStepper.js';
import { filterStream } from '../preprocess/filters/index.js';
import { type EventBin, EventBinner, type StreamReport, streamInput } from './binning.js';
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
  /** With early exit: bins of the clip after which it was decided. Those behind them did not run. */
  readonly decidedBins?: number;
  /** With delta inference: what the products of real values cost in this bin, and would have cost as a whole. */
  readonly work?: Work;
}

export interface StreamOptions extends JobContext {
  /** Begins a new clip after so many bins; never where not given, with early exit after as many as in training. */
  readonly restartBins?: number;
  /** Decides each clip as soon as it is sure (Dynamic Confidence): what is left of it does not run. */
  readonly exit?: ExitPolicy;
  /** Computes products only where their input has changed (`deltaModel`); with threshold 0 the predictions are the same. */
  readonly delta?: DeltaConfig;
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
  { restartBins, exit, delta, report = { lateEvents: 0, jumps: 0 } }: StreamOptions = {},
): AsyncGenerator<BinPrediction> {
  const { filters } = clipPipelineOf(loaded.experiment.preprocess);
  const input = streamInput(loaded);
  const binner = new EventBinner(input.windowUs, input.bins, report);
  const values = new Float32Array(input.length);
  let work: Work | undefined;
  const model =
    delta === undefined
      ? loaded.model
      : countedModel(deltaModel(loaded.model, delta), (made) => (work = made));
  const stepper = createFrameStepper(model, loaded.parameters);
  const clipBins = restartBins ?? (exit === undefined ? Infinity : loaded.model.input.bins);
  /** Bins of the clip so far, those that did not run included. */
  let position = 0;
  let decided: Pick<BinPrediction, 'prediction' | 'probabilities' | 'decidedBins'> | undefined;

  const step = (bin: EventBin): BinPrediction => {
    if (bin.afterJump || position >= clipBins) {
      stepper.restart();
      position = 0;
      decided = undefined;
    }
    position++;
    if (decided === undefined) {
      input.represent(bin, values);
      const probabilities = Array.from(stepper.step(values));
      const answer = {
        prediction: argMax(probabilities),
        probabilities,
        ...(work && { work }),
      };
      const isDecided =
        exit !== undefined &&
        (position === clipBins || shouldStop(exit, gatheredLogits(probabilities, stepper.frame)));
      if (!isDecided) return { ...placeOf(bin), ...answer, frames: stepper.frame };
      decided = { prediction: answer.prediction, probabilities, decidedBins: position };
      return { ...placeOf(bin), ...answer, ...decided, frames: stepper.frame };
    }
    return { ...placeOf(bin), ...decided, frames: stepper.frame };
  };

  try {
    for await (const batch of filterStream(events, filters)) {
      for (const bin of binner.push(batch)) yield step(bin);
    }
    const last = binner.end();
    if (last !== undefined) yield step(last);
  } finally {
    stepper.dispose();
  }
}

function placeOf({ bin, startUs, endUs, events }: EventBin) {
  return { bin, startUs, endUs, events: events.length };
}

/** A model that tells what each pass has cost. */
function countedModel(model: Model, onWork: (work: Work) => void): Model {
  return {
    ...model,
    apply(parameters, input, state, context) {
      const recorder = new Recorder();
      const result = model.apply(parameters, input, state, { ...context, recorder });
      onWork(totalWork(recorder.work.values()));
      recorder.dispose();
      return result;
    },
  };
}

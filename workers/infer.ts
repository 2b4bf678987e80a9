import * as tf from '@tensorflow/tfjs-core';

import { selectBackend } from '../engine/backend.js';
import { writeFileAtomically } from '../engine/support/atomicFile.js';
import type { SensorSize } from '../ingest/eventBatch.js';
import { openRecording, type Recording } from '../ingest/recording.js';
import { inference } from '../models/context.js';
import { argMax } from '../models/evaluation/evaluate.js';
import { disposeTree } from '../models/parameters.js';
import { type ExitPolicy, gatheredLogits, shouldStop } from '../models/runtime/exitPolicy.js';
import { createFrameStepper, type FrameStepper } from '../models/runtime/frameStepper.js';
import { filterStream } from '../preprocess/filters/index.js';
import { parseRepresentation, representWindow } from '../preprocess/representations/index.js';
import { windowsOf } from '../preprocess/windows/index.js';
import { requireStreaming } from './exit.js';
import type { JobContext } from './job.js';
import { clipPipelineOf } from './prepare.js';
import { loadModel, type LoadedModel } from './runs.js';

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
  /** With early exit: bins of the window after which it was decided. Those behind them did not run. */
  readonly decidedBins?: number;
}

export interface InferOptions extends JobContext {
  /** Decides each window as soon as it is sure (Dynamic Confidence). */
  readonly exit?: ExitPolicy;
}

/**
 * Recognises what a recording shows, window by window: filtered, cut and represented as for training.
 * Memory holds one window.
 *
 * @throws SaccadeError of kind `usage` where there is `exit` and the model sees whole clips only.
 */
export async function* inferWindows(
  loaded: LoadedModel,
  recording: Recording,
  { signal, exit }: InferOptions = {},
): AsyncGenerator<WindowPrediction> {
  const {
    model,
    parameters,
    experiment: { preprocess },
  } = loaded;
  if (exit !== undefined) requireStreaming(loaded);
  const { filters, window } = clipPipelineOf(preprocess);
  const { representation: name, bins, height, width } = preprocess;
  const representation = parseRepresentation(name);
  const stepper = exit && createFrameStepper(model, parameters);
  const whole = (values: Float32Array): Pick<WindowPrediction, 'probabilities'> => ({
    probabilities: tf.tidy(() => {
      const input = tf.tensor(values, [1, bins, representation.channels, height, width]);
      return lastProbabilities(model.apply(parameters, input, undefined, inference).logits);
    }),
  });
  const batches = filterStream(recording.batches({ signal }), filters);
  try {
    for await (const clip of windowsOf(batches, window)) {
      const values = representWindow(clip, representation, { bins, height, width });
      const answer =
        exit === undefined ? whole(values) : decideWindow(stepper!, values, bins, exit);
      yield {
        index: clip.index,
        startUs: clip.startUs,
        endUs: clip.endUs,
        events: clip.events.length,
        prediction: argMax(answer.probabilities),
        ...answer,
      };
    }
  } finally {
    stepper?.dispose();
  }
}

/** The frames of a window one by one, until it is decided. */
function decideWindow(
  stepper: FrameStepper,
  values: Float32Array,
  bins: number,
  exit: ExitPolicy,
): Pick<WindowPrediction, 'probabilities' | 'decidedBins'> {
  const length = values.length / bins;
  stepper.restart();
  for (;;) {
    const at = stepper.frame * length;
    const probabilities = Array.from(stepper.step(values.subarray(at, at + length)));
    const { frame } = stepper;
    if (frame === bins || shouldStop(exit, gatheredLogits(probabilities, frame))) {
      return { probabilities, decidedBins: frame };
    }
  }
}

export interface InferJob {
  /** Checkpoint file or run folder. */
  readonly checkpoint: string;
  /** Recording. */
  readonly file: string;
  /** JSON file that gets the outcome; it appears whole. */
  readonly out?: string;
  readonly format?: string;
  readonly sensor?: SensorSize;
  readonly backend?: string;
}

/** What a recording shows. */
export interface Inference {
  readonly classes: readonly string[];
  /** Name of the class of the whole recording; null where it has no window. */
  readonly prediction: string | null;
  readonly probabilities: readonly number[] | null;
  readonly windows: readonly NamedPrediction[];
}

/** A window's prediction with the name of its class. */
export type NamedPrediction = Omit<WindowPrediction, 'prediction'> & {
  readonly prediction: string;
};

export interface InferContext extends InferOptions {
  readonly onWindow?: (window: WindowPrediction) => void;
}

/** Recognises what a recording shows, window by window and in all, by the mean probability. */
export async function inferRecording(
  loaded: LoadedModel,
  recording: Recording,
  context: InferContext = {},
): Promise<Inference> {
  const { classes } = loaded;
  const windows: WindowPrediction[] = [];
  for await (const window of inferWindows(loaded, recording, context)) {
    windows.push(window);
    context.onWindow?.(window);
    context.onProgress?.({ phase: 'infer', done: windows.length, total: 0 });
  }
  const probabilities = meanProbabilities(windows) ?? null;
  return {
    classes,
    prediction: probabilities === null ? null : classes[argMax(probabilities)],
    probabilities,
    windows: windows.map((window) => ({ ...window, prediction: classes[window.prediction] })),
  };
}

export interface InferOutcome extends Inference {
  readonly file: string;
}

/** Recognises what the recording in a file shows, and writes it into another one. */
export async function inferJob(
  { checkpoint, file, out, backend, ...options }: InferJob,
  context: JobContext = {},
): Promise<InferOutcome> {
  await selectBackend(backend);
  const loaded = await loadModel(checkpoint);
  try {
    const recording = await openRecording(file, { ...options, signal: context.signal });
    const outcome = { file, ...(await inferRecording(loaded, recording, context)) };
    if (out !== undefined) {
      await writeFileAtomically(out, `${JSON.stringify(outcome, undefined, 2)}\n`);
    }
    return outcome;
  } finally {
    disposeTree(loaded.parameters);
  }
}

/** Class probabilities after the last frame of a batch of one, from logits `[1, time, classes]`. */
function lastProbabilities(logits: tf.Tensor): number[] {
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

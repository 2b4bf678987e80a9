import { readFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

import { z } from 'zod';

import { selectBackend } from '../engine/backend.js';
import { writeFileAtomically } from '../engine/support/atomicFile.js';
import { SaccadeError } from '../engine/support/errors.js';
import { parseConfig } from '../engine/support/parseConfig.js';
import { evaluate } from '../models/evaluation/evaluate.js';
import { accuracy, confusionMatrix, type Accuracy } from '../models/evaluation/metrics.js';
import { disposeTree } from '../models/parameters.js';
import {
  calibrateExit,
  decide,
  type ExitPoint,
  type ExitPolicy,
  evaluateExit,
  logitTraces,
  type LogitTrace,
  oracleExit,
  requireDisjoint,
} from '../models/runtime/exitPolicy.js';
import { batchesInOrder, type Clip } from '../preprocess/loader.js';
import type { JobContext } from './job.js';
import { loaderOptions, prepareData } from './prepare.js';
import {
  checkpointHash,
  loadModel,
  type LoadedModel,
  requireSameClasses,
  withData,
} from './runs.js';

/** Name of the file beside a checkpoint. */
export const exitName = 'exit.json';

const share = z.number().min(0).max(1);
const point = z.object({
  threshold: share,
  accuracy: share,
  /** Mean number of bins that ran. */
  meanBins: z.number().min(0),
});

/** What calibration leaves beside a checkpoint. */
const calibrationSchema = z.object({
  /** SHA-256 of the checkpoint: the policy is that of its weights. */
  weights: z.string(),
  checkpoint: z.string(),
  temperature: z.number().positive(),
  threshold: share,
  /** Bins of a clip. */
  bins: z.number().int().positive(),
  /** Accuracy that could be lost on the validation part. */
  loss: share,
  /** Whole clips on the validation part, and what the policy does there. */
  whole: point.omit({ threshold: true }),
  chosen: point,
  /** What no policy can beat: stops at the first bin that is right. */
  oracle: point.omit({ threshold: true }),
  /** Of all thresholds that do something else, fewest bins first. */
  curve: z.array(point),
  /** The clips that it was calibrated on: none of them can be tested on. */
  clips: z.array(z.string()),
});

export type ExitCalibration = z.infer<typeof calibrationSchema>;

export interface CalibrateJob {
  /** Checkpoint or run folder. */
  readonly path: string;
  readonly cacheFolder: string;
  /** Accuracy on the validation part that may be lost for fewer bins, 0 … 1; none by default. */
  readonly loss?: number;
  /** α that the summed logits are divided by; the number of bins by default. */
  readonly temperature?: number;
  readonly backend?: string;
  /** Folder of the data set, where it is no longer the one that the checkpoint names. */
  readonly data?: string;
}

export interface CalibrateOutcome extends ExitCalibration {
  readonly file: string;
  readonly notes: readonly string[];
}

/**
 * Chooses when a clip is decided (Dynamic Confidence, Li et al. 2023), by clips of the validation part alone, and writes it
 * into `exit.json` beside the checkpoint.
 *
 * @throws SaccadeError of kind `usage` where the model sees whole clips only or a clip is in the test part as well, of kind
 *   `input` where there are no validation clips.
 */
export async function calibrateJob(
  { path, cacheFolder, loss = 0, temperature, backend, data }: CalibrateJob,
  context: JobContext = {},
): Promise<CalibrateOutcome> {
  await selectBackend(backend);
  const loaded = await loadModel(path);
  try {
    requireStreaming(loaded);
    const experiment = withData(loaded.experiment, data);
    const prepared = await prepareData(experiment, cacheFolder, context);
    try {
      requireSameClasses(prepared.classes, loaded.classes, experiment.dataset.path);
      const { validation, test } = prepared.clips;
      if (validation.length === 0) {
        throw new SaccadeError('input', "the part 'validation' has no clips to calibrate on", {
          file: experiment.dataset.path,
        });
      }
      requireDisjoint(clipsOf(validation), clipsOf(test));
      const calibration = {
        weights: await checkpointHash(loaded.path),
        checkpoint: basename(loaded.path),
        ...calibrate(await gatherTraces(loaded, validation), { loss, temperature }),
      };
      const file = join(dirname(loaded.path), exitName);
      await writeFileAtomically(file, `${JSON.stringify(calibration, undefined, 2)}\n`);
      return { ...calibration, file, notes: prepared.notes };
    } finally {
      await prepared.release();
    }
  } finally {
    disposeTree(loaded.parameters);
  }
}

function calibrate(
  traces: readonly LogitTrace[],
  { loss, temperature }: { readonly loss: number; readonly temperature: number | undefined },
): Omit<ExitCalibration, 'weights' | 'checkpoint'> {
  const bins = traces[0].logits.length;
  // At a clip's end, its confidence is then that of the model.
  const alpha = temperature ?? bins;
  const { policy, curve } = calibrateExit(traces, { temperature: alpha, loss });
  const inBins = <T extends Omit<ExitPoint, 'threshold'>>({ steps, ...rest }: T) => ({
    ...rest,
    meanBins: steps * bins,
  });
  const whole = evaluateExit({ ...policy, threshold: 1 }, traces);
  const isNew = ({ accuracy, steps }: ExitPoint, i: number): boolean =>
    i === 0 || accuracy !== curve[i - 1].accuracy || steps !== curve[i - 1].steps;
  return {
    ...policy,
    bins,
    loss,
    whole: { accuracy: whole.accuracy, meanBins: bins },
    chosen: inBins(evaluateExit(policy, traces)),
    oracle: inBins(oracleExit(traces)),
    curve: curve.filter(isNew).map(inBins),
    clips: traces.map(({ clip }) => clip),
  };
}

/**
 * The policy that was calibrated for a model.
 *
 * @throws SaccadeError of kind `input` where there is none, or it is of other weights.
 */
export async function readExit(loaded: StreamedModel): Promise<ExitCalibration> {
  requireStreaming(loaded);
  const file = join(dirname(loaded.path), exitName);
  const text = await readFile(file, 'utf8').catch(() => {
    throw new SaccadeError('input', 'there is no such file; `saccade calibrate` makes it', {
      file,
    });
  });
  const calibration = parseConfig(calibrationSchema, parseJson(text, file), file);
  if (calibration.weights !== (await checkpointHash(loaded.path))) {
    throw new SaccadeError(
      'input',
      `was calibrated for other weights than ${basename(loaded.path)} has; run \`saccade calibrate\` again`,
      { file },
    );
  }
  return calibration;
}

function parseJson(text: string, file: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new SaccadeError('input', 'is not JSON; `saccade calibrate` makes it anew', { file });
  }
}

/** Early exit on a part of the data. */
export interface ExitEvaluation extends ExitPolicy {
  readonly accuracy: Accuracy;
  /** Mean number of bins that ran, of `bins`. */
  readonly meanBins: number;
  readonly bins: number;
  readonly oracle: { readonly accuracy: number; readonly meanBins: number };
}

/** What a policy does on clips that it was not calibrated on. */
export function testExit(
  { clips, temperature, threshold, bins }: ExitCalibration,
  traces: readonly LogitTrace[],
  classes: number,
): ExitEvaluation {
  requireDisjoint(
    clips.map((clip) => ({ clip })),
    traces,
  );
  const policy = { temperature, threshold };
  const { steps } = evaluateExit(policy, traces);
  const oracle = oracleExit(traces);
  const confusion = confusionMatrix(
    traces.map(({ label }) => label),
    traces.map(({ logits }) => decide(policy, logits).label),
    classes,
  );
  return {
    ...policy,
    accuracy: accuracy(confusion),
    meanBins: steps * bins,
    bins,
    oracle: { accuracy: oracle.accuracy, meanBins: oracle.steps * bins },
  };
}

/** Runs a model over clips and keeps what it says after every bin. */
async function gatherTraces(
  { model, parameters, experiment }: LoadedModel,
  clips: readonly Clip[],
): Promise<LogitTrace[]> {
  const collector = collectTraces(clips);
  const batches = batchesInOrder(loaderOptions(experiment, clips));
  await evaluate(model, parameters, batches, collector);
  return collector.traces;
}

/** What `evaluate` is given so that it leaves the traces of its clips. */
export function collectTraces(clips: readonly Clip[]) {
  const traces: LogitTrace[] = [];
  const ids = clipsOf(clips).map(({ clip }) => clip);
  return {
    traces,
    onLogits(...[logits, { labels }]: Parameters<NonNullable<EvaluateHook>>): void {
      const names = ids.slice(traces.length, traces.length + labels.length);
      traces.push(...logitTraces(logits, names, labels));
    },
  };
}

type EvaluateHook = NonNullable<Parameters<typeof evaluate>[3]>['onLogits'];

/** Clips by what they are: recording and window, and the content that they are cut from. */
function clipsOf(clips: readonly Clip[]): { readonly clip: string }[] {
  return clips.map(({ recording, position, shard }) => ({
    clip: `${recording}:${position} (${basename(shard.path).slice(0, 16)})`,
  }));
}

interface StreamedModel {
  /** Checkpoint. */
  readonly path: string;
  readonly model: { readonly streaming: boolean };
}

/** @throws SaccadeError of kind `usage` where a model sees whole clips only: they have no early bins. */
export function requireStreaming({ model, path }: StreamedModel): void {
  if (model.streaming) return;
  throw new SaccadeError(
    'usage',
    'cannot exit early: the model sees whole clips only; train one with model.mode: causal',
    { file: path },
  );
}

import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';

import { selectBackend } from '../engine/backend.js';
import { writeFileAtomically } from '../engine/support/atomicFile.js';
import { SaccadeError } from '../engine/support/errors.js';
import { type SplitName } from '../ingest/datasets/index.js';
import { confusionPicture } from '../models/evaluation/confusionPicture.js';
import { argMax, evaluate, type Evaluation } from '../models/evaluation/evaluate.js';
import { accuracy, confusionMatrix, type Accuracy } from '../models/evaluation/metrics.js';
import { classificationReport, type ClassificationReport } from '../models/evaluation/report.js';
import type { SpikeCodingConfig } from '../models/neurons/spikeCoding.js';
import { disposeTree } from '../models/parameters.js';
import { checkpointNames } from '../models/training/loop.js';
import { batchesInOrder, type Clip } from '../preprocess/loader.js';
import { type DeltaEvaluation, type DeltaSweepConfig, evaluateDelta } from './delta.js';
import {
  collectTraces,
  type ExitCalibration,
  type ExitEvaluation,
  readExit,
  testExit,
} from './exit.js';
import type { Experiment } from './experiment.js';
import type { JobContext } from './job.js';
import { loaderOptions, type PreparedData, prepareData } from './prepare.js';
import { loadModel, requireSameClasses, runFolderOf, type LoadedModel, withData } from './runs.js';
import { evaluateSpikeCode, type SpikeCodeEvaluation } from './spikeCode.js';

export interface EvaluateJob {
  /** Checkpoint, or run folder: then the selected and the last epoch are both evaluated. */
  readonly path: string;
  readonly cacheFolder: string;
  readonly part: Exclude<SplitName, 'train'>;
  readonly backend?: string;
  /** Folder of the data set, where it is no longer the one that the checkpoint names. */
  readonly data?: string;
  /** Also evaluates early exit, as `calibrateJob` left it beside the checkpoint. */
  readonly exit?: boolean;
  /** Also evaluates the model with spikes in place of numbers. */
  readonly spikeCode?: SpikeCodingConfig;
  /** Also evaluates delta inference, at several thresholds. */
  readonly delta?: DeltaSweepConfig;
  /** Tells a look from its repetition: one with the name of the last look is that look. */
  readonly lookId?: string;
}

/** What one checkpoint does on a part of the data. */
export interface CheckpointEvaluation extends ClassificationReport {
  readonly checkpoint: string;
  /** Mean cross-entropy over clips, nats. */
  readonly loss: number;
  /** Of whole recordings: the class with the highest mean probability over their clips. */
  readonly recordingAccuracy: Accuracy;
  readonly firingRates: Readonly<Record<string, number>>;
  /** With early exit, where that was asked for. */
  readonly exit?: ExitEvaluation;
  /** Converted to spikes, where that was asked for. */
  readonly spikeCode?: SpikeCodeEvaluation;
  /** By delta inference, threshold by threshold, where that was asked for. */
  readonly delta?: readonly DeltaEvaluation[];
}

export interface EvaluationOutcome {
  readonly part: SplitName;
  readonly synthetic: boolean;
  readonly groupedBy: string;
  readonly notes: readonly string[];
  /** The selected epoch (or the checkpoint that was named). */
  readonly selected: CheckpointEvaluation;
  /** The last epoch, where a run folder was named. */
  readonly last?: CheckpointEvaluation;
  /** How often this run has been evaluated on this part, this time included. */
  readonly looks: number;
  readonly lookId?: string;
  /** Picture of the selected epoch's confusion matrix. */
  readonly picture: string;
  /** This outcome as JSON. */
  readonly file: string;
}

/**
 * Evaluates on a held-out part, and writes `evaluation-<part>.json` and `confusion-<part>.png` into the run
 * folder. Looking at the test part again and again makes it a validation part, so the looks are counted.
 *
 * @throws SaccadeError of kind `input` where the part has no clips.
 */
export async function evaluateJob(
  job: EvaluateJob,
  context: JobContext = {},
): Promise<EvaluationOutcome> {
  if (job.lookId !== undefined) {
    const made = await readEvaluation(await runFolderOf(job.path), job.part);
    if (made?.lookId === job.lookId) return made;
  }
  await selectBackend(job.backend);
  const loaded = await loadModel(job.path);
  const exit = job.exit === true ? await readExit(loaded) : undefined;
  if (exit !== undefined && job.part === 'validation') {
    throw new SaccadeError(
      'usage',
      'early exit is calibrated on the validation part: expected test',
      {
        field: '--part',
      },
    );
  }
  const experiment = withData(loaded.experiment, job.data);
  const prepared = await prepareData(experiment, job.cacheFolder, context);
  try {
    return await evaluatePrepared(job, loaded, experiment, prepared, exit);
  } finally {
    await prepared.release();
  }
}

async function evaluatePrepared(
  { path, part, lookId, spikeCode, delta }: EvaluateJob,
  loaded: LoadedModel,
  experiment: Experiment,
  prepared: PreparedData,
  exit: ExitCalibration | undefined,
): Promise<EvaluationOutcome> {
  const { classes, synthetic } = loaded;
  requireSameClasses(prepared.classes, classes, experiment.dataset.path);
  const clips = prepared.clips[part];
  if (clips.length === 0) {
    throw new SaccadeError('input', `the part '${part}' has no clips`, {
      file: experiment.dataset.path,
    });
  }
  const folder = await runFolderOf(path);
  const file = evaluationFile(folder, part);
  const picture = join(folder, `confusion-${part}.png`);
  const selected = await evaluateCheckpoint(loaded, clips, { exit, spikeCode, delta });
  const last = await evaluateLast(path, loaded, clips);
  disposeTree(loaded.parameters);

  const looks = (await earlierLooks(file)) + 1;
  const notes = [...prepared.notes];
  if (part === 'test' && looks > 1) {
    notes.push(`This is look ${looks} at the test part: its accuracy may be optimistic by now.`);
  }
  const share = selected.accuracy.value ?? 0;
  await writeFileAtomically(
    picture,
    await confusionPicture({
      matrix: selected.confusion,
      classes,
      title: `${experiment.name}${synthetic ? ', synthetic' : ''}, ${part}: ${(100 * share).toFixed(1)} %`,
    }),
  );
  const { groupedBy } = prepared;
  const outcome = {
    part,
    synthetic,
    groupedBy,
    notes,
    selected,
    last,
    looks,
    lookId,
    picture,
    file,
  };
  await writeFileAtomically(file, `${JSON.stringify(outcome, undefined, 2)}\n`);
  return outcome;
}

function evaluationFile(folder: string, part: SplitName): string {
  return join(folder, `evaluation-${part}.json`);
}

/** The evaluation that a run folder holds; undefined where there is none of its present weights. */
export async function readEvaluation(
  folder: string,
  part: EvaluateJob['part'],
): Promise<EvaluationOutcome | undefined> {
  const file = evaluationFile(folder, part);
  const [evaluated, trained] = await Promise.all(
    [file, join(folder, checkpointNames.last)].map((path) => stat(path).catch(() => undefined)),
  );
  if (evaluated === undefined || trained === undefined || evaluated.mtimeMs < trained.mtimeMs) {
    return undefined;
  }
  return JSON.parse(await readFile(file, 'utf8')) as EvaluationOutcome;
}

async function evaluateLast(
  path: string,
  selected: LoadedModel,
  clips: readonly Clip[],
): Promise<CheckpointEvaluation | undefined> {
  if (!(await stat(path)).isDirectory()) return undefined;
  const lastPath = join(path, checkpointNames.last);
  if (selected.path === lastPath || !(await stat(lastPath).catch(() => undefined)))
    return undefined;
  const last = await loadModel(lastPath);
  const evaluation = await evaluateCheckpoint(last, clips);
  disposeTree(last.parameters);
  return evaluation;
}

async function evaluateCheckpoint(
  loaded: LoadedModel,
  clips: readonly Clip[],
  {
    exit,
    spikeCode,
    delta,
  }: { readonly exit?: ExitCalibration } & Pick<EvaluateJob, 'spikeCode' | 'delta'> = {},
): Promise<CheckpointEvaluation> {
  const { model, parameters, experiment, classes, path } = loaded;
  const collector = exit && collectTraces(clips);
  const options = loaderOptions(experiment, clips);
  const evaluation = await evaluate(model, parameters, batchesInOrder(options), collector);
  const { labels, predictions, loss, firingRates } = evaluation;
  return {
    checkpoint: path,
    ...classificationReport(confusionMatrix(labels, predictions, classes.length), classes),
    recordingAccuracy: recordingAccuracy(evaluation, clips, classes.length),
    loss,
    firingRates,
    ...(exit && { exit: testExit(exit, collector!.traces, classes.length) }),
    ...(spikeCode && {
      spikeCode: await evaluateSpikeCode(loaded, options, spikeCode, evaluation),
    }),
    ...(delta && { delta: await evaluateDelta(loaded, options, delta, evaluation) }),
  };
}

function recordingAccuracy(
  { labels, probabilities }: Evaluation,
  clips: readonly Clip[],
  classes: number,
): Accuracy {
  const recordings = new Map<string, { label: number; sum: number[] }>();
  clips.forEach(({ recording }, i) => {
    let entry = recordings.get(recording);
    if (entry === undefined) {
      entry = { label: labels[i], sum: new Array<number>(classes).fill(0) };
      recordings.set(recording, entry);
    }
    probabilities[i].forEach((p, c) => (entry.sum[c] += p));
  });
  const all = [...recordings.values()];
  return accuracy(
    confusionMatrix(
      all.map(({ label }) => label),
      all.map(({ sum }) => argMax(sum)),
      classes,
    ),
  );
}

async function earlierLooks(file: string): Promise<number> {
  try {
    const { looks } = JSON.parse(await readFile(file, 'utf8')) as { looks?: unknown };
    return typeof looks === 'number' ? looks : 0;
  } catch {
    return 0;
  }
}

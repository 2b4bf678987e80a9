import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';

import { selectBackend } from '../engine/backend.js';
import { removeTemporaries } from '../engine/support/atomicFile.js';
import { SaccadeError } from '../engine/support/errors.js';
import { processLock } from '../engine/support/processLock.js';
import type { Transport } from '../engine/transport/transport.js';
import { clearRun, type StepProgress } from '../models/training/loop.js';
import type { Experiment } from './experiment.js';
import type { JobContext } from './job.js';
import type { PreparedData } from './prepare.js';
import { openTransport, type ProcessPlace } from './processPlace.js';
import { readDescription, writeDescription, type RunDescription } from './runs.js';

/** A job that learns into a run folder. */
export interface RunJob {
  readonly experiment: Experiment;
  /** Run folder. A run of the same experiment found there is resumed. */
  readonly folder: string;
  readonly cacheFolder: string;
  readonly backend?: string;
  /** Starts over whatever the folder holds. */
  readonly fresh?: boolean;
  /** Where several processes do this job together: which one this is. */
  readonly process?: ProcessPlace;
}

/** What a run says of its data, of all that was prepared. */
type DataDescription = Pick<PreparedData, 'classes' | 'synthetic' | 'notes' | 'release'>;

type Task = 'training' | 'pretraining';

/**
 * What decides over what a run learns: settings of the other task don't, nor how clips are loaded, how often checkpoints are
 * written, and how many epochs there are, which may change while a run goes on.
 */
function deciding(experiment: Experiment, task: Task): object {
  const settings = {
    ...experiment[task],
    epochs: undefined,
    checkpointSteps: undefined,
    checkpointSeconds: undefined,
  };
  return {
    ...experiment,
    loader: undefined,
    training: undefined,
    pretraining: undefined,
    [task]: settings,
  };
}

/** Tells how far training is. */
export function stepProgress(phase: string, { onProgress }: JobContext) {
  return ({ step, totalSteps, epoch, loss }: StepProgress): void =>
    onProgress?.({
      phase,
      done: step,
      total: totalSteps,
      info: `epoch ${epoch}, loss ${loss.toFixed(3)}`,
    });
}

/**
 * Prepares an experiment's data and works in its run folder, which no other process may do meanwhile. The folder gets
 * `experiment.json`.
 *
 * Where several processes do it together, the folder is the first one's.
 *
 * @param work gets what connects the processes, if there are several.
 * @param task what is learned; a checkpoint says so where it is not to classify.
 * @param prepare gives the data, such as `prepareData`.
 * @throws SaccadeError of kind `config` where the folder holds a run of another experiment or task, of kind `environment`
 *   where another process trains into it; see also `prepareData`.
 */
export async function inRunFolder<T, P extends DataDescription>(
  { experiment, folder, cacheFolder, backend, fresh = false, process: place }: RunJob,
  task: Task,
  context: JobContext,
  prepare: (experiment: Experiment, cacheFolder: string, context: JobContext) => Promise<P>,
  work: (prepared: P, description: RunDescription, transport: Transport | undefined) => Promise<T>,
): Promise<T> {
  const isFirst = place === undefined || place.rank === 0;
  const lock = isFirst ? await processLock(join(folder, '.lock'), 'this run folder') : undefined;
  let transport: Transport | undefined;
  try {
    if (isFirst) await removeTemporaries(folder, true);
    await selectBackend(backend);
    transport = place && (await openTransport(place));
    // What a process has prepared, the others find in the cache: first one of all, then one of each other machine, whose
    // cache may be another.
    const isFirstHere = place?.perNode !== undefined && place.rank % place.perNode === 0;
    const turn = isFirst ? 0 : isFirstHere ? 1 : 2;
    for (let before = 0; before < turn; before++) transport?.any(false);
    const prepared = await prepare(experiment, cacheFolder, context);
    for (let after = turn; after < 2; after++) transport?.any(false);
    try {
      const { classes, synthetic, notes } = prepared;
      for (const sentence of notes) context.onMessage?.(sentence);
      const description: RunDescription = {
        experiment,
        classes,
        synthetic,
        ...(task === 'pretraining' && { task }),
      };
      if (isFirst) {
        if (fresh) await clearRun(folder);
        else await requireSameRun(folder, description, task);
        await writeDescription(folder, description);
      }
      return await work(prepared, description, transport);
    } finally {
      await prepared.release();
    }
  } finally {
    await transport?.close();
    await lock?.release();
  }
}

async function requireSameRun(folder: string, wanted: RunDescription, task: Task): Promise<void> {
  const found = await readDescription(folder);
  if (found === undefined) return;
  const comparable = ({ experiment, ...rest }: RunDescription): unknown =>
    JSON.parse(JSON.stringify({ ...rest, experiment: deciding(experiment, task) }));
  if (isDeepStrictEqual(comparable(found), comparable(wanted))) return;
  throw new SaccadeError(
    'config',
    'holds a run of another experiment; use another folder, or start over with --fresh',
    { file: folder },
  );
}

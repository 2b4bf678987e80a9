import { SaccadeError } from '../engine/support/errors.js';
import {
  type Dataset,
  openDataset,
  splitDataset,
  type Split,
  type SplitName,
} from '../ingest/datasets/index.js';
import { parseAugmentation } from '../preprocess/augmentations/index.js';
import { cachedWindows, type ClipPipeline } from '../preprocess/cache/index.js';
import { parseFilter } from '../preprocess/filters/index.js';
import {
  batchesInOrder,
  batchesPerEpoch,
  type Clip,
  type EpochOptions,
  type LoaderOptions,
  shuffledBatches,
} from '../preprocess/loader.js';
import type { PreprocessConfig } from '../preprocess/pipeline/index.js';
import { representationByName } from '../preprocess/representations/index.js';
import type { TrainingData } from '../models/training/train.js';
import type { Experiment } from './experiment.js';
import type { JobContext } from './job.js';

/** A data set, split, windowed and cached. */
export interface PreparedData {
  readonly classes: readonly string[];
  readonly synthetic: boolean;
  readonly clips: Readonly<Record<SplitName, readonly Clip[]>>;
  readonly groupedBy: Split['groupedBy'];
  /** What makes a result less sure, and what was passed over, in plain sentences. */
  readonly notes: readonly string[];
  /** Recordings whose windows were made now; those of the others were in the cache. */
  readonly made: number;
  /** Recordings, or parts of recordings, in all. */
  readonly recordings: number;
}

const splitNames: readonly SplitName[] = ['train', 'validation', 'test'];

/** The pipeline that an experiment describes. Throws a `SaccadeError` that names the wrong part. */
export function clipPipelineOf({ filters, window }: PreprocessConfig): ClipPipeline {
  return { filters: filters.map((text) => parseFilter(text)), window };
}

/** How an experiment splits its data set. */
export function splitOf(
  { seed, dataset: { splitSeed, validation, test } }: Experiment,
  dataset: Dataset,
): Split {
  return splitDataset(dataset, { seed: splitSeed ?? seed, validation, test });
}

/**
 * Opens an experiment's data set, splits it, and brings the windows of every recording into the cache.
 * Interrupted, it goes on where it was. A recording that cannot be read is passed over with a note.
 *
 * @param cacheFolder see `cachedWindows`.
 * @throws SaccadeError of kind `input` where the data set is none, or a part has no clips at all.
 */
export async function prepareData(
  experiment: Experiment,
  cacheFolder: string,
  context: JobContext = {},
): Promise<PreparedData> {
  const { path, layout } = experiment.dataset;
  const clipPipeline = clipPipelineOf(experiment.preprocess);
  const dataset = await openDataset(path, layout);
  const split = splitOf(experiment, dataset);
  const total = splitNames.reduce((sum, name) => sum + split[name].length, 0);
  const clips: Record<SplitName, Clip[]> = { train: [], validation: [], test: [] };
  const notes = [...dataset.notes, ...split.notes];
  let made = 0;
  let done = 0;
  const report = (): void => context.onProgress?.({ phase: 'prepare', done, total });
  report();
  for (const name of splitNames) {
    for (const { recording, part } of split[name]) {
      try {
        const source = { path: recording.path, range: recording.range, part };
        const prepared = await cachedWindows(cacheFolder, source, clipPipeline, context);
        const { shard } = prepared;
        if (prepared.made) made++;
        notes.push(...shardNotes(recording.id, shard.length, shard.damageCount, shard.lateEvents));
        for (let position = 0; position < shard.length; position++) {
          clips[name].push({
            shard,
            position,
            label: recording.label,
            recording: recording.id,
          });
        }
      } catch (error) {
        if (!(error instanceof SaccadeError) || error.kind !== 'input') throw error;
        notes.push(`${recording.id} is passed over: ${error.message}`);
      }
      done++;
      report();
    }
  }
  requireClips(dataset, clips.train);
  const { classes, synthetic } = dataset;
  return {
    classes,
    synthetic,
    clips,
    groupedBy: split.groupedBy,
    notes,
    made,
    recordings: total,
  };
}

function shardNotes(id: string, windows: number, damages: number, late: number): string[] {
  const notes: string[] = [];
  if (windows === 0) notes.push(`${id} gives no window.`);
  if (damages > 0) notes.push(`${id} has ${damages} damaged places.`);
  if (late > 0) notes.push(`${id}: ${late} events came too late for their window.`);
  return notes;
}

function requireClips({ root, classes }: Dataset, clips: readonly Clip[]): void {
  const missing = classes.filter((_, label) => !clips.some((clip) => clip.label === label));
  if (missing.length === 0) return;
  throw new SaccadeError('input', `no clips to train on for ${missing.join(', ')}`, { file: root });
}

/** How an experiment's clips are turned into batches. */
export function loaderOptions(
  { preprocess, training }: Pick<Experiment, 'preprocess' | 'training'>,
  clips: readonly Clip[],
): LoaderOptions {
  const { representation, bins, height, width } = preprocess;
  return {
    clips,
    representation: representationByName(representation),
    size: { bins, height, width },
    batchSize: training.batchSize,
  };
}

/** What the training loop reads. */
export function trainingData(experiment: Experiment, { clips }: PreparedData): TrainingData {
  const options: EpochOptions = {
    ...loaderOptions(experiment, clips.train),
    augmentations: experiment.preprocess.augmentations.map((text) => parseAugmentation(text)),
    seed: experiment.seed,
  };
  return {
    batchesPerEpoch: batchesPerEpoch(options),
    train: (epoch, start) => shuffledBatches(options, epoch, start),
    validation: () => batchesInOrder(loaderOptions(experiment, clips.validation)),
  };
}

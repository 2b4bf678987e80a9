import { stat } from 'node:fs/promises';

import { SaccadeError } from '../engine/support/errors.js';
import {
  type Dataset,
  openDataset,
  splitDataset,
  type Split,
  type SplitName,
} from '../ingest/datasets/index.js';
import type { SensorSize } from '../ingest/eventBatch.js';
import { parseAugmentation } from '../preprocess/augmentations/index.js';
import {
  cachedTensors,
  cachedWindows,
  type CacheHold,
  cacheLimit,
  type ClipPipeline,
  enforceLimit,
  holdCache,
  type Shard,
} from '../preprocess/cache/index.js';
import { parseFilter } from '../preprocess/filters/index.js';
import {
  batchesPerEpoch,
  type Clip,
  type EpochOptions,
  type LoaderOptions,
} from '../preprocess/loader.js';
import { openLoader } from '../preprocess/parallelLoader.js';
import type { PreprocessConfig } from '../preprocess/pipeline/index.js';
import { parseRepresentation } from '../preprocess/representations/index.js';
import type { TrainingData } from '../models/training/loop.js';
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
  /** Lets go of the clips in the cache, which are kept from eviction until then. */
  release(): Promise<void>;
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
 * Interrupted, it goes on where it was. A recording that cannot be read is passed over with a note. Clips of
 * parts that nothing is augmented in are kept as tensors too, where the experiment says so.
 *
 * @param cacheFolder see `cachedWindows`; where it has a limit, it is kept to.
 * @throws SaccadeError of kind `input` where the data set is none, or a part has no clips at all.
 */
export async function prepareData(
  experiment: Experiment,
  cacheFolder: string,
  context: JobContext = {},
): Promise<PreparedData> {
  const hold = holdCache(cacheFolder);
  try {
    return {
      ...(await prepareHeld(experiment, cacheFolder, hold, context)),
      release: hold.release,
    };
  } catch (error) {
    await hold.release();
    throw error;
  }
}

async function prepareHeld(
  experiment: Experiment,
  cacheFolder: string,
  hold: CacheHold,
  context: JobContext,
): Promise<Omit<PreparedData, 'release'>> {
  const { path, layout } = experiment.dataset;
  const clipPipeline = clipPipelineOf(experiment.preprocess);
  const dataset = await openDataset(path, layout);
  const split = splitOf(experiment, dataset);
  const total = splitNames.reduce((sum, name) => sum + split[name].length, 0);
  const clips: Record<SplitName, Clip[]> = { train: [], validation: [], test: [] };
  const notes = [...dataset.notes, ...split.notes];
  const { representation, size } = loaderOptions(experiment, []);
  const sensors = createSensorCount();
  const limit = await createLimiter(cacheFolder);
  let made = 0;
  let done = 0;
  const report = (): void => context.onProgress?.({ phase: 'prepare', done, total });
  report();
  for (const name of splitNames) {
    for (const { recording, part } of split[name]) {
      try {
        const source = { path: recording.path, range: recording.range, part };
        const { signal } = context;
        const prepared = await cachedWindows(cacheFolder, source, clipPipeline, { signal, hold });
        const { shard } = prepared;
        const tensors = keepsTensors(experiment, name)
          ? await cachedTensors(cacheFolder, shard, representation, size, hold)
          : undefined;
        if (shard.sensor !== undefined) sensors.add(shard.sensor);
        if (prepared.made || tensors?.made === true) await limit.made(shard);
        if (prepared.made) made++;
        notes.push(...shardNotes(recording.id, shard.length, shard.damageCount, shard.lateEvents));
        for (let position = 0; position < shard.length; position++) {
          clips[name].push({
            shard,
            tensors: tensors?.tensors,
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
  notes.push(...sensors.notes(), ...(await limit.end()));
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

/** Whether a part's clips are the same tensors in every epoch, and are to be kept as such. */
function keepsTensors({ preprocess, loader }: Experiment, part: SplitName): boolean {
  return loader.tensors && (part !== 'train' || preprocess.augmentations.length === 0);
}

/** Counts recordings by the size of their sensor. A data set of several is allowed: all are scaled. */
function createSensorCount(): { add(sensor: SensorSize): void; notes(): string[] } {
  const counts = new Map<string, number>();
  return {
    add({ width, height }) {
      const size = `${width}x${height}`;
      counts.set(size, (counts.get(size) ?? 0) + 1);
    },
    notes() {
      if (counts.size < 2) return [];
      const sizes = [...counts].map(([size, count]) => `${size} (${count})`).join(', ');
      return [`The recordings are of different sensors, which are scaled to one size: ${sizes}.`];
    },
  };
}

/** Keeps a cache to its limit while much is made: looks again after each twentieth of the limit. */
async function createLimiter(
  folder: string,
): Promise<{ made(shard: Shard): Promise<void>; end(): Promise<string[]> }> {
  const limit = await cacheLimit(folder);
  let sinceBytes = 0;
  return {
    async made({ path }) {
      if (limit === undefined) return;
      sinceBytes += (await stat(path)).size;
      if (sinceBytes < limit / 20) return;
      sinceBytes = 0;
      await enforceLimit(folder);
    },
    async end() {
      const left = limit === undefined ? undefined : await enforceLimit(folder);
      if (limit === undefined || left === undefined || left.bytes <= limit) return [];
      return [
        `The cache has ${left.bytes} bytes, more than its limit of ${limit}: the rest is in use.`,
      ];
    },
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
    representation: parseRepresentation(representation),
    size: { bins, height, width },
    batchSize: training.batchSize,
  };
}

/** What the training loop reads. */
export interface LoadedTrainingData extends TrainingData {
  /** Ends the threads that load. */
  close(): Promise<void>;
}

/**
 * What the training loop reads, with the threads that load it.
 *
 * @param part of several processes that share each batch: which one this is.
 */
export function trainingData(
  experiment: Experiment,
  { classes, clips }: Pick<PreparedData, 'classes' | 'clips'>,
  part?: EpochOptions['part'],
): LoadedTrainingData {
  const options: EpochOptions = {
    ...loaderOptions(experiment, clips.train),
    augmentations: experiment.preprocess.augmentations.map((text) => parseAugmentation(text)),
    seed: experiment.seed,
    classes: classes.length,
    part: part && { rank: part.rank, world: part.world },
  };
  const { workers, prefetch } = experiment.loader;
  const { validation } = clips;
  // A training step has copied or computed all of a batch when the next but one is asked for.
  const loader = openLoader({ ...options, workers, prefetch, validation, reuse: true });
  return {
    batchesPerEpoch: batchesPerEpoch(options),
    train: (epoch, start) => loader.epoch(epoch, start),
    validation: () => loader.validation(),
    close: () => loader.close(),
  };
}

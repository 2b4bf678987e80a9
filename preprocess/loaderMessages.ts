import type { ErrorKind } from '../engine/support/errors.js';
import { parseAugmentation } from './augmentations/index.js';
import { lazyShard, lazyTensors, representationCall } from './cache/index.js';
import type { ClipBatch, EpochOptions } from './loader.js';
import { type ClipSize, parseRepresentation } from './representations/index.js';

/** What a loader's thread is started with: options of an epoch as plain data. */
export interface LoaderThreadData {
  readonly clips: readonly ThreadClip[];
  readonly representation: string;
  readonly size: ClipSize;
  readonly batchSize: number;
  /** Canonical calls. */
  readonly augmentations: readonly string[];
  readonly seed: number;
  readonly classes?: number;
}

interface ThreadClip {
  readonly shard: string;
  readonly tensors?: string;
  readonly position: number;
  readonly label: number;
  readonly recording: string;
}

/** One batch to load. */
export interface LoadRequest {
  readonly id: number;
  readonly epoch: number;
  readonly chosen: Uint32Array;
}

export type LoadAnswer =
  | { readonly id: number; readonly batch: ClipBatch }
  | {
      readonly id: number;
      readonly failure: { readonly kind?: ErrorKind; readonly message: string };
    };

/** Options of an epoch as plain data. */
export function threadData({
  clips,
  representation,
  size,
  batchSize,
  augmentations,
  seed,
  classes,
}: EpochOptions): LoaderThreadData {
  return {
    clips: clips.map(({ shard, tensors, ...clip }) => ({
      ...clip,
      shard: shard.path,
      tensors: tensors?.path,
    })),
    representation: representationCall(representation),
    size,
    batchSize,
    augmentations: augmentations.map(({ description }) => description),
    seed,
    classes,
  };
}

/** The options that plain data stands for; files are opened when they are first read from. */
export function epochOptions(data: LoaderThreadData): EpochOptions {
  const shards = new Map<string, ReturnType<typeof lazyShard>>();
  const tensors = new Map<string, ReturnType<typeof lazyTensors>>();
  return {
    ...data,
    clips: data.clips.map((clip) => ({
      ...clip,
      shard: once(shards, clip.shard, lazyShard),
      tensors: clip.tensors === undefined ? undefined : once(tensors, clip.tensors, lazyTensors),
    })),
    representation: parseRepresentation(data.representation),
    augmentations: data.augmentations.map((call) => parseAugmentation(call)),
  };
}

/** What was made for a key, now or earlier. */
function once<T>(made: Map<string, T>, key: string, make: (key: string) => T): T {
  let value = made.get(key);
  if (value === undefined) made.set(key, (value = make(key)));
  return value;
}

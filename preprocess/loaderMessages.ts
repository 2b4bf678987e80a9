import type { ErrorKind } from '../engine/support/errors.js';
import { representationCall } from './cache/index.js';
import type { ClipBatch, EpochOptions } from './loader.js';
import type { ClipSize } from './representations/index.js';

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

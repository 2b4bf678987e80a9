import type { ErrorKind } from '../engine/support/errors.js';
import { parseAugmentation } from './augmentations/index.js';
import { lazyShard, lazyTensors, representationCall } from './cache/index.js';
import type { Clip, ClipBatch, EpochOptions } from './loader.js';
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
  readonly validation: readonly ThreadClip[];
}

interface ThreadClip {
  readonly shard: string;
  readonly tensors?: string;
  readonly position: number;
  readonly label: number;
  readonly recording: string;
}

/** What a batch is made of. */
export interface BatchRequest {
  /** Undefined for clips that are loaded as they are, for validation. */
  readonly epoch?: number;
  /** Indices of clips: of those for training, or of those for validation. */
  readonly chosen: Uint32Array;
  /** Memory of an earlier batch, to be used again. */
  readonly memory?: ArrayBuffer;
}

/** One batch to load. */
export interface LoadRequest extends BatchRequest {
  readonly id: number;
}

export type LoadAnswer =
  | { readonly id: number; readonly batch: ClipBatch }
  | {
      readonly id: number;
      readonly failure: { readonly kind?: ErrorKind; readonly message: string };
    };

/** Options of an epoch as plain data. */
export function threadData(
  { clips, representation, size, batchSize, augmentations, seed, classes }: EpochOptions,
  validation: readonly Clip[] = [],
): LoaderThreadData {
  return {
    clips: clips.map(threadClip),
    validation: validation.map(threadClip),
    representation: representationCall(representation),
    size,
    batchSize,
    augmentations: augmentations.map(({ description }) => description),
    seed,
    classes,
  };
}

function threadClip({ shard, tensors, ...clip }: Clip): ThreadClip {
  return { ...clip, shard: shard.path, tensors: tensors?.path };
}

/** The options that plain data stands for; files are opened when they are first read from. */
export function epochOptions(
  data: LoaderThreadData,
): EpochOptions & { readonly validation: readonly Clip[] } {
  const shards = new Map<string, ReturnType<typeof lazyShard>>();
  const tensors = new Map<string, ReturnType<typeof lazyTensors>>();
  const clipOf = (clip: ThreadClip): Clip => ({
    ...clip,
    shard: once(shards, clip.shard, lazyShard),
    tensors: clip.tensors === undefined ? undefined : once(tensors, clip.tensors, lazyTensors),
  });
  return {
    ...data,
    clips: data.clips.map(clipOf),
    validation: data.validation.map(clipOf),
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

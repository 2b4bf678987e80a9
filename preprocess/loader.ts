import { createRandom, permutation } from '../engine/support/random.js';
import { type Augmentation, augment } from './augmentations/index.js';
import type { Shard } from './cache/index.js';
import {
  clipLength,
  type ClipSize,
  type Representation,
  representWindow,
} from './representations/index.js';
import type { EventWindow } from './windows/index.js';

/** A window in the cache together with what is known about it. */
export interface Clip {
  readonly shard: Shard;
  /** Position in the shard. */
  readonly position: number;
  readonly label: number;
  /** Id of the recording that it is from. */
  readonly recording: string;
}

/** Clips as models read them. */
export interface ClipBatch {
  /** Row-major values of `shape`. */
  readonly inputs: Float32Array;
  /** `[batch, time, channels, height, width]`. */
  readonly shape: readonly number[];
  /** Class of each clip. */
  readonly labels: Int32Array;
}

export interface LoaderOptions {
  readonly clips: readonly Clip[];
  readonly representation: Representation;
  readonly size: ClipSize;
  /** Clips in the largest batch. */
  readonly batchSize: number;
}

/** All clips in their order, in batches; the last one may be smaller. */
export function* batchesInOrder(options: LoaderOptions): Generator<ClipBatch> {
  const { clips, batchSize } = options;
  for (let start = 0; start < clips.length; start += batchSize) {
    yield loadBatch(options, clips.slice(start, start + batchSize));
  }
}

export interface EpochOptions extends LoaderOptions {
  readonly augmentations: readonly Augmentation[];
  readonly seed: number;
}

/** Batches in an epoch: as many as needed, all of nearly the same size. */
export function batchesPerEpoch({ clips, batchSize }: LoaderOptions): number {
  return Math.ceil(clips.length / batchSize);
}

/**
 * The batches of an epoch from batch `start` on: every clip once, shuffled and augmented. A batch is a
 * function of the clips, the seed, the epoch and its number alone, so a run can be resumed anywhere.
 */
export function* shuffledBatches(
  options: EpochOptions,
  epoch: number,
  start = 0,
): Generator<ClipBatch> {
  const { clips, seed, augmentations } = options;
  const count = batchesPerEpoch(options);
  const order = permutation(clips.length, createRandom(seed, 'shuffle', epoch));
  const border = (batch: number): number => Math.floor((batch * clips.length) / count);
  for (let batch = start; batch < count; batch++) {
    const chosen = order.subarray(border(batch), border(batch + 1));
    yield loadBatch(
      options,
      Array.from(chosen, (index) => clips[index]),
      (window, i) =>
        augment(window, augmentations, createRandom(seed, 'augment', epoch, chosen[i])),
    );
  }
}

function loadBatch(
  { representation, size }: LoaderOptions,
  clips: readonly Clip[],
  change: (window: EventWindow, i: number) => EventWindow = (window) => window,
): ClipBatch {
  const length = clipLength(representation, size);
  const inputs = new Float32Array(clips.length * length);
  clips.forEach(({ shard, position }, i) => {
    const out = inputs.subarray(i * length, (i + 1) * length);
    representWindow(change(shard.read(position), i), representation, size, out);
  });
  const { bins, height, width } = size;
  return {
    inputs,
    shape: [clips.length, bins, representation.channels, height, width],
    labels: Int32Array.from(clips, ({ label }) => label),
  };
}

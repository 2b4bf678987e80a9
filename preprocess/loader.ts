import { eventLoops } from '../engine/native/eventLoops.js';
import { SaccadeError } from '../engine/support/errors.js';
import { createRandom, permutation, type Random } from '../engine/support/random.js';
import {
  type Augmentation,
  type AugmentedSample,
  augmentSample,
  type LabelledWindow,
} from './augmentations/index.js';
import type { Shard, TensorShard } from './cache/index.js';
import {
  clipLength,
  type ClipSize,
  type Representation,
  representWindow,
} from './representations/index.js';

/** A window in the cache together with what is known about it. */
export interface Clip {
  readonly shard: Pick<Shard, 'path' | 'read'>;
  /** Its represented windows, where they are kept too; of use where nothing is augmented. */
  readonly tensors?: Pick<TensorShard, 'path' | 'read'>;
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
  /** Class of each clip; of a mixed one, that of its own window. */
  readonly labels: Int32Array;
  /**
   * Share of each class in each clip, `[batch, classes]`, rows sum to 1; where not given, each clip shows the
   * class of its label alone.
   */
  readonly targets?: Float32Array;
  readonly part?: BatchPart | undefined;
}

/** Where a batch is a process's part of a larger one. */
export interface BatchPart {
  /** Clips of the larger one that come before it. */
  readonly first: number;
  /**
   * How much its mean counts beside those of the other parts, so that the mean over the parts is that of the clips. 1
   * where all are of one size.
   */
  readonly weight: number;
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
  for (const chosen of indicesInOrder(options)) yield loadPlain(options, chosen);
}

/** The clips of those batches, by their index. */
export function indicesInOrder({
  clips,
  batchSize,
}: Pick<LoaderOptions, 'clips' | 'batchSize'>): Uint32Array[] {
  const all = Uint32Array.from(clips, (_, i) => i);
  const count = Math.ceil(clips.length / batchSize);
  return Array.from({ length: count }, (_, i) => all.slice(i * batchSize, (i + 1) * batchSize));
}

/**
 * One batch of clips as they are.
 *
 * @param chosen indices of clips.
 * @param memory of the batch, `batchBytes` long; its own where not given.
 */
export function loadPlain(
  options: LoaderOptions,
  chosen: Uint32Array,
  memory?: ArrayBuffer,
): ClipBatch {
  const { clips, representation, size } = options;
  const own = Array.from(chosen, (index) => clips[index]);
  return fillBatch(options, own, memory, ({ shard, tensors, position }, out) => {
    if (tensors !== undefined) tensors.read(position, out);
    else representWindow(shard.read(position), representation, size, out);
  });
}

/** Bytes of the largest batch. */
export function batchBytes({ representation, size, batchSize }: LoaderOptions): number {
  return Float32Array.BYTES_PER_ELEMENT * batchSize * clipLength(representation, size);
}

export interface EpochOptions extends LoaderOptions {
  readonly augmentations: readonly Augmentation[];
  readonly seed: number;
  /** Number of classes, for the shares of mixed clips; by default one more than the greatest label. */
  readonly classes?: number;
  /** Of several processes that share each batch: which part is this one's. */
  readonly part?: { readonly rank: number; readonly world: number };
}

/** Batches in an epoch: as many as needed, all of nearly the same size. */
export function batchesPerEpoch({
  clips,
  batchSize,
}: Pick<LoaderOptions, 'clips' | 'batchSize'>): number {
  return Math.ceil(clips.length / batchSize);
}

/** The clips of an epoch's batches, by their index: every clip once, shuffled by the seed and the epoch. */
export function shuffledIndices(options: EpochOptions, epoch: number): Uint32Array[] {
  const { clips, seed } = options;
  const count = batchesPerEpoch(options);
  const order = permutation(clips.length, createRandom(seed, 'shuffle', epoch));
  const border = (batch: number): number => Math.floor((batch * clips.length) / count);
  return Array.from({ length: count }, (_, batch) => order.slice(border(batch), border(batch + 1)));
}

/**
 * What this process loads of an epoch's batches: all of them, or its part of each. The parts in the order of the processes
 * are the batch that one process would have.
 *
 * @throws SaccadeError of kind `config` where a batch has fewer clips than there are processes.
 */
export function epochParts(
  options: EpochOptions,
  epoch: number,
): { readonly chosen: Uint32Array; readonly part?: BatchPart }[] {
  const { part } = options;
  const batches = shuffledIndices(options, epoch);
  if (part === undefined) return batches.map((chosen) => ({ chosen }));
  const { rank, world } = part;
  return batches.map((whole) => {
    if (whole.length < world) {
      throw new SaccadeError(
        'config',
        `a batch of ${whole.length} clips cannot be shared by ${world} processes`,
        { field: 'training.batchSize' },
      );
    }
    const border = (before: number): number => Math.floor((before * whole.length) / world);
    const first = border(rank);
    const chosen = whole.slice(first, border(rank + 1));
    return { chosen, part: { first, weight: (chosen.length * world) / whole.length } };
  });
}

/**
 * The batches of an epoch from batch `start` on: every clip once, shuffled and augmented. A batch is a
 * function of the clips, the seed, the epoch and its number alone, so a run can be resumed anywhere.
 *
 * @throws SaccadeError that names the clip which cannot be read or is not finite.
 */
export function* shuffledBatches(
  options: EpochOptions,
  epoch: number,
  start = 0,
): Generator<ClipBatch> {
  for (const { chosen, part } of epochParts(options, epoch).slice(start)) {
    yield { ...loadAugmented(options, epoch, chosen), part };
  }
}

/**
 * One batch of an epoch. What is drawn for a clip depends on the seed, the epoch and the clip's index, not on
 * the batch that it is in.
 *
 * @param chosen indices of clips.
 * @param memory of the batch, `batchBytes` long; its own where not given.
 */
export function loadAugmented(
  options: EpochOptions,
  epoch: number,
  chosen: Uint32Array,
  memory?: ArrayBuffer,
): ClipBatch {
  const { clips, seed, augmentations } = options;
  if (augmentations.length === 0) return loadPlain(options, chosen, memory);
  const own = Array.from(chosen, (index) => clips[index]);
  const labelled = ({ shard, position, label }: Clip): LabelledWindow => ({
    window: shard.read(position),
    label,
  });
  const partner = (random: Random): LabelledWindow => {
    const clip = clips[random.integer(clips.length)];
    return ofClip(clip, () => labelled(clip));
  };
  const shares: AugmentedSample['shares'][] = [];
  const batch = fillBatch(options, own, memory, (clip, out, i) => {
    const random = createRandom(seed, 'augment', epoch, chosen[i]);
    const sample = augmentSample(labelled(clip), augmentations, random, partner);
    shares.push(sample.shares);
    representWindow(sample.window, options.representation, options.size, out);
  });
  if (!augmentations.some(({ mix }) => mix !== undefined)) return batch;
  return { ...batch, targets: targetsOf(shares, options) };
}

/** @param fill writes a clip's values into its part of the batch. */
function fillBatch(
  { representation, size }: LoaderOptions,
  clips: readonly Clip[],
  memory: ArrayBuffer | undefined,
  fill: (clip: Clip, out: Float32Array, i: number) => void,
): ClipBatch {
  const length = clipLength(representation, size);
  const inputs =
    memory === undefined
      ? new Float32Array(clips.length * length)
      : new Float32Array(memory, 0, clips.length * length);
  clips.forEach((clip, i) => {
    const out = inputs.subarray(i * length, (i + 1) * length);
    ofClip(clip, () => {
      fill(clip, out, i);
      requireFinite(out);
    });
  });
  const { bins, height, width } = size;
  return {
    inputs,
    shape: [clips.length, bins, representation.channels, height, width],
    labels: Int32Array.from(clips, ({ label }) => label),
  };
}

function targetsOf(
  shares: readonly AugmentedSample['shares'][],
  {
    clips,
    classes = 1 + clips.reduce((most, { label }) => Math.max(most, label), 0),
  }: EpochOptions,
): Float32Array {
  const targets = new Float32Array(shares.length * classes);
  shares.forEach((each, i) => {
    for (const [label, share] of each) targets[i * classes + label] = share;
  });
  return targets;
}

function requireFinite(values: Float32Array): void {
  if (eventLoops().finite(values)) return;
  const i = values.findIndex((value) => !Number.isFinite(value));
  throw new SaccadeError('input', `value ${i} of the tensor is ${values[i]}, expected a number`);
}

/** Does something with a clip; an error says which clip it was. */
function ofClip<T>({ recording, position }: Clip, action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (!(error instanceof SaccadeError)) throw error;
    throw new SaccadeError(
      error.kind,
      `${recording}, window ${position}: ${error.message}`,
      {},
      error,
    );
  }
}

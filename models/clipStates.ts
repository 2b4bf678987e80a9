import * as tf from '@tensorflow/tfjs-core';

import type { ClipState, StateTree } from './model.js';
import { unflatten } from './parameters.js';

/** A tensor of one clip's state as host memory, row-major. */
export interface StateLeaf {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/** The state of one clip as plain data, which can be kept, sent and stored; leaves by their path. */
export interface StoredClipState {
  readonly frame: number;
  readonly leaves: ReadonlyMap<string, StateLeaf>;
}

/**
 * The states of clips as that of one batch. Clips without a state are at their start: every part of a state
 * begins as zeros, and so do those that some clips have and others do not (an attention window that is open).
 *
 * @returns undefined where no clip has a state. The caller owns the tensors.
 * @throws RangeError where the states are not of one model.
 */
export function stackStates(
  states: readonly (StoredClipState | undefined)[],
): ClipState<readonly number[]> | undefined {
  const known = new Map(states.flatMap((state) => [...(state?.leaves ?? [])]));
  if (known.size === 0) return undefined;
  const leaves = new Map<string, tf.Tensor>();
  for (const [path, { shape, data }] of known) {
    const values = new Float32Array(states.length * data.length);
    states.forEach((state, i) => {
      const leaf = state?.leaves.get(path);
      if (leaf === undefined) return;
      if (leaf.shape.join() !== shape.join()) {
        throw new RangeError(
          `${path}: states of shape [${shape.join()}] and [${leaf.shape.join()}]`,
        );
      }
      values.set(leaf.data, i * data.length);
    });
    const [first, ...rest] = shape;
    leaves.set(path, tf.tensor(values, [states.length * first, ...rest]));
  }
  return {
    frame: states.map((state) => state?.frame ?? 0),
    layers: unflatten(leaves),
  };
}

/**
 * The states of the clips of a batch. Every tensor of a state has the clips one after the other along its first
 * axis, each with the same number of rows.
 */
export function splitState(
  { frame, layers }: ClipState<number | readonly number[]>,
  batch: number,
): StoredClipState[] {
  const all = [...stateLeaves(layers)].map(([path, tensor]) => {
    const [rows, ...rest] = tensor.shape;
    return { path, shape: [rows / batch, ...rest], data: tensor.dataSync<'float32'>() };
  });
  return Array.from({ length: batch }, (_, i) => ({
    frame: typeof frame === 'number' ? frame : frame[i],
    leaves: new Map(
      all.map(({ path, shape, data }) => {
        const length = data.length / batch;
        // A copy: a clip that stays must not keep the memory of the whole batch.
        return [path, { shape, data: data.slice(i * length, (i + 1) * length) }];
      }),
    ),
  }));
}

/** The state of one of the clips of a batch, as `splitState` gives it; the others' are not read. */
export function stateOfClip(
  { frame, layers }: ClipState<number | readonly number[]>,
  batch: number,
  clip: number,
): StoredClipState {
  const leaves = [...stateLeaves(layers)].map(([path, tensor]): [string, StateLeaf] => {
    const [rows, ...rest] = tensor.shape;
    const own = tf.tidy(() => tf.slice(tf.reshape(tensor, [batch, -1]), [clip, 0], [1, -1]));
    const data = own.dataSync<'float32'>().slice();
    own.dispose();
    return [path, { shape: [rows / batch, ...rest], data }];
  });
  return { frame: typeof frame === 'number' ? frame : frame[clip], leaves: new Map(leaves) };
}

/** The tensors of a state by their path; parts that it has not are left out. */
export function* stateLeaves(
  tree: StateTree,
  prefix = '',
): Generator<[path: string, tensor: tf.Tensor]> {
  for (const [name, child] of Object.entries(tree)) {
    if (child instanceof tf.Tensor) yield [`${prefix}${name}`, child];
    else if (child !== undefined) yield* stateLeaves(child, `${prefix}${name}.`);
  }
}

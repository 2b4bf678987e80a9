import * as tf from '@tensorflow/tfjs-core';

import { defineFusedOp, type Attributes, type HostKernel } from '../fused.js';

interface GatherConfig extends Attributes {
  /** Rows to take, list by list; -1 gives a row of zeros. */
  readonly index: Int32Array;
  /** Number of lists; group g reads list g mod `lists`. */
  readonly lists: number;
}

/** Calls back with the start of each output row and of the input row that it shows. */
function eachRow(
  [groups, rows, width]: readonly number[],
  { index, lists }: GatherConfig,
  visit: (to: number, from: number) => void,
): void {
  const taken = index.length / lists;
  for (let group = 0; group < groups; group++) {
    const list = (group % lists) * taken;
    for (let i = 0; i < taken; i++) {
      const row = index[list + i];
      if (row >= 0) visit((group * taken + i) * width, (group * rows + row) * width);
    }
  }
}

const forward: HostKernel<GatherConfig> = {
  outputShapes: ([[groups, , width]], { index, lists }) => [[groups, index.length / lists, width]],
  run([x], [y], [shape], config) {
    const width = shape[2];
    eachRow(shape, config, (to, from) => {
      for (let i = 0; i < width; i++) y[to + i] = x[from + i];
    });
  },
};

const backward: HostKernel<GatherConfig> = {
  outputShapes: ([x]) => [[...x]],
  run([, dy], [dx], [shape], config) {
    const width = shape[2];
    eachRow(shape, config, (to, from) => {
      for (let i = 0; i < width; i++) dx[from + i] += dy[to + i];
    });
  },
};

const gather = defineFusedOp<GatherConfig>({
  name: 'GatherRows',
  forward,
  backward,
  reference([x], { index, lists }) {
    const [groups, rows, width] = x.shape as [number, number, number];
    const taken = index.length / lists;
    // One more row of zeros, which stands for -1.
    const padded = tf.concat([x, tf.zeros([groups, 1, width])], 1);
    const places = Int32Array.from({ length: groups * taken }, (_, at) => {
      const group = Math.floor(at / taken);
      const row = index[(group % lists) * taken + (at % taken)];
      return group * (rows + 1) + (row < 0 ? rows : row);
    });
    // The gradient of `tf.gather` needs a kernel that not every backend has.
    const take = tf.customGrad((flat) => ({
      value: tf.gather(flat as tf.Tensor, tf.tensor1d(places, 'int32')),
      gradFunc: (dy: tf.Tensor) =>
        tf.scatterND(tf.tensor2d(places, [places.length, 1], 'int32'), dy, [
          groups * (rows + 1),
          width,
        ]),
    }));
    const flat = take(tf.reshape(padded, [groups * (rows + 1), width]));
    return [tf.reshape(flat, [groups, taken, width])];
  },
});

/**
 * Rows of a matrix in another order, any of them several times or not at all. Its gradient adds up over the
 * places at which a row was taken.
 *
 * @param x `[groups, rows, width]`.
 * @param index row numbers, or -1 for a row of zeros; `lists` lists of one length. `lists` divides groups,
 *   and group g takes list g mod `lists`.
 * @returns `[groups, index.length / lists, width]`.
 */
export function gatherRows(x: tf.Tensor, index: Int32Array, lists = 1): tf.Tensor {
  return gather([x], { index, lists })[0];
}

export const gatherRowsDefinition = gather.definition;

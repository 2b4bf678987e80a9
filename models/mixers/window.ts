import * as tf from '@tensorflow/tfjs-core';

/** A window of attention; 0 stands for the whole extent. */
export interface WindowSize {
  /** Frames; 0 = the whole sequence. */
  readonly frames: number;
  /** Rows of patches; 0 = the whole frame. */
  readonly rows: number;
  /** Columns of patches; 0 = the whole frame. */
  readonly columns: number;
}

/** How the patches of a frame fall into windows. */
export interface WindowLayout {
  /** Windows per frame. */
  readonly windows: number;
  /** Patches per window. */
  readonly patches: number;
  /** Patch indices, window by window; undefined where raster order already is that. */
  readonly order?: Int32Array;
  /** The inverse of `order`. */
  readonly inverse?: Int32Array;
}

/** Throws where windows don't tile the frame; `rows` and `columns` count the frame's patches. */
export function windowLayout(size: WindowSize, rows: number, columns: number): WindowLayout {
  const height = size.rows === 0 ? rows : size.rows;
  const width = size.columns === 0 ? columns : size.columns;
  if (rows % height !== 0 || columns % width !== 0) {
    throw new RangeError(
      `windows of ${height} × ${width} patches do not tile a frame of ${rows} × ${columns} patches`,
    );
  }
  const windows = (rows / height) * (columns / width);
  const patches = height * width;
  if (width === columns) return { windows, patches };
  const order = new Int32Array(rows * columns);
  const inverse = new Int32Array(rows * columns);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const window = Math.floor(row / height) * (columns / width) + Math.floor(column / width);
      const place = window * patches + (row % height) * width + (column % width);
      order[place] = row * columns + column;
      inverse[row * columns + column] = place;
    }
  }
  return { windows, patches, order, inverse };
}

/** Reorders the tokens of `[batch, time, tokens, width]`. */
function permute(x: tf.Tensor, order: Int32Array, inverse: Int32Array): tf.Tensor {
  // `tf.gather` differentiates through a scatter that not every backend has; a permutation's gradient
  // is the inverse permutation.
  return tf.customGrad((input) => ({
    value: tf.gather(input as tf.Tensor, tf.tensor1d(order, 'int32'), 2),
    gradFunc: (dy: tf.Tensor) => tf.gather(dy, tf.tensor1d(inverse, 'int32'), 2),
  }))(x);
}

/**
 * Cuts tokens into groups that attend together.
 *
 * @param x `[batch, time, tokens, width]`; `groupFrames` divides time.
 * @returns `[batch · time/groupFrames · windows, groupFrames, patches, width]`.
 */
export function toWindows(x: tf.Tensor, groupFrames: number, layout: WindowLayout): tf.Tensor {
  const [batch, time, , width] = x.shape;
  const { windows, patches, order, inverse } = layout;
  const ordered = order === undefined ? x : permute(x, order, inverse!);
  const spans = (batch * time) / groupFrames;
  const cut = tf.reshape(ordered, [spans, groupFrames, windows, patches * width]);
  const grouped = windows > 1 && groupFrames > 1 ? tf.transpose(cut, [0, 2, 1, 3]) : cut;
  return tf.reshape(grouped, [spans * windows, groupFrames, patches, width]);
}

/** The inverse of `toWindows`. */
export function fromWindows(
  x: tf.Tensor,
  batch: number,
  time: number,
  groupFrames: number,
  layout: WindowLayout,
): tf.Tensor {
  const width = x.shape[3]!;
  const { windows, patches, order, inverse } = layout;
  const spans = (batch * time) / groupFrames;
  const grouped = tf.reshape(x, [spans, windows, groupFrames, patches * width]);
  const cut = windows > 1 && groupFrames > 1 ? tf.transpose(grouped, [0, 2, 1, 3]) : grouped;
  const tokens = tf.reshape(cut, [batch, time, windows * patches, width]);
  return order === undefined ? tokens : permute(tokens, inverse!, order);
}

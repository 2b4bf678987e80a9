import * as tf from '@tensorflow/tfjs-core';

/**
 * Position embeddings of frames `frame` … `frame + time - 1`. Streams longer than the table start over
 * with its first row.
 *
 * @param table one row per frame of a training clip, `[bins, width]`.
 * @returns `[time, 1, width]`.
 */
export function framePositions(table: tf.Tensor, frame: number, time: number): tf.Tensor {
  const [bins, width] = table.shape;
  const start = frame % bins;
  const parts: tf.Tensor[] = [];
  for (let at = start, left = time; left > 0; at = 0) {
    const length = Math.min(left, bins - at);
    parts.push(tf.slice(table, [at, 0], [length, width]));
    left -= length;
  }
  return tf.expandDims(parts.length === 1 ? parts[0] : tf.concat(parts, 0), 1);
}

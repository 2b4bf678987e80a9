import * as tf from '@tensorflow/tfjs-core';

import { frameTensor, type FrameCount } from '../frames.js';

/**
 * Position embeddings of frames `frame` … `frame + time - 1`. Streams longer than the table start over
 * with its first row.
 *
 * @param table one row per frame of a training clip, `[bins, width]`.
 * @param frame one count, or (for inference) one for each clip.
 * @returns `[time, 1, width]`; `[batch, time, 1, width]` with one count for each clip.
 */
export function framePositions(table: tf.Tensor, frame: FrameCount, time: number): tf.Tensor {
  const [bins, width] = table.shape;
  if (typeof frame !== 'number') {
    const rows = frameTensor(frame, 'positions', (starts) =>
      tf.tensor1d(
        starts.flatMap((start) => Array.from({ length: time }, (_, i) => (start + i) % bins)),
        'int32',
      ),
    );
    return tf.reshape(tf.gather(table, rows), [-1, time, 1, width]);
  }
  const start = frame % bins;
  const parts: tf.Tensor[] = [];
  for (let at = start, left = time; left > 0; at = 0) {
    const length = Math.min(left, bins - at);
    parts.push(tf.slice(table, [at, 0], [length, width]));
    left -= length;
  }
  return tf.expandDims(parts.length === 1 ? parts[0] : tf.concat(parts, 0), 1);
}

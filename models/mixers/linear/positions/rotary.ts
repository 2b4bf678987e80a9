import type * as tf from '@tensorflow/tfjs-core';

import { rotate, type RotaryTable } from '../../rotary.js';
import type { PositionCode, Sizes } from '../slots.js';

/** Angles of tokens `from` … on, over time and, where frames have several patches, rows and columns. */
function table(
  { rows, columns }: Sizes,
  pairs: number,
  frame: number,
  tokens: number,
): RotaryTable {
  const axes = [true, rows > 1, columns > 1];
  const used = [0, 1, 2].filter((axis) => axes[axis]);
  const cosine = new Float32Array(tokens * pairs);
  const sine = new Float32Array(tokens * pairs);
  for (let token = 0; token < tokens; token++) {
    const patch = token % (rows * columns);
    const place = [
      frame + Math.floor(token / (rows * columns)),
      Math.floor(patch / columns),
      patch % columns,
    ];
    for (let pair = 0; pair < pairs; pair++) {
      const axis = used[pair % used.length];
      const index = Math.floor(pair / used.length);
      const angle = place[axis] * 10_000 ** (-index / Math.ceil(pairs / used.length));
      cosine[token * pairs + pair] = Math.cos(angle);
      sine[token * pairs + pair] = Math.sin(angle);
    }
  }
  return { tokens, pairs, cosine, sine };
}

/**
 * Rotary positions of each head's features (Su et al. 2021), pairs going in turn to time, row and column.
 * Products of queries and keys depend on the offset alone.
 */
export function rotary(sizes: Sizes, features: number): PositionCode {
  return {
    features,
    apply(_, { q, k }, { frame }) {
      const turns = table(sizes, features / 2, frame, q.shape[2]!);
      const turn = (x: tf.Tensor): tf.Tensor => rotate(x, turns);
      return { q: turn(q), k: turn(k) };
    },
  };
}

import type * as tf from '@tensorflow/tfjs-core';

import { rotate, type RotaryTable } from '../../rotary.js';
import { placesOf, usedAxes } from './places.js';
import type { PositionCode, Sizes } from '../slots.js';

/** Angles of tokens `from` … on, over time and, where frames have several patches, rows and columns. */
function table(sizes: Sizes, pairs: number, frame: number, tokens: number): RotaryTable {
  const axes = usedAxes(sizes);
  const cosine = new Float32Array(tokens * pairs);
  const sine = new Float32Array(tokens * pairs);
  placesOf(sizes, frame, tokens).forEach((place, token) => {
    for (let pair = 0; pair < pairs; pair++) {
      const axis = axes[pair % axes.length];
      const index = Math.floor(pair / axes.length);
      const angle = place[axis] * 10_000 ** (-index / Math.ceil(pairs / axes.length));
      cosine[token * pairs + pair] = Math.cos(angle);
      sine[token * pairs + pair] = Math.sin(angle);
    }
  });
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

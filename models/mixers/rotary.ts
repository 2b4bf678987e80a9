import * as tf from '@tensorflow/tfjs-core';

/** Angles by token and pair of features, as cosines and sines; both `[tokens, width / 2]`. */
export interface RotaryTable {
  readonly tokens: number;
  readonly pairs: number;
  readonly cosine: Float32Array;
  readonly sine: Float32Array;
}

/**
 * Two-dimensional rotary position embedding: the first half of the pairs turns with a token's row, the
 * other half with its column, each at angles position · base^(-i/m), i = 0 … m-1, m = width/4
 * (Su et al. 2021; over two axes as in MLLA, Han et al. 2024).
 *
 * @param width of all heads together, a multiple of 4.
 */
export function rotaryTable(
  rows: number,
  columns: number,
  width: number,
  base = 10_000,
): RotaryTable {
  const tokens = rows * columns;
  const pairs = width / 2;
  const perAxis = pairs / 2;
  const cosine = new Float32Array(tokens * pairs);
  const sine = new Float32Array(tokens * pairs);
  for (let token = 0; token < tokens; token++) {
    const place = [Math.floor(token / columns), token % columns];
    for (let pair = 0; pair < pairs; pair++) {
      const position = place[Math.floor(pair / perAxis)];
      const angle = position * base ** (-(pair % perAxis) / perAxis);
      cosine[token * pairs + pair] = Math.cos(angle);
      sine[token * pairs + pair] = Math.sin(angle);
    }
  }
  return { tokens, pairs, cosine, sine };
}

/**
 * Turns neighbouring features (2i, 2i+1) as points of a plane by their token's angles.
 *
 * @param x `[…, tokens, width]`.
 * @returns the same shape.
 */
export function rotate(x: tf.Tensor, { tokens, pairs, cosine, sine }: RotaryTable): tf.Tensor {
  const cos = tf.tensor(cosine, [tokens, pairs, 1]);
  const sin = tf.tensor(sine, [tokens, pairs, 1]);
  const [a, b] = tf.split(tf.reshape(x, [-1, tokens, pairs, 2]), 2, 3);
  const turned = tf.concat(
    [tf.sub(tf.mul(a, cos), tf.mul(b, sin)), tf.add(tf.mul(a, sin), tf.mul(b, cos))],
    3,
  );
  return tf.reshape(turned, x.shape);
}

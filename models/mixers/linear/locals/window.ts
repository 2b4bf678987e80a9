import * as tf from '@tensorflow/tfjs-core';

import type { LocalBranch, Sizes } from '../slots.js';

/** Of scores that take no part. */
const excluded = -1e9;

/**
 * Softmax attention to the last `window` tokens, beside the linear memory and with its queries, keys and
 * values (BASED, Arora et al. 2024, has it in layers of its own). Both outputs are added. The state holds
 * the last `window - 1` keys and values.
 */
export function window(sizes: Sizes, { window: size }: { window: number }): LocalBranch {
  const { heads, keyWidth, valueWidth } = sizes;
  const past = size - 1;
  return {
    stateValues: () => heads * past * (keyWidth + valueWidth + 1),
    beside(_, { q, k, v }, state, { mask }) {
      const [batch, , tokens] = q.shape as [number, number, number];
      const ones = tf.ones([batch, heads, tokens, 1]);
      const present = mask === undefined ? ones : tf.mul(ones, mask);
      const joined = (name: string, x: tf.Tensor): tf.Tensor =>
        tf.concat(
          [
            (state?.[name] as tf.Tensor | undefined) ?? tf.zeros([batch, heads, past, x.shape[3]!]),
            x,
          ],
          2,
        );
      const [keys, values, known] = [
        joined('keys', k),
        joined('values', v),
        joined('present', present),
      ];
      const all = past + tokens;
      // Token t stands at past + t among them.
      const near = new Float32Array(tokens * all).map((_, i) => {
        const distance = past + Math.floor(i / all) - (i % all);
        return distance >= 0 && distance < size ? 1 : 0;
      });
      const visible = tf.mul(tf.tensor2d(near, [tokens, all]), tf.transpose(known, [0, 1, 3, 2]));
      const scores = tf.add(
        tf.mul(tf.matMul(q, keys, false, true), keyWidth ** -0.5),
        tf.mul(tf.sub(1, visible), excluded),
      );
      const last = (x: tf.Tensor): tf.Tensor =>
        tf.slice(x, [0, 0, tokens, 0], [batch, heads, past, x.shape[3]!]);
      return {
        out: tf.matMul(tf.softmax(scores), values),
        state: { keys: last(keys), values: last(values), present: last(known) },
      };
    },
    products: (tokens) => ({
      macs: tokens * (past + tokens) * heads * (keyWidth + valueWidth),
      synapses: 0,
    }),
  };
}

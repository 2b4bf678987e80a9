import * as tf from '@tensorflow/tfjs-core';

import { linear } from '../../../../engine/ops/linear.js';
import { silu } from '../../../../engine/ops/silu.js';
import { SaccadeError } from '../../../../engine/support/errors.js';
import { joinHeads, splitHeads } from '../../heads.js';
import type { LocalBranch, Sizes } from '../slots.js';

const size = 3;

/**
 * InLine attention's local branch (Han et al. 2024, section 4.2): a 3 × 3 depthwise convolution of the values
 * in each frame, whose nine weights per channel are made for that frame, by two layers from its mean token.
 * Frames may have any rows and columns.
 */
export function dynamicConvolution({
  width,
  heads,
  valueWidth,
  rows,
  columns,
}: Sizes): LocalBranch {
  const tokens = rows * columns;
  const channels = heads * valueWidth;
  const hidden = Math.max(1, width >> 2);
  const outputs = channels * size * size;
  if (tokens === 1) {
    throw new SaccadeError('config', 'is dynamic; it goes over frames of several patches', {
      field: 'model.mixer.local',
    });
  }
  /** The neighbours of each patch, `[frames, rows · columns, channels, 9]`. */
  const neighbours = (x: tf.Tensor): tf.Tensor => {
    const frames = x.shape[0];
    const padded = tf.pad(x, [
      [0, 0],
      [1, 1],
      [1, 1],
      [0, 0],
    ]);
    return tf.concat(
      Array.from({ length: size * size }, (_, i) => {
        const at = [0, Math.floor(i / size), i % size, 0];
        const moved = tf.slice(padded, at, [frames, rows, columns, channels]);
        return tf.reshape(moved, [frames, tokens, channels, 1]);
      }),
      3,
    );
  };
  return {
    parameters: width * hidden + hidden * outputs + outputs,
    initialise: (initialiser) => ({
      down: initialiser.weight('down', width, hidden),
      up: initialiser.weight('up', hidden, outputs),
      bias: initialiser.normal('bias', [outputs], 1 / size),
    }),
    beside({ down, up, bias }, { v }, _, { x }) {
      const [batch, length] = x.shape as [number, number];
      const frames = (batch * length) / tokens;
      const mean = tf.mean(tf.reshape(x, [frames, tokens, width]), 1);
      const weights = linear(
        silu(linear(mean, down as tf.Tensor)),
        up as tf.Tensor,
        bias as tf.Tensor,
      );
      const values = tf.reshape(joinHeads(v), [frames, rows, columns, channels]);
      const near = tf.transpose(neighbours(values), [0, 2, 1, 3]);
      const out = tf.matMul(near, tf.reshape(weights, [frames, channels, size * size, 1]));
      const byToken = tf.transpose(tf.reshape(out, [frames, channels, tokens]), [0, 2, 1]);
      return { out: splitHeads(tf.reshape(byToken, [batch, length, channels]), heads) };
    },
    products: (count) => ({
      macs: (count / tokens) * (width * hidden + hidden * outputs) + count * channels * size * size,
      synapses: 0,
    }),
  };
}

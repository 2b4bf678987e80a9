import * as tf from '@tensorflow/tfjs-core';

import { defineFusedOp, type Attributes, type FloatArray, type HostKernel } from '../fused.js';

/** Largest logit of a row, and the logarithm of Σ e^(logit - largest). */
function logSum(x: FloatArray, at: number, classes: number): { most: number; log: number } {
  let most = -Infinity;
  for (let k = 0; k < classes; k++) most = Math.max(most, x[at + k]);
  let sum = 0;
  for (let k = 0; k < classes; k++) sum += Math.exp(x[at + k] - most);
  return { most, log: Math.log(sum) };
}

const forward: HostKernel<Attributes> = {
  outputShapes: ([[rows]]) => [[rows]],
  run([logits, targets], [loss], [[rows, classes]]) {
    for (let r = 0, at = 0; r < rows; r++) {
      const { most, log } = logSum(logits, at, classes);
      let sum = 0;
      for (let k = 0; k < classes; k++, at++) sum += targets[at] * (log - (logits[at] - most));
      loss[r] = sum;
    }
  },
};

const backward: HostKernel<Attributes> = {
  outputShapes: ([logits]) => [[...logits], [...logits]],
  run([logits, targets, dLoss], [dLogits, dTargets], [[rows, classes]]) {
    for (let r = 0; r < rows; r++) {
      const at = r * classes;
      const { most, log } = logSum(logits, at, classes);
      let total = 0;
      for (let k = 0; k < classes; k++) total += targets[at + k];
      for (let k = 0; k < classes; k++) {
        const logProbability = logits[at + k] - most - log;
        dLogits[at + k] = dLoss[r] * (total * Math.exp(logProbability) - targets[at + k]);
        dTargets[at + k] = -dLoss[r] * logProbability;
      }
    }
  },
};

const op = defineFusedOp<Attributes>({
  name: 'SoftmaxCrossEntropy',
  forward,
  backward,
  reference: ([logits, targets]) => [
    tf.neg(tf.sum(tf.mul(targets, tf.logSoftmax(logits, -1)), -1)),
  ],
});

/**
 * Cross-entropy of softmax probabilities with targets, -Σₖ targetₖ · log softmax(logits)ₖ, in nats
 * (Goodfellow et al. 2016, sec. 6.2.2.3). The largest logit is taken off first: no overflow.
 *
 * @param logits `[…, classes]`.
 * @param targets class probabilities, shape of `logits`.
 * @returns `[…]`, one value for each row.
 */
export function softmaxCrossEntropy(logits: tf.Tensor, targets: tf.Tensor): tf.Tensor {
  const classes = logits.shape[logits.rank - 1];
  const [loss] = op([tf.reshape(logits, [-1, classes]), tf.reshape(targets, [-1, classes])], {});
  return tf.reshape(loss, logits.shape.slice(0, -1));
}

export const softmaxCrossEntropyDefinition = op.definition;

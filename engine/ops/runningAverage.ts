import * as tf from '@tensorflow/tfjs-core';

import { defineFusedOp, type Attributes } from '../fused.js';
import { finiteUpdate, isFiniteUpdate, type UpdateControl } from './adamw.js';

const op = defineFusedOp<Attributes>({
  name: 'RunningAverages',
  forward: {
    outputShapes: ([, , , ...shapes]) =>
      shapes.filter((_, i) => i % 2 === 0).map((shape) => [...shape]),
    run([settings, loss, norms, ...tensors], outputs) {
      const share = isFiniteUpdate(loss, norms) ? settings[2] : 0;
      outputs.forEach((next, a) => {
        const [average, current] = tensors.slice(2 * a);
        if (share === 0) next.set(average);
        else
          for (let i = 0; i < next.length; i++)
            next[i] = (1 - share) * average[i] + share * current[i];
      });
    },
  },
  reference([settings, loss, norms, ...tensors]) {
    const share = tf.reshape(tf.slice(settings, [2], [1]), []);
    const finite = finiteUpdate(loss, norms);
    return tensors
      .filter((_, i) => i % 2 === 0)
      .map((average, a) => {
        const kept = tf.mul(tf.sub(1, share), average);
        return tf.where(finite, tf.add(kept, tf.mul(share, tensors[2 * a + 1])), average);
      });
  },
});

/**
 * Running averages after one more value of each: (1 - share) · average + share · value, with the share of `control`. The
 * averages given are used up, as the states of `adamw` are.
 *
 * @param values one for each average, of its shape.
 */
export function runningAverages(
  averages: readonly tf.Tensor[],
  values: readonly tf.Tensor[],
  { settings, loss, norms }: UpdateControl,
): tf.Tensor[] {
  if (averages.length === 0) return [];
  const tensors = averages.flatMap((average, i) => [average, values[i]]);
  return op([settings, loss, norms, ...tensors], {});
}

export const runningAveragesDefinition = op.definition;

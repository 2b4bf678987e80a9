import * as tf from '@tensorflow/tfjs-core';

import { defineFusedOp, type Attributes, type HostKernel } from '../fused.js';

/** Φ(x), the normal distribution's share below x, by erfc (Abramowitz & Stegun 7.1.26, to 1.5e-7). */
function normalBelow(x: number): number {
  const t = 1 / (1 + 0.3275911 * Math.SQRT1_2 * Math.abs(x));
  const p =
    (((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592;
  const tail = 0.5 * p * t * Math.exp(-0.5 * x * x);
  return x < 0 ? tail : 1 - tail;
}

const forward: HostKernel<Attributes> = {
  outputShapes: ([x]) => [[...x]],
  run([x], [y]) {
    for (let i = 0; i < x.length; i++) y[i] = x[i] * normalBelow(x[i]);
  },
};

const backward: HostKernel<Attributes> = {
  outputShapes: ([x]) => [[...x]],
  run([x, dy], [dx]) {
    for (let i = 0; i < x.length; i++) {
      const density = Math.exp(-0.5 * x[i] * x[i]) / Math.sqrt(2 * Math.PI);
      dx[i] = dy[i] * (normalBelow(x[i]) + x[i] * density);
    }
  },
};

const op = defineFusedOp<Attributes>({
  name: 'Gelu',
  forward,
  backward,
  reference: ([x]) => [tf.mul(tf.mul(0.5, x), tf.add(1, tf.erf(tf.mul(Math.SQRT1_2, x))))],
});

/** GELU in its exact form, x · Φ(x) = x/2 · (1 + erf(x/√2)) (Hendrycks & Gimpel 2016), any shape. */
export function gelu(x: tf.Tensor): tf.Tensor {
  return op([x], {})[0];
}

export const geluDefinition = op.definition;

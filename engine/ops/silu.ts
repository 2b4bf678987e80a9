import * as tf from '@tensorflow/tfjs-core';

import { defineFusedOp, type Attributes, type HostKernel } from '../fused.js';

const siluForward: HostKernel<Attributes> = {
  outputShapes: ([x]) => [[...x]],
  run([x], [y]) {
    for (let i = 0; i < x.length; i++) y[i] = x[i] / (1 + Math.exp(-x[i]));
  },
};

const siluBackward: HostKernel<Attributes> = {
  outputShapes: ([x]) => [[...x]],
  run([x, dy], [dx]) {
    for (let i = 0; i < x.length; i++) {
      const s = 1 / (1 + Math.exp(-x[i]));
      dx[i] = dy[i] * s * (1 + x[i] * (1 - s));
    }
  },
};

const siluOp = defineFusedOp<Attributes>({
  name: 'Silu',
  forward: siluForward,
  backward: siluBackward,
  reference: ([x]) => [tf.mul(x, tf.sigmoid(x))],
});

const gateForward: HostKernel<Attributes> = {
  outputShapes: ([x]) => [[...x]],
  run([x, gate], [y]) {
    for (let i = 0; i < x.length; i++) {
      // A spiking main branch is mostly zero; the exponential is the cost here.
      if (x[i] !== 0) y[i] = (x[i] * gate[i]) / (1 + Math.exp(-gate[i]));
    }
  },
};

const gateBackward: HostKernel<Attributes> = {
  outputShapes: ([x, gate]) => [[...x], [...gate]],
  run([x, gate, dy], [dx, dGate]) {
    for (let i = 0; i < x.length; i++) {
      const s = 1 / (1 + Math.exp(-gate[i]));
      dx[i] = dy[i] * gate[i] * s;
      dGate[i] = dy[i] * x[i] * s * (1 + gate[i] * (1 - s));
    }
  },
};

const gateOp = defineFusedOp<Attributes>({
  name: 'SiluGate',
  forward: gateForward,
  backward: gateBackward,
  reference: ([x, gate]) => [tf.mul(x, tf.mul(gate, tf.sigmoid(gate)))],
});

/** SiLU, x · sigmoid(x) (Hendrycks & Gimpel 2016), any shape. */
export function silu(x: tf.Tensor): tf.Tensor {
  return siluOp([x], {})[0];
}

/** A gated branch: x · SiLU(gate); both of one shape. */
export function siluGate(x: tf.Tensor, gate: tf.Tensor): tf.Tensor {
  return gateOp([x, gate], {})[0];
}

export const siluDefinition = siluOp.definition;
export const siluGateDefinition = gateOp.definition;

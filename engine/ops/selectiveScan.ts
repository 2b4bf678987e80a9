import * as tf from '@tensorflow/tfjs-core';

import { defineFusedOp, type Attributes, type HostKernel } from '../fused.js';
import { timeSteps } from './timeSteps.js';

/** Direction of the recurrence. */
export interface ScanConfig extends Attributes {
  /** Runs from the last step to the first; the state then is the one *after* the sequence. */
  readonly reverse: boolean;
}

const forward: HostKernel<ScanConfig> = {
  outputShapes: ([u, , , , , , , state]) => [[...u], [...state]],
  run(
    [u, delta, A, B, C, D, deltaBias, initial, z],
    [y, last],
    [[batch, length, channels], , [, states]],
    { reverse },
  ) {
    const h = new Float64Array(states);
    for (let b = 0; b < batch; b++) {
      for (let e = 0; e < channels; e++) {
        const stateAt = (b * channels + e) * states;
        const aAt = e * states;
        const bias = deltaBias[e];
        const skip = D[e];
        for (let s = 0; s < states; s++) h[s] = initial[stateAt + s];
        for (let step = 0; step < length; step++) {
          const row = b * length + (reverse ? length - 1 - step : step);
          const at = row * channels + e;
          const mixAt = row * states;
          const input = u[at];
          const dt = softplus(delta[at] + bias);
          const drive = dt * input;
          let output = skip * input;
          for (let s = 0; s < states; s++) {
            const value = Math.exp(dt * A[aAt + s]) * h[s] + drive * B[mixAt + s];
            h[s] = value;
            output += C[mixAt + s] * value;
          }
          y[at] = z === undefined ? output : output * siluOf(z[at]);
        }
        for (let s = 0; s < states; s++) last[stateAt + s] = h[s];
      }
    }
  },
};

const backward: HostKernel<ScanConfig> = {
  outputShapes: (shapes) => shapes.slice(0, -2).map((shape) => [...shape]),
  run(
    tensors,
    [dU, dDelta, dA, dB, dC, dD, dBias, dInitial, dZ],
    [[batch, length, channels], , [, states]],
    { reverse },
  ) {
    const [u, delta, A, B, C, D, deltaBias, initial] = tensors;
    const z = tensors.length > 10 ? tensors[8] : undefined;
    const [yGradient, lastGradient] = tensors.slice(-2);
    // States and decays are computed again, one channel at a time, rather than kept from the forward
    // pass: length × states numbers instead of batch × channels times as many.
    const h = new Float64Array((length + 1) * states);
    const decay = new Float64Array(length * states);
    const dh = new Float64Array(states);
    const dAChannel = new Float64Array(states);
    for (let e = 0; e < channels; e++) {
      const aAt = e * states;
      const bias = deltaBias[e];
      dAChannel.fill(0);
      for (let b = 0; b < batch; b++) {
        const stateAt = (b * channels + e) * states;
        for (let s = 0; s < states; s++) h[s] = initial[stateAt + s];
        for (let step = 0; step < length; step++) {
          const row = b * length + (reverse ? length - 1 - step : step);
          const at = row * channels + e;
          const mixAt = row * states;
          const dt = softplus(delta[at] + bias);
          const drive = dt * u[at];
          const hAt = step * states;
          for (let s = 0; s < states; s++) {
            const a = Math.exp(dt * A[aAt + s]);
            decay[hAt + s] = a;
            h[hAt + states + s] = a * h[hAt + s] + drive * B[mixAt + s];
          }
        }
        for (let s = 0; s < states; s++) dh[s] = lastGradient[stateAt + s];
        for (let step = length - 1; step >= 0; step--) {
          const row = b * length + (reverse ? length - 1 - step : step);
          const at = row * channels + e;
          const mixAt = row * states;
          const hAt = step * states;
          const input = u[at];
          const raw = delta[at] + bias;
          const dt = softplus(raw);
          let dy = yGradient[at];
          if (z !== undefined) {
            let ungated = D[e] * input;
            for (let s = 0; s < states; s++) ungated += C[mixAt + s] * h[hAt + states + s];
            const sigmoid = 1 / (1 + Math.exp(-z[at]));
            dZ[at] = dy * ungated * sigmoid * (1 + z[at] * (1 - sigmoid));
            dy *= siluOf(z[at]);
          }
          let dDt = 0;
          let dDrive = 0;
          for (let s = 0; s < states; s++) {
            const a = decay[hAt + s];
            const dState = dh[s] + dy * C[mixAt + s];
            dC[mixAt + s] += dy * h[hAt + states + s];
            const dLog = dState * a * h[hAt + s];
            dAChannel[s] += dLog * dt;
            dDt += dLog * A[aAt + s];
            dDrive += dState * B[mixAt + s];
            dB[mixAt + s] += dState * dt * input;
            dh[s] = dState * a;
          }
          dDt += dDrive * input;
          dU[at] = dDrive * dt + dy * D[e];
          dD[e] += dy * input;
          const dRaw = dDt / (1 + Math.exp(-raw));
          dDelta[at] = dRaw;
          dBias[e] += dRaw;
        }
        for (let s = 0; s < states; s++) dInitial[stateAt + s] = dh[s];
      }
      for (let s = 0; s < states; s++) dA[aAt + s] = dAChannel[s];
    }
  },
};

/** log(1 + eˣ) without overflow. */
function softplus(x: number): number {
  return x > 20 ? x : Math.log1p(Math.exp(x));
}

function siluOf(x: number): number {
  return x / (1 + Math.exp(-x));
}

// TensorFlow.js fixes the number of a kernel's inputs, so the gated scan is a kernel of its own.
const [plain, gated] = ['SelectiveScan', 'GatedSelectiveScan'].map((name) =>
  defineFusedOp<ScanConfig>({
    name,
    forward,
    backward,
    reference,
    outputCount: 2,
    saveOutputs: [false, false, true],
  }),
);

function reference(
  [u, delta, A, B, C, D, deltaBias, initial, z]: readonly tf.Tensor[],
  { reverse }: ScanConfig,
): tf.Tensor[] {
  const rows = (x: tf.Tensor): tf.Tensor[] => {
    const steps = timeSteps(x);
    return reverse ? steps.reverse() : steps;
  };
  const [us, deltas, Bs, Cs] = [u, delta, B, C].map(rows);
  let h = initial;
  const ys = us.map((input, t) => {
    const dt = tf.expandDims(tf.softplus(tf.add(deltas[t], deltaBias)), -1);
    const drive = tf.mul(dt, tf.expandDims(input, -1));
    h = tf.add(tf.mul(tf.exp(tf.mul(dt, A)), h), tf.mul(drive, tf.expandDims(Bs[t], 1)));
    return tf.add(tf.sum(tf.mul(h, tf.expandDims(Cs[t], 1)), -1), tf.mul(D, input));
  });
  const y = tf.stack(reverse ? ys.reverse() : ys, 1);
  return [z === undefined ? y : tf.mul(y, tf.mul(z, tf.sigmoid(z))), h];
}

/** What the scan runs over; `channels` is the paper's D, `states` its N. */
export interface ScanInputs {
  /** Input sequence, `[batch, length, channels]`. */
  readonly u: tf.Tensor;
  /** Step size before softplus, `[batch, length, channels]`. */
  readonly delta: tf.Tensor;
  /** Diagonal of the state matrix, negative, `[channels, states]`. */
  readonly A: tf.Tensor;
  /** Input matrix per step, `[batch, length, states]`. */
  readonly B: tf.Tensor;
  /** Output matrix per step, `[batch, length, states]`. */
  readonly C: tf.Tensor;
  /** Skip connection, `[channels]`. */
  readonly D: tf.Tensor;
  /** Added to `delta` before softplus, `[channels]`. */
  readonly deltaBias: tf.Tensor;
  /** Gate, `[batch, length, channels]`: the output is multiplied by SiLU(z). */
  readonly z?: tf.Tensor;
}

/**
 * Selective state space (S6) of Mamba (Gu & Dao 2023, Algorithm 2, eqs. 2a-2b with zero-order hold for
 * A and the Euler step for B, as in the authors' code):
 *
 *     Δ[t] = softplus(delta[t] + deltaBias)
 *     h[t] = exp(Δ[t] A) h[t-1] + Δ[t] B[t] u[t],   h[-1] = `state`
 *     y[t] = (C[t] · h[t] + D u[t]) · SiLU(z[t]), without the factor where there is no gate
 *
 * @param state `[batch, channels, states]`.
 * @returns y, `[batch, length, channels]`, and the state after the last step.
 */
export function selectiveScan(
  { u, delta, A, B, C, D, deltaBias, z }: ScanInputs,
  state: tf.Tensor,
  config: ScanConfig = { reverse: false },
): { y: tf.Tensor; state: tf.Tensor } {
  const inputs = [u, delta, A, B, C, D, deltaBias, state];
  const [y, last] = z === undefined ? plain(inputs, config) : gated([...inputs, z], config);
  return { y, state: last };
}

export const selectiveScanDefinition = plain.definition;
export const gatedSelectiveScanDefinition = gated.definition;

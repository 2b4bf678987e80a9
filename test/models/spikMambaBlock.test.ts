import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';

import { selectBackend } from '../../engine/backend.js';
import { defaultLif } from '../../engine/ops/lif.js';
import { createRandom } from '../../engine/support/random.js';
import {
  initialiseSpikMambaBlock,
  spikMambaBlock,
  type SpikMambaBlockConfig,
  type SpikMambaBlockParameters,
} from '../../models/blocks/spikMambaBlock.js';
import { inference } from '../../models/context.js';
import { flatten, Initialiser, unflatten, type ParameterTree } from '../../models/parameters.js';
import { bestBackend } from '../engine/backends.js';

// The block's equations once more, one clip at a time, as loops over double-precision numbers. Nothing
// is shared with the code under test but the parameters.

type Matrix = number[][];
/** Tokens of a clip, `[time][token][feature]`. */
type Tokens = number[][][];
type Neurons = SpikMambaBlockParameters['attention']['queryNeurons'];

const neuron = { ...defaultLif, tau: 1.6, decayInput: false };
const batch = 2;
const time = 5;
const [rows, columns, width, hidden] = [2, 4, 8, 10];
const tokenCount = rows * columns;

/** Distance of the membrane nearest to the threshold: rounding must not decide over a spike. */
let margin: number;

const matrix = (tensor: tf.Tensor): Matrix => tensor.arraySync() as Matrix;
const vector = (tensor: tf.Tensor): number[] => tensor.arraySync() as number[];
const silu = (x: number): number => x / (1 + Math.exp(-x));
const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
const map = (x: Tokens, change: (token: number[], t: number, n: number) => number[]): Tokens =>
  x.map((frame, t) => frame.map((token, n) => change(token, t, n)));

function linear(x: Tokens, weight: tf.Tensor): Tokens {
  const w = matrix(weight);
  return map(x, (token) => w[0].map((_, o) => sum(token.map((value, i) => value * w[i][o]))));
}

function rmsNorm(x: Tokens, scale: tf.Tensor): Tokens {
  const s = vector(scale);
  return map(x, (token) => {
    const root = Math.sqrt(sum(token.map((v) => v * v)) / token.length + 1e-5);
    return token.map((v, f) => (v / root) * s[f]);
  });
}

/** SNN(·): normalisation with running statistics, then H = V (1 - 1/τ) + X, spike at 1, hard reset. */
function snn({ scale, shift, runningMean, runningVariance }: Neurons, x: Tokens): Tokens {
  const [a, b, mean, variance] = [scale, shift, runningMean, runningVariance].map(vector);
  const membranes = x[0].map((token) => token.map(() => 0));
  return map(x, (token, _, n) =>
    token.map((value, f) => {
      const normal = ((value - mean[f]) / Math.sqrt(variance[f] + 1e-5)) * a[f] + b[f];
      const h = membranes[n][f] * (1 - 1 / neuron.tau) + normal;
      margin = Math.min(margin, Math.abs(h - 1));
      membranes[n][f] = h >= 1 ? 0 : h;
      return h >= 1 ? 1 : 0;
    }),
  );
}

function gated(x: Tokens, gate: Tokens): Tokens {
  return map(x, (token, t, n) => token.map((value, f) => value * silu(gate[t][n][f])));
}

function attention(
  parameters: SpikMambaBlockParameters['attention'],
  x: Tokens,
  { heads, window, causal, epsilon }: SpikMambaBlockConfig['attention'],
): Tokens {
  const entered = linear(x, parameters.input);
  const kernel = parameters.convolutionWeight.arraySync() as number[][][];
  const bias = vector(parameters.convolutionBias);
  const u = map(entered, (token, t, n) =>
    token.map((_, f) => {
      let value = bias[f];
      for (let dy = -1; dy <= 1; dy++) {
        for (let dx = -1; dx <= 1; dx++) {
          const [row, column] = [Math.floor(n / columns) + dy, (n % columns) + dx];
          if (row < 0 || row >= rows || column < 0 || column >= columns) continue;
          value += kernel[dy + 1][dx + 1][f] * entered[t][row * columns + column][f];
        }
      }
      return silu(value);
    }),
  );
  const q = snn(parameters.queryNeurons, linear(u, parameters.query));
  const k = snn(parameters.keyNeurons, linear(u, parameters.key));
  const windowOf = (t: number, n: number): string => {
    const along = (position: number, size: number): number =>
      size === 0 ? 0 : Math.floor(position / size);
    return [
      along(t, window.frames),
      along(Math.floor(n / columns), window.rows),
      along(n % columns, window.columns),
    ].join();
  };
  const headWidth = width / heads;
  const mixed = map(u, (token, t, n) =>
    token.map((_, f) => {
      const head = Math.floor(f / headWidth);
      let [numerator, normaliser] = [0, epsilon];
      for (let s = 0; s <= (causal ? t : time - 1); s++) {
        for (let m = 0; m < tokenCount; m++) {
          if (windowOf(s, m) !== windowOf(t, n)) continue;
          let score = 0;
          for (let i = head * headWidth; i < (head + 1) * headWidth; i++) {
            score += q[t][n][i] * k[s][m][i];
          }
          numerator += score * u[s][m][f];
          normaliser += score;
        }
      }
      return numerator / normaliser;
    }),
  );
  const spikes = snn(parameters.outputNeurons, mixed);
  return linear(gated(spikes, linear(x, parameters.gate)), parameters.output);
}

/** Convolution, SiLU and the recurrence of one direction; `order` lists (t, n) as the scan meets them. */
function scan(
  parameters: SpikMambaBlockParameters['mamba']['forward'],
  x: Tokens,
  order: readonly (readonly [t: number, n: number])[],
  { channels, states, deltaRank, taps }: SpikMambaBlockConfig['mamba'],
  out: Tokens,
): void {
  const kernel = matrix(parameters.convolutionWeight);
  const [bias, deltaBias, skip] = [
    parameters.convolutionBias,
    parameters.deltaBias,
    parameters.skip,
  ].map(vector);
  const [projection, deltaProjection, logA] = [
    parameters.projection,
    parameters.deltaProjection,
    parameters.logA,
  ].map(matrix);
  const h = Array.from({ length: channels }, () => Array<number>(states).fill(0));
  order.forEach(([t, n], step) => {
    const u = bias.map((offset, e) => {
      let value = offset;
      for (let back = 0; back < taps && back <= step; back++) {
        const [s, m] = order[step - back];
        value += kernel[taps - 1 - back][e] * x[s][m][e];
      }
      return silu(value);
    });
    const projected = projection[0].map((_, o) =>
      sum(u.map((value, e) => value * projection[e][o])),
    );
    const B = projected.slice(deltaRank, deltaRank + states);
    const C = projected.slice(deltaRank + states);
    for (let e = 0; e < channels; e++) {
      let delta = deltaBias[e];
      for (let r = 0; r < deltaRank; r++) delta += projected[r] * deltaProjection[r][e];
      delta = Math.log1p(Math.exp(delta));
      for (let s = 0; s < states; s++) {
        h[e][s] = Math.exp(-delta * Math.exp(logA[e][s])) * h[e][s] + delta * B[s] * u[e];
      }
      out[t][n][e] += sum(h[e].map((value, s) => value * C[s])) + skip[e] * u[e];
    }
  });
}

function mamba(
  parameters: SpikMambaBlockParameters['mamba'],
  x: Tokens,
  config: SpikMambaBlockConfig['mamba'],
): Tokens {
  const entered = snn(parameters.inputNeurons, linear(x, parameters.input));
  const tokens = x[0].length;
  const frames = Array.from({ length: time }, (_, t) => t);
  const places = Array.from({ length: tokens }, (_, n) => n);
  const sequences =
    config.scanOrder === 'frame'
      ? [frames.flatMap((t) => places.map((n) => [t, n] as const))]
      : places.map((n) => frames.map((t) => [t, n] as const));
  const mixed = map(entered, (token) => token.map(() => 0));
  for (const order of sequences) {
    scan(parameters.forward, entered, order, config, mixed);
    if (parameters.backward !== undefined) {
      scan(parameters.backward, entered, [...order].reverse(), config, mixed);
    }
  }
  const left = snn(parameters.outputNeurons, mixed);
  return linear(gated(left, linear(x, parameters.gate)), parameters.output);
}

/** y = x + SpikeMamba(SLA(x)), z = y + FFN(y); a class token passes SLA by. */
function naiveBlock(
  parameters: SpikMambaBlockParameters,
  x: Tokens,
  config: SpikMambaBlockConfig,
): Tokens {
  const add = (a: Tokens, b: Tokens): Tokens =>
    map(a, (token, t, n) => token.map((value, f) => value + b[t][n][f]));
  const normal = rmsNorm(x, parameters.mixerNorm);
  const patches = normal.map((frame) => frame.slice(0, tokenCount));
  const attended = attention(parameters.attention, patches, config.attention);
  const joined = attended.map((frame, t) => [...frame, ...normal[t].slice(tokenCount)]);
  const y = add(x, mamba(parameters.mamba, joined, config.mamba));
  const { input, neurons, output } = parameters.feedForward;
  const inner = snn(neurons, linear(rmsNorm(y, parameters.feedForwardNorm), input));
  return add(y, linear(inner, output));
}

/** Parameters with all that starts as 0 or 1 moved off it, so that each of them counts. */
function drawParameters(config: SpikMambaBlockConfig): SpikMambaBlockParameters {
  const leaves = flatten(
    initialiseSpikMambaBlock(new Initialiser(1), config) as unknown as ParameterTree,
  );
  for (const [path, tensor] of leaves) {
    const random = createRandom(2, path);
    const shift = tf.tensor(
      Float32Array.from({ length: tensor.size }, () => 0.3 * random.uniform()),
      tensor.shape,
    );
    leaves.set(path, tf.add(tensor, shift));
  }
  return unflatten(leaves) as unknown as SpikMambaBlockParameters;
}

describe('spikMambaBlock', () => {
  beforeAll(async () => {
    await selectBackend(bestBackend);
  });

  it.each([
    { mode: 'causal', scanOrder: 'frame', window: [1, 0, 0], classToken: false },
    { mode: 'causal', scanOrder: 'frame', window: [2, 2, 2], classToken: true },
    { mode: 'causal', scanOrder: 'tube', window: [0, 1, 4], classToken: false },
    { mode: 'bidirectional', scanOrder: 'frame', window: [2, 1, 2], classToken: false },
    { mode: 'bidirectional', scanOrder: 'tube', window: [0, 0, 0], classToken: true },
  ] as const)(
    'equals its equations: $mode, $scanOrder, windows of $window, class token $classToken',
    ({ mode, scanOrder, window: [frames, windowRows, windowColumns], classToken }) => {
      const causal = mode === 'causal';
      const config: SpikMambaBlockConfig = {
        attention: {
          width,
          heads: 2,
          rows,
          columns,
          window: { frames, rows: windowRows, columns: windowColumns },
          causal,
          epsilon: 0.7,
          neuron,
        },
        mamba: {
          width,
          channels: 12,
          states: 3,
          deltaRank: 2,
          taps: 3,
          scanOrder,
          bidirectional: !causal,
          neuron,
        },
        feedForward: { width, hidden, neuron },
      };
      tf.tidy(() => {
        const parameters = drawParameters(config);
        const tokens = tokenCount + (classToken ? 1 : 0);
        const x = tf.randomNormal([batch, time, tokens, width], 0, 1, 'float32', 3);
        const { output } = spikMambaBlock(parameters, x, undefined, 0, config, inference);
        const actual = output.arraySync() as Tokens[];
        (x.arraySync() as Tokens[]).forEach((clip, b) => {
          margin = Infinity;
          const expected = naiveBlock(parameters, clip, config);
          expect(margin).toBeGreaterThan(1e-5);
          const differences = expected.flatMap((frame, t) =>
            frame.flatMap((token, n) => token.map((v, f) => Math.abs(v - actual[b][t][n][f]))),
          );
          expect(Math.max(...differences)).toBeLessThan(1e-4);
        });
      });
    },
  );
});

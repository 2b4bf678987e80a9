import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';

import { linear } from '../../../engine/ops/linear.js';
import { SaccadeError } from '../../../engine/support/errors.js';
import type { ParameterTree } from '../../parameters.js';
import { gatedProjection, outputGateField } from '../outputGates.js';
import { inSegments } from '../segments.js';
import { defineMixer, trafficBytes, type MixerShape } from '../tokenMixer.js';
import { fromWindows, toWindows, windowLayout, type WindowLayout } from '../window.js';

interface Parameters extends ParameterTree {
  /** `[width, width]`. */
  readonly query: tf.Tensor;
  readonly key: tf.Tensor;
  readonly value: tf.Tensor;
  /** A window's mean token to its scale and offset in each head, `[width, heads · 4]`; zero at first. */
  readonly windows: tf.Tensor;
  /** Added to the scores in each head, `[heads, patches of a window, patches of a window]`; zero at first. */
  readonly bias: tf.Tensor;
}

/** A plain window's middle and each of its patches' place relative to it, in patches: row and column. */
interface Places {
  readonly middles: number[][];
  readonly relative: number[][];
  /** Half a window: the unit of offsets. */
  readonly half: number[];
}

/**
 * Varied-size window attention (VSA; Zhang et al. 2022), in each frame: from its mean token, a window learns how far to
 * scale and shift the grid of places where its head reads keys and values, `place = middle + offset · half a window +
 * relative · (1 + scale)`, between patches by bilinear interpolation. A place counts by the share of it that lies on real patches, neither outside
 * the frame nor on padding. With a zero head it is plain window attention.
 */
export const varyingWindows = defineMixer({
  name: 'varyingWindows',
  paper: 'Zhang et al., VSA: Learning Varied-Size Window Attention, 2022',
  fields: {
    /** Patches of a window; 0 = the whole frame. */
    rows: z.number().int().min(0).default(0),
    columns: z.number().int().min(0).default(0),
    outputGate: outputGateField,
  },
  create({ outputGate, ...size }, shape) {
    const projection = gatedProjection(outputGate, shape);
    const { width, heads, rows, columns } = shape;
    const layout = layoutOf(size, shape);
    const { windows, patches: area } = layout;
    const tokens = rows * columns;
    const headWidth = width / heads;
    const places = placesOf(layout, shape);
    return {
      name: 'varyingWindows',
      shape,
      causal: true,
      tokenCausal: tokens === 1,
      streaming: true,
      mixesTokens: tokens > 1,
      forms: ['parallel', 'chunked', 'step'],
      initialise: (initialiser): ParameterTree => ({
        query: initialiser.weight('query', width, width),
        key: initialiser.weight('key', width, width),
        value: initialiser.weight('value', width, width),
        ...projection.initialise(initialiser),
        windows: initialiser.constant([width, heads * 4], 0),
        bias: initialiser.constant([heads, area, area], 0),
      }),
      apply: (tree, x, state, _, options = {}) =>
        inSegments(x, state, shape, options, (segment) => {
          const parameters = tree as Parameters;
          const [batch, count] = segment.x.shape as [number, number];
          const frames = (batch * count) / tokens;
          const real = tf.reshape(segment.mask ?? tf.ones([batch, count]), [frames, tokens, 1]);
          const framed = tf.reshape(segment.x, [frames, tokens, width]);
          /** `[frames, windows, patches of a window, features]`. */
          const windowed = (y: tf.Tensor): tf.Tensor =>
            tf.reshape(toWindows(tf.reshape(y, [frames, 1, tokens, y.shape[2]!]), 1, layout), [
              frames,
              windows,
              area,
              y.shape[2]!,
            ]);
          const byHead = (y: tf.Tensor): tf.Tensor =>
            tf.transpose(tf.reshape(y, [frames, -1, heads, headWidth]), [0, 2, 1, 3]);

          // The mean over a window's real tokens.
          const sums = tf.sum(windowed(tf.mul(framed, real)), 2);
          const counts = tf.sum(windowed(real), 2);
          const mean = tf.leakyRelu(tf.div(sums, tf.maximum(counts, 1)), 0.01);
          const moved = tf.reshape(linear(mean, parameters.windows), [frames, windows, heads, 4]);
          const weights = bilinear(tf.transpose(moved, [0, 2, 1, 3]), places, shape);
          const sample = (y: tf.Tensor): tf.Tensor =>
            tf.reshape(tf.matMul(weights, y), [frames, heads, windows, area, y.shape[3]!]);
          const keys = sample(byHead(tf.mul(linear(framed, parameters.key), real)));
          const values = sample(byHead(tf.mul(linear(framed, parameters.value), real)));
          const seen = sample(tf.tile(tf.expandDims(real, 1), [1, heads, 1, 1]));

          const queries = tf.transpose(
            tf.reshape(windowed(linear(framed, parameters.query)), [frames, windows, area, heads, headWidth]), // prettier-ignore
            [0, 3, 1, 2, 4],
          );
          const bias = tf.reshape(parameters.bias, [1, heads, 1, area, area]);
          const scores = tf.add(
            tf.mul(tf.matMul(queries, keys, false, true), headWidth ** -0.5),
            tf.add(
              bias,
              tf.reshape(tf.log(tf.maximum(seen, 1e-6)), [frames, heads, windows, 1, area]),
            ),
          );
          const mixed = tf.transpose(tf.matMul(tf.softmax(scores), values), [0, 2, 3, 1, 4]);
          const joined = fromWindows(
            tf.reshape(mixed, [frames * windows, 1, area, width]),
            frames,
            1,
            1,
            layout,
          );
          const gathered = tf.reshape(joined, segment.x.shape);
          const output = projection.apply(parameters, segment.x, gathered);
          return { output, state: undefined };
        }),
      cost(count) {
        const own = 3 * width ** 2 + width * heads * 4 + heads * area ** 2;
        const parameters = own + projection.parameters;
        const perFrame =
          windows * width * heads * 4 +
          windows * area * tokens * (2 * width + heads) +
          2 * windows * area ** 2 * width;
        return {
          parameters,
          macs: count * (3 * width ** 2 + projection.parameters) + (count / tokens) * perFrame,
          synapses: 0,
          stateBytes: 0,
          trafficBytes: trafficBytes(parameters, count, shape, 0),
        };
      },
    };
  },
});

function layoutOf(
  size: { readonly rows: number; readonly columns: number },
  { rows, columns }: MixerShape,
): WindowLayout {
  try {
    return windowLayout({ frames: 1, ...size }, rows, columns);
  } catch (error) {
    throw new SaccadeError('config', (error as Error).message, { field: 'mixer.rows' });
  }
}

function placesOf({ windows, patches, order }: WindowLayout, { columns }: MixerShape): Places {
  const place = (at: number): [number, number] => {
    const patch = order?.[at] ?? at;
    return [Math.floor(patch / columns), patch % columns];
  };
  const middle = (window: number): number[] => {
    const first = place(window * patches);
    const last = place((window + 1) * patches - 1);
    return [0, 1].map((axis) => (first[axis] + last[axis]) / 2);
  };
  const origin = middle(0);
  return {
    half: origin.map((value) => value + 0.5),
    middles: Array.from({ length: windows }, (_, window) => middle(window)),
    relative: Array.from({ length: patches }, (_, i) =>
      place(i).map((value, axis) => value - origin[axis]),
    ),
  };
}

/**
 * Shares of a frame's patches in each sampled place: max(0, 1 - |Δrow|) · max(0, 1 - |Δcolumn|).
 *
 * @param moved scale and offset of rows and columns, `[frames, heads, windows, 4]`.
 * @returns `[frames, heads, windows · patches of a window, rows · columns]`.
 */
function bilinear(
  moved: tf.Tensor,
  { middles, relative, half }: Places,
  shape: MixerShape,
): tf.Tensor {
  const [frames, heads, windows] = moved.shape as [number, number, number];
  const extents = [shape.rows, shape.columns];
  const [scaleY, scaleX, offsetY, offsetX] = tf.split(moved, 4, 3);
  const hat = (axis: 0 | 1, scale: tf.Tensor, offset: tf.Tensor): tf.Tensor => {
    const middle = tf.tensor(middles.map((m) => m[axis]), [1, 1, windows, 1]); // prettier-ignore
    const places = tf.tensor(relative.map((r) => r[axis]), [1, 1, 1, relative.length]); // prettier-ignore
    const at = tf.add(tf.add(middle, tf.mul(offset, half[axis])), tf.mul(places, tf.add(scale, 1)));
    const distance = tf.abs(tf.sub(tf.expandDims(at, -1), tf.range(0, extents[axis])));
    return tf.relu(tf.sub(1, distance));
  };
  const rows = tf.expandDims(hat(0, scaleY, offsetY), -1);
  const columns = tf.expandDims(hat(1, scaleX, offsetX), -2);
  return tf.reshape(tf.mul(rows, columns), [
    frames,
    heads,
    windows * relative.length,
    extents[0] * extents[1],
  ]);
}

import * as tf from '@tensorflow/tfjs-core';

import type { Addon, NativeFunction } from '../addon.js';
import type { NativeBackend, NativeKernel, Output } from '../backend.js';
import { none } from '../ops/native.js';
import { sizeOf } from './layout.js';

export function reductions({ kernels }: Addon): NativeKernel[] {
  const over =
    (run: NativeFunction, setting: string, mean = false): NativeKernel['run'] =>
    ({ inputs: { x }, attrs, backend }) => {
      if (x.dtype !== 'float32') return undefined;
      const axes = tf.util.parseAxisParam(attrs[setting] as number | number[], x.shape);
      const [, reduced] = tf.backend_util.computeOutAndReduceShapes(x.shape, axes);
      const scale = mean ? 1 / sizeOf(reduced) : 1;
      return reduce(run, x, axes, attrs.keepDims === true, scale, backend);
    };
  return [
    { name: 'Sum', run: over(kernels.Sum, 'axis') },
    { name: 'Mean', run: over(kernels.Sum, 'axis', true) },
    { name: 'Prod', run: over(kernels.Prod, 'axis') },
    { name: 'Max', run: over(kernels.Max, 'reductionIndices') },
    { name: 'Min', run: over(kernels.Min, 'axis') },
    {
      name: 'Softmax',
      run({ inputs: { logits }, attrs, backend }) {
        const rank = logits.shape.length;
        const last = attrs.dim === -1 || attrs.dim === rank - 1;
        if (logits.dtype !== 'float32' || rank === 0 || !last) return undefined;
        const y = backend.output(logits.shape);
        const n = logits.shape[rank - 1];
        const rows = n === 0 ? 0 : y.values.length / n;
        kernels.softmax(backend.floats(logits), y.values, rows, n);
        return y;
      },
    },
    {
      name: 'FusedBatchNorm',
      run({ inputs: { x, scale, offset, mean, variance }, attrs, backend }) {
        const features = x.shape[x.shape.length - 1];
        const given = [mean, variance, scale, offset];
        const perFeature = given.every(
          (t) => t == null || (t.shape.length === 1 && t.shape[0] === features),
        );
        if (x.dtype !== 'float32' || !perFeature || features === 0) return undefined;
        const y = backend.output(x.shape);
        kernels.batchNorm(
          backend.floats(x),
          backend.floats(mean),
          backend.floats(variance),
          scale == null ? none : backend.floats(scale),
          offset == null ? none : backend.floats(offset),
          y.values,
          features,
          (attrs.varianceEpsilon as number | undefined) ?? 0.001,
        );
        return y;
      },
    },
  ];
}

/**
 * Reduces runs of neighbouring axes one after the other, from the last to the first: a run is one
 * middle axis of [outer, reduced, inner].
 */
function reduce(
  run: NativeFunction,
  x: tf.TensorInfo,
  axes: readonly number[],
  keepDims: boolean,
  scale: number,
  backend: NativeBackend,
): tf.TensorInfo {
  const shape = x.shape.map((extent, d) => (axes.includes(d) ? 1 : extent));
  const result = keepDims ? shape : x.shape.filter((_, d) => !axes.includes(d));
  let values = backend.floats(x);
  let current = [...x.shape];
  let previous: Output | undefined;
  for (let d = current.length - 1; d >= 0; d--) {
    if (!axes.includes(d)) continue;
    let first = d;
    // Axes of extent 1 lie within a run whether they are reduced or not.
    while (first > 0 && (axes.includes(first - 1) || current[first - 1] === 1)) first--;
    const inner = sizeOf(current.slice(d + 1));
    const reduced = sizeOf(current.slice(first, d + 1));
    const outer = sizeOf(current.slice(0, first));
    const last = !axes.some((axis) => axis < first);
    current = current.map((extent, i) => (i >= first && i <= d ? 1 : extent));
    const y = backend.output(last ? result : current);
    if (y.values.length > 0) run(values, y.values, outer, reduced, inner, last ? scale : 1);
    if (previous !== undefined) backend.disposeData(previous.dataId);
    previous = y;
    values = y.values;
    d = first;
  }
  return previous ?? backend.share(x, result);
}

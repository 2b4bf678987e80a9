import * as tf from '@tensorflow/tfjs-core';

import type { Addon } from '../addon.js';
import type { NativeBackend, NativeKernel } from '../backend.js';
import { kindOf, loops, sizeOf, stridesOf } from './layout.js';

type Values = Float32Array | Int32Array;

/** Kernels that move values: all are one strided copy (or a gather) over types of four bytes. */
export function arrangements({ kernels }: Addon): NativeKernel[] {
  /** Copies a box: axes outermost first, strides and offsets in elements. */
  function copy(
    x: Values,
    y: Values,
    extents: readonly number[],
    xStrides: readonly number[],
    yStrides: readonly number[],
    xOffset = 0,
    yOffset = 0,
  ): void {
    if (extents.includes(0)) return;
    loops.reset();
    for (let d = extents.length - 1; d >= 0; d--) loops.add(extents[d], xStrides[d], yStrides[d]);
    const dims = loops.finish();
    kernels.copy(x, y, dims, loops.rank, xOffset, yOffset, kindOf(x) === 'int32');
  }

  /** A box of x as a tensor of its own; the whole of it shares x's memory. */
  function slice(
    x: tf.TensorInfo,
    values: Values,
    begin: readonly number[],
    size: readonly number[],
    backend: NativeBackend,
    shape: readonly number[] = size,
  ): tf.TensorInfo {
    if (size.every((extent, d) => extent === x.shape[d])) return backend.share(x, shape);
    const y = backend.output(shape, x.dtype as 'float32' | 'int32');
    const strides = stridesOf(x.shape);
    const offset = begin.reduce((sum, at, d) => sum + at * strides[d], 0);
    copy(values, y.values, size, strides, stridesOf(size), offset);
    return y;
  }

  function concat(
    parts: readonly tf.TensorInfo[],
    axis: number,
    shape: readonly number[],
    backend: NativeBackend,
  ): tf.TensorInfo | undefined {
    const { dtype } = parts[0];
    const arrays = parts.map((part) => fourBytes(part, backend));
    if (arrays.includes(undefined) || parts.some((part) => part.dtype !== dtype)) return undefined;
    const y = backend.output(shape, dtype as 'float32' | 'int32');
    const row = sizeOf(parts[0].shape.slice(0, axis));
    const width = y.values.length / row;
    let offset = 0;
    arrays.forEach((values) => {
      const length = values!.length / row;
      copy(values!, y.values, [row, length], [length, 1], [width, 1], 0, offset);
      offset += length;
    });
    return y;
  }

  return [
    {
      name: 'Transpose',
      run({ inputs: { x }, attrs, backend }) {
        const values = fourBytes(x, backend);
        if (values === undefined) return undefined;
        const perm = attrs.perm as number[];
        const shape = perm.map((axis) => x.shape[axis]);
        const y = backend.output(shape, x.dtype as 'float32' | 'int32');
        const strides = stridesOf(x.shape);
        copy(
          values,
          y.values,
          shape,
          perm.map((axis) => strides[axis]),
          stridesOf(shape),
        );
        return y;
      },
    },
    {
      name: 'Slice',
      run({ inputs: { x }, attrs, backend }) {
        const values = fourBytes(x, backend);
        if (values === undefined) return undefined;
        const [begin, size] = tf.slice_util.parseSliceParams(
          x as tf.Tensor,
          attrs.begin as number[],
          attrs.size as number[],
        );
        tf.slice_util.assertParamsValid(x, begin, size);
        return slice(x, values, begin, size, backend);
      },
    },
    {
      name: 'SplitV',
      run({ inputs: { x }, attrs, backend }) {
        const values = fourBytes(x, backend);
        if (values === undefined) return undefined;
        const [axis] = tf.util.parseAxisParam(attrs.axis as number, x.shape);
        const sizes = tf.backend_util.prepareSplitSize(
          x as tf.Tensor,
          attrs.numOrSizeSplits as number[],
          axis,
        );
        const begin = x.shape.map(() => 0);
        return sizes.map((extent) => {
          const size = x.shape.map((whole, d) => (d === axis ? extent : whole));
          const part = slice(x, values, begin, size, backend);
          begin[axis] += extent;
          return part;
        });
      },
    },
    {
      name: 'Unpack',
      run({ inputs: { value: x }, attrs, backend }) {
        const values = fourBytes(x, backend);
        if (values === undefined) return undefined;
        const [axis] = tf.util.parseAxisParam(attrs.axis as number, x.shape);
        const size = x.shape.map((whole, d) => (d === axis ? 1 : whole));
        const shape = x.shape.filter((_, d) => d !== axis);
        return Array.from({ length: x.shape[axis] }, (_, i) => {
          const begin = x.shape.map((__, d) => (d === axis ? i : 0));
          return slice(x, values, begin, size, backend, shape);
        });
      },
    },
    {
      name: 'Concat',
      run({ inputs, attrs, backend }) {
        const all = Object.values(inputs);
        const [axis] = tf.util.parseAxisParam(attrs.axis as number, all[0].shape);
        const shapes = all.map((part) => part.shape);
        tf.backend_util.assertParamsConsistent(shapes, axis);
        const parts = all.filter((part) => sizeOf(part.shape) > 0);
        const shape = tf.backend_util.computeOutShape(shapes, axis);
        if (parts.length === 0) return undefined;
        if (parts.length === 1) return backend.share(parts[0], shape);
        return concat(parts, axis, shape, backend);
      },
    },
    {
      name: 'Pack',
      run({ inputs, attrs, backend }) {
        const parts = Object.values(inputs);
        const [{ shape }] = parts;
        for (const part of parts) {
          tf.util.assertShapesMatch(
            shape,
            part.shape,
            'All tensors passed to stack must have matching shapes',
          );
        }
        const axis = attrs.axis as number;
        if (axis < 0 || sizeOf(shape) === 0) return undefined;
        const stacked = [...shape.slice(0, axis), parts.length, ...shape.slice(axis)];
        if (parts.length === 1) return backend.share(parts[0], stacked);
        return concat(parts, axis, stacked, backend);
      },
    },
    {
      name: 'PadV2',
      run({ inputs: { x }, attrs, backend }) {
        const values = fourBytes(x, backend);
        if (values === undefined) return undefined;
        const paddings = attrs.paddings as [number, number][];
        const shape = x.shape.map((extent, d) => extent + paddings[d][0] + paddings[d][1]);
        const y = backend.output(shape, x.dtype as 'float32' | 'int32');
        const constant = attrs.constantValue as number;
        kernels[kindOf(y.values) === 'float32' ? 'fill' : 'fillInts'](y.values, constant);
        const strides = stridesOf(shape);
        const offset = paddings.reduce((sum, [before], d) => sum + before * strides[d], 0);
        copy(values, y.values, x.shape, stridesOf(x.shape), strides, 0, offset);
        return y;
      },
    },
    {
      name: 'Tile',
      run({ inputs: { x }, attrs, backend }) {
        const values = fourBytes(x, backend);
        const reps = attrs.reps as number[];
        if (values === undefined || reps.length !== x.shape.length) return undefined;
        const shape = x.shape.map((extent, d) => extent * reps[d]);
        const y = backend.output(shape, x.dtype as 'float32' | 'int32');
        const xStrides = stridesOf(x.shape);
        const yStrides = stridesOf(shape);
        // Every axis becomes two: the repetitions, which do not move in x, and the axis itself.
        copy(
          values,
          y.values,
          x.shape.flatMap((extent, d) => [reps[d], extent]),
          x.shape.flatMap((_, d) => [0, xStrides[d]]),
          x.shape.flatMap((extent, d) => [extent * yStrides[d], yStrides[d]]),
        );
        return y;
      },
    },
    {
      name: 'Reverse',
      run({ inputs: { x }, attrs, backend }) {
        const values = fourBytes(x, backend);
        if (values === undefined || x.shape.length === 0) return undefined;
        const dims = tf.util.parseAxisParam(attrs.dims as number[], x.shape);
        const y = backend.output(x.shape, x.dtype as 'float32' | 'int32');
        const strides = stridesOf(x.shape);
        const offset = dims.reduce((sum, d) => sum + (x.shape[d] - 1) * strides[d], 0);
        const turned = strides.map((stride, d) => (dims.includes(d) ? -stride : stride));
        copy(values, y.values, x.shape, turned, strides, offset);
        return y;
      },
    },
    {
      name: 'GatherV2',
      run({ inputs: { x, indices }, attrs, backend }) {
        const values = fourBytes(x, backend);
        const chosen = backend.values(indices);
        if (values === undefined || kindOf(chosen) !== 'int32') return undefined;
        const [axis] = tf.util.parseAxisParam(attrs.axis as number, x.shape);
        const extent = x.shape[axis];
        // Indices on a device are not looked at: it would have to be waited for.
        for (const index of chosen instanceof Int32Array ? chosen : []) {
          tf.util.assert(
            index <= extent - 1 && index >= 0,
            () => `GatherV2: the index value ${index} is not in [0, ${extent - 1}]`,
          );
        }
        const { batchSize, outerSize, sliceSize, outputShape } =
          tf.backend_util.segment_util.collectGatherOpShapeInfo(
            x as tf.Tensor,
            indices as tf.Tensor,
            axis,
            (attrs.batchDims as number | undefined) ?? 0,
          );
        const y = backend.output(outputShape, x.dtype as 'float32' | 'int32');
        if (y.values.length > 0) {
          kernels.gather(
            values,
            chosen,
            y.values,
            batchSize,
            outerSize,
            extent,
            sliceSize,
            kindOf(values) === 'int32',
          );
        }
        return y;
      },
    },
    {
      name: 'UnsortedSegmentSum',
      run({ inputs: { x, segmentIds }, attrs, backend }) {
        const segments = backend.values(segmentIds);
        const fits =
          x.dtype === 'float32' &&
          kindOf(segments) === 'int32' &&
          segmentIds.shape.length === 1 &&
          x.shape.length > 0;
        if (!fits) return undefined;
        const y = backend.output([attrs.numSegments as number, ...x.shape.slice(1)]);
        kernels.fill(y.values, 0);
        kernels.segmentSum(backend.floats(x), segments, y.values, sizeOf(x.shape.slice(1)));
        return y;
      },
    },
  ];
}

/** Values of four bytes in an array of the tensor's type. */
function fourBytes(x: tf.TensorInfo, backend: NativeBackend): Values | undefined {
  if (x.dtype === 'float32') return backend.floats(x);
  if (x.dtype !== 'int32') return undefined;
  const values = backend.values(x);
  return kindOf(values) === 'int32' ? (values as Int32Array) : Int32Array.from(values);
}

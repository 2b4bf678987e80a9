import * as tf from '@tensorflow/tfjs-core';

import { sizeOf } from '../fused.js';
import type { Kernels, NativeFunction } from '../native/addon.js';
import type { KernelCall, NativeKernel } from '../native/backend.js';
import { loops } from '../native/kernels/layout.js';
import type { AdamwConfig } from '../ops/adamw.js';
import type { CudaBackend } from './backend.js';
import type { Optimisers } from './launches/optimise.js';
import type { DeviceArray } from './memory.js';

type Run = NativeKernel['run'];

const integerTwins: Readonly<Record<string, string>> = {
  Add: 'addInts',
  Sub: 'subtractInts',
  Multiply: 'multiplyInts',
  FloorDiv: 'floorDivideInts',
  Equal: 'EqualInts',
  NotEqual: 'NotEqualInts',
  Greater: 'GreaterInts',
  GreaterEqual: 'GreaterEqualInts',
  Less: 'LessInts',
  LessEqual: 'LessEqualInts',
};

/**
 * Kernels of which TensorFlow.js's `cpu` ones need no twin on the host: they pass memory on, or run there on
 * types that the native backend leaves to JavaScript.
 *
 * @param shared what the device has already, by name.
 */
export function ownKernels(
  kernels: Kernels,
  optimisers: Optimisers,
  cuda: CudaBackend,
  shared: ReadonlyMap<string, Run>,
): NativeKernel[] {
  const sharing = (
    name: string,
    shapeOf: (call: KernelCall) => readonly number[],
  ): NativeKernel => ({
    name,
    run: (call) => cuda.share(Object.values(call.inputs)[0], shapeOf(call)),
  });

  /** The device's own form for floats, its twin for integers or truth values. */
  const broadcast = (
    run: NativeFunction,
    dtype: 'int32' | 'bool',
    { inputs: { a, b } }: KernelCall,
  ) => {
    const shape = tf.broadcast_util.assertAndGetBroadcastShape(a.shape, b.shape);
    const y = cuda.output(shape, dtype);
    if (y.values.length === 0) return y;
    loops.addBroadcast(shape, a.shape, b.shape);
    const dims = loops.finish();
    const values = [cuda.values(a), cuda.values(b), y.values] as unknown as Float32Array[];
    run(...values, dims, loops.rank);
    return y;
  };

  /** What decides about an update (engine/ops/adamw.ts), and what is updated. */
  const controlled = (infos: readonly tf.TensorInfo[]): [DeviceArray[], tf.TensorInfo[]] => [
    infos.slice(0, 3).map((x) => cuda.values(x)),
    infos.slice(3),
  ];

  return [
    sharing('Identity', ({ inputs: { x } }) => x.shape),
    {
      name: 'Reshape',
      run({ inputs: { x }, attrs }) {
        const size = sizeOf(x.shape);
        const shape = tf.util.inferFromImplicitShape(attrs.shape as number[], size);
        tf.util.assert(
          size === sizeOf(shape),
          () =>
            `The new shape (${shape}) has ${sizeOf(shape)} elements and the old shape (${x.shape}) has ${size} elements. The new shape and old shape must have the same number of elements.`,
        );
        return cuda.share(x, shape);
      },
    },
    {
      name: 'ExpandDims',
      run({ inputs: { input }, attrs }) {
        const rank = input.shape.length;
        const dim = attrs.dim as number;
        tf.util.assert(
          -(rank + 1) <= dim && dim <= rank,
          () => `Axis must be in the interval [${-(rank + 1)}, ${rank}]`,
        );
        const shape = [...input.shape];
        shape.splice(dim < 0 ? rank + dim + 1 : dim, 0, 1);
        return cuda.share(input, shape);
      },
    },
    {
      name: 'Complex',
      run({ inputs: { real, imag } }) {
        cuda.incRef(real.dataId);
        cuda.incRef(imag.dataId);
        return cuda.complex(real, imag);
      },
    },
    ...(['Real', 'Imag'] as const).map((name): NativeKernel => ({
      name,
      run({ inputs: { input } }) {
        if (input.dtype !== 'complex64') return undefined;
        const { real, imag } = cuda.partsOf(input);
        return cuda.share(name === 'Real' ? real : imag, input.shape);
      },
    })),
    ...Object.entries(integerTwins).map(([name, twin]): NativeKernel => ({
      name,
      run(call) {
        const { a, b } = call.inputs;
        if (a.dtype !== 'int32' || b.dtype !== 'int32') return shared.get(name)?.(call);
        const arithmetic = ['Add', 'Sub', 'Multiply', 'FloorDiv'].includes(name);
        return broadcast(kernels[twin], arithmetic ? 'int32' : 'bool', call);
      },
    })),
    ...['LogicalAnd', 'LogicalOr'].map((name): NativeKernel => ({
      name,
      run: (call) =>
        call.inputs.a.dtype === 'bool' && call.inputs.b.dtype === 'bool'
          ? broadcast(kernels[name], 'bool', call)
          : undefined,
    })),
    {
      name: 'LogicalNot',
      run({ inputs: { x } }) {
        if (x.dtype !== 'bool') return undefined;
        const y = cuda.output(x.shape, 'bool');
        kernels.LogicalNot(cuda.values(x) as never, y.values as never);
        return y;
      },
    },
    {
      name: 'EuclideanNorms',
      run({ inputs }) {
        const tensors = Object.values(inputs);
        const norms = cuda.output([1 + tensors.length]);
        optimisers.euclideanNorms(
          norms.values,
          tensors.map((x) => cuda.values(x)),
        );
        return norms;
      },
    },
    {
      name: 'AdamwUpdate',
      run({ inputs, attrs }) {
        const [control, tensors] = controlled(Object.values(inputs));
        const owned = tensors.map((x, i) => (i % 4 === 1 ? x : cuda.own(x)));
        const config = attrs as unknown as AdamwConfig;
        optimisers.adamwAll(
          control,
          config,
          owned.map((x) => cuda.values(x)),
        );
        return owned.filter((_, i) => i % 4 !== 1);
      },
    },
    {
      name: 'RunningAverages',
      run({ inputs }) {
        const [control, tensors] = controlled(Object.values(inputs));
        const owned = tensors.map((x, i) => (i % 2 === 1 ? x : cuda.own(x)));
        optimisers.runningAverages(
          control,
          owned.map((x) => cuda.values(x)),
        );
        return owned.filter((_, i) => i % 2 === 0);
      },
    },
    {
      name: 'Cumsum',
      run({ inputs: { x }, attrs }) {
        if (x.dtype !== 'float32') return undefined;
        const axis = tf.util.parseAxisParam((attrs.axis as number | undefined) ?? 0, x.shape)[0];
        const y = cuda.output(x.shape);
        const [outer, inner] = [x.shape.slice(0, axis), x.shape.slice(axis + 1)].map(sizeOf);
        const settings = [attrs.exclusive === true, attrs.reverse === true];
        const extents = [outer, x.shape[axis], inner];
        kernels.cumulativeSum(cuda.values(x) as never, y.values as never, ...extents, ...settings);
        return y;
      },
    },
    {
      // Made on the host by nature: it has no input.
      name: 'Range',
      run({ attrs }) {
        const { start, stop, step, dtype } = attrs as unknown as {
          start: number;
          stop: number;
          step: number;
          dtype: 'float32' | 'int32';
        };
        const empty = start === stop || (start < stop && step < 0) || (stop < start && step > 1);
        const length = empty ? 0 : Math.abs(Math.ceil((stop - start) / step));
        const stride = stop < start && step === 1 ? -1 : step;
        const values = new (dtype === 'int32' ? Int32Array : Float32Array)(length);
        for (let i = 0; i < length; i++) values[i] = i === 0 ? start : values[i - 1] + stride;
        return cuda.makeTensorInfo([length], dtype, values);
      },
    },
  ];
}

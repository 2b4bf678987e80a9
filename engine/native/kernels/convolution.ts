import * as tf from '@tensorflow/tfjs-core';

import type { Addon } from '../addon.js';
import type { KernelCall, NativeKernel } from '../backend.js';
import { finish } from './matMul.js';

type Attrs = KernelCall['attrs'];
type Info2D = tf.backend_util.Conv2DInfo;
type Info3D = tf.backend_util.Conv3DInfo;
type Info = Info2D | Info3D;

const window = new Int32Array(21);

/** A sliding window as `src/window.h` reads it. Shared by all calls. */
function windowOf(info: Info): Int32Array {
  const flat = !('inDepth' in info);
  const depth = flat
    ? { in: 1, out: 1, size: 1, stride: 1, pad: 0, dilation: 1 }
    : {
        in: info.inDepth,
        out: info.outDepth,
        size: info.filterDepth,
        stride: info.strideDepth,
        pad: info.padInfo.front,
        dilation: info.dilationDepth,
      };
  window.set([
    ...[info.batchSize, info.inChannels, info.outChannels],
    ...[depth.in, info.inHeight, info.inWidth],
    ...[depth.out, info.outHeight, info.outWidth],
    ...[depth.size, info.filterHeight, info.filterWidth],
    ...[depth.stride, info.strideHeight, info.strideWidth],
    ...[depth.pad, info.padInfo.top, info.padInfo.left],
    ...[depth.dilation, info.dilationHeight, info.dilationWidth],
  ]);
  return window;
}

function convolution2D(
  inputShape: readonly number[],
  filterShape: readonly number[],
  attrs: Attrs,
  dilations: unknown = 1,
  depthwise = false,
): Info2D {
  return tf.backend_util.computeConv2DInfo(
    inputShape as [number, number, number, number],
    filterShape as [number, number, number, number],
    attrs.strides as number,
    dilations as number,
    attrs.pad as 'same',
    attrs.dimRoundingMode as 'floor' | undefined,
    depthwise,
    tf.backend_util.convertConv2DDataFormat(
      (attrs.dataFormat as 'NHWC' | 'NCHW' | undefined) ?? 'NHWC',
    ),
  );
}

function convolution3D(
  inputShape: readonly number[],
  filterShape: readonly number[],
  attrs: Attrs,
  dilations: unknown = 1,
): Info3D {
  return tf.backend_util.computeConv3DInfo(
    inputShape as [number, number, number, number, number],
    filterShape as [number, number, number, number, number],
    attrs.strides as number,
    dilations as number,
    attrs.pad as 'same',
  );
}

function pooling2D(inputShape: readonly number[], attrs: Attrs): Info2D {
  return tf.backend_util.computePool2DInfo(
    inputShape as [number, number, number, number],
    attrs.filterSize as number,
    attrs.strides as number,
    1,
    attrs.pad as 'same',
    attrs.dimRoundingMode as 'floor' | undefined,
  );
}

function pooling3D(inputShape: readonly number[], attrs: Attrs): Info3D {
  return tf.backend_util.computePool3DInfo(
    inputShape as [number, number, number, number, number],
    attrs.filterSize as number,
    attrs.strides as number,
    1,
    attrs.pad as 'same',
    attrs.dimRoundingMode as 'floor' | undefined,
    attrs.dataFormat as 'NDHWC' | undefined,
  );
}

/** Whether the addon takes it: float32 tensors, channels last, nothing empty. */
function fits(info: Info, ...tensors: tf.TensorInfo[]): boolean {
  return (
    info.dataFormat === 'channelsLast' &&
    tensors.every(({ dtype, shape }) => dtype === 'float32' && !shape.includes(0)) &&
    !info.outShape.includes(0)
  );
}

/** TensorFlow.js lets a transposed convolution have more gradients than the window has outputs. */
function fitsGradient(info: Info, dy: tf.TensorInfo, ...tensors: tf.TensorInfo[]): boolean {
  return tf.util.arraysEqual(dy.shape, info.outShape) && fits(info, dy, ...tensors);
}

/** From an input's and a filter's shape. */
type InfoOf = (inputShape: readonly number[], filterShape: readonly number[], attrs: Attrs) => Info;

const dilated2D: InfoOf = (x, filter, attrs) => convolution2D(x, filter, attrs, attrs.dilations);
const dilated3D: InfoOf = (x, filter, attrs) => convolution3D(x, filter, attrs, attrs.dilations);
/** Only with one filter per channel; undefined for more. */
const depthwise2D = (...[x, filter, attrs]: Parameters<InfoOf>): Info2D | undefined => {
  const info = convolution2D(x, filter, attrs, attrs.dilations ?? 1, true);
  return info.outChannels === info.inChannels ? info : undefined;
};

export function convolutions({ kernels }: Addon): NativeKernel[] {
  type Run = (a: Float32Array, b: Float32Array, result: Float32Array, window: Int32Array) => void;
  type MaybeInfoOf = (...args: Parameters<InfoOf>) => Info | undefined;

  const forward =
    (infoOf: MaybeInfoOf, run: Run): NativeKernel['run'] =>
    ({ inputs: { x, filter }, attrs, backend }) => {
      const info = infoOf(x.shape, filter.shape, attrs);
      if (info === undefined || !fits(info, x, filter)) return undefined;
      const y = backend.output(info.outShape);
      run(backend.floats(x), backend.floats(filter), y.values, windowOf(info));
      return y;
    };

  const inputGradient =
    (infoOf: MaybeInfoOf, run: Run): NativeKernel['run'] =>
    ({ inputs: { dy, filter }, attrs, backend }) => {
      const info = infoOf(attrs.inputShape as number[], filter.shape, attrs);
      if (info === undefined || !fitsGradient(info, dy, filter)) return undefined;
      const dx = backend.output(info.inShape);
      run(backend.floats(dy), backend.floats(filter), dx.values, windowOf(info));
      return dx;
    };

  const filterGradient =
    (infoOf: MaybeInfoOf, run: Run): NativeKernel['run'] =>
    ({ inputs: { x, dy }, attrs, backend }) => {
      const info = infoOf(x.shape, attrs.filterShape as number[], attrs);
      if (info === undefined || !fitsGradient(info, dy, x)) return undefined;
      const gradient = backend.output(info.filterShape);
      run(backend.floats(x), backend.floats(dy), gradient.values, windowOf(info));
      return gradient;
    };

  const { convolution, convolutionInputGradient, convolutionFilterGradient } = kernels;
  const conv2D = forward(dilated2D, convolution);
  const depthwiseForward = forward(depthwise2D, (...arrays) => kernels.depthwise(...arrays, false));
  const depthwise: NativeKernel['run'] = (call) => {
    const strides = call.attrs.strides as number | [number, number];
    const dilations = (call.attrs.dilations as [number, number] | undefined) ?? [1, 1];
    tf.util.assert(
      tf.backend_util.eitherStridesOrDilationsAreOne(strides, dilations),
      () =>
        'Error in depthwiseConv2d: Either strides or dilations must be 1. ' +
        `Got strides ${strides} and dilations '${dilations}'`,
    );
    return depthwiseForward(call);
  };

  const fused =
    (run: NativeKernel['run']): NativeKernel['run'] =>
    (call) => {
      const channelsFirst = call.attrs.dataFormat === 'NCHW';
      const y = channelsFirst ? undefined : run(call);
      return y === undefined ? undefined : finish(y as tf.TensorInfo, call);
    };

  const pool =
    (infoOf: typeof pooling2D | typeof pooling3D, average: boolean): NativeKernel['run'] =>
    ({ inputs: { x }, attrs, backend }) => {
      const info = infoOf(x.shape, attrs);
      if (!fits(info, x)) return undefined;
      const flat = !('inDepth' in info) && info.filterHeight === 1 && info.filterWidth === 1;
      if (flat && tf.util.arraysEqual(info.inShape, info.outShape))
        return backend.share(x, x.shape);
      const y = backend.output(info.outShape);
      kernels.pool(backend.floats(x), y.values, windowOf(info), average);
      return y;
    };

  const poolGradient =
    (infoOf: typeof pooling2D | typeof pooling3D, average: boolean): NativeKernel['run'] =>
    ({ inputs: { dy, input }, attrs, backend }) => {
      const info = infoOf(input.shape, attrs);
      if (!fitsGradient(info, dy, input)) return undefined;
      const dx = backend.output(input.shape);
      const x = backend.floats(input);
      kernels.poolGradient(x, backend.floats(dy), dx.values, windowOf(info), average);
      return dx;
    };

  return [
    { name: 'Conv2D', run: conv2D },
    { name: 'FusedConv2D', run: fused(conv2D) },
    { name: 'Conv2DBackpropInput', run: inputGradient(convolution2D, convolutionInputGradient) },
    { name: 'Conv2DBackpropFilter', run: filterGradient(convolution2D, convolutionFilterGradient) },
    { name: 'Conv3D', run: forward(dilated3D, convolution) },
    { name: 'Conv3DBackpropInputV2', run: inputGradient(convolution3D, convolutionInputGradient) },
    {
      name: 'Conv3DBackpropFilterV2',
      run: filterGradient(convolution3D, convolutionFilterGradient),
    },
    { name: 'DepthwiseConv2dNative', run: depthwise },
    { name: 'FusedDepthwiseConv2D', run: fused(depthwise) },
    {
      name: 'DepthwiseConv2dNativeBackpropInput',
      run: inputGradient(depthwise2D, (...arrays) => kernels.depthwise(...arrays, true)),
    },
    {
      name: 'DepthwiseConv2dNativeBackpropFilter',
      run: filterGradient(depthwise2D, kernels.depthwiseFilterGradient),
    },
    { name: 'MaxPool', run: pool(pooling2D, false) },
    { name: 'AvgPool', run: pool(pooling2D, true) },
    { name: 'MaxPool3D', run: pool(pooling3D, false) },
    { name: 'AvgPool3D', run: pool(pooling3D, true) },
    { name: 'MaxPoolGrad', run: poolGradient(pooling2D, false) },
    { name: 'AvgPoolGrad', run: poolGradient(pooling2D, true) },
    { name: 'MaxPool3DGrad', run: poolGradient(pooling3D, false) },
    { name: 'AvgPool3DGrad', run: poolGradient(pooling3D, true) },
  ];
}

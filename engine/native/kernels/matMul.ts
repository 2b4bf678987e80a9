import * as tf from '@tensorflow/tfjs-core';

import type { Addon } from '../addon.js';
import type { KernelCall, NativeBackend, NativeKernel } from '../backend.js';
import { sizeOf } from './layout.js';

export function matrixProducts({ kernels }: Addon): NativeKernel[] {
  function matMul({ inputs: { a, b }, attrs, backend }: KernelCall): tf.TensorInfo | undefined {
    if (a.dtype !== 'float32' || b.dtype !== 'float32') return undefined;
    const transposeA = attrs.transposeA === true;
    const transposeB = attrs.transposeB === true;
    const aRank = a.shape.length;
    const bRank = b.shape.length;
    const [k, m] = transposeA
      ? [a.shape[aRank - 2], a.shape[aRank - 1]]
      : [a.shape[aRank - 1], a.shape[aRank - 2]];
    const [n, depth] = transposeB
      ? [b.shape[bRank - 2], b.shape[bRank - 1]]
      : [b.shape[bRank - 1], b.shape[bRank - 2]];
    const outer = tf.broadcast_util.assertAndGetBroadcastShape(
      a.shape.slice(0, -2),
      b.shape.slice(0, -2),
    );
    tf.util.assert(
      k === depth,
      () =>
        `Error in matMul: inner shapes (${k}) and (${depth}) of Tensors with shapes ${a.shape} and ` +
        `${b.shape} and transposeA=${transposeA} and transposeB=${transposeB} must match.`,
    );
    const aBatches = sizeOf(a.shape.slice(0, -2));
    const bBatches = sizeOf(b.shape.slice(0, -2));
    const batches = sizeOf(outer);
    // Batches of one factor repeat as a whole, or not at all; the rest is rare.
    if ([aBatches, bBatches].some((count) => count !== batches && count !== 1)) return undefined;
    const c = backend.output([...outer, m, n]);
    if (c.values.length === 0) return c;
    // One right factor for all, and rows that lie one after the other: one product.
    const folded = bBatches === 1 && !transposeA && aBatches === batches;
    kernels.matMul(
      backend.floats(a),
      backend.floats(b),
      c.values,
      folded ? 1 : batches,
      aBatches === 1 ? 0 : m * k,
      bBatches === 1 ? 0 : k * n,
      folded ? batches * m : m,
      n,
      k,
      transposeA,
      transposeB,
      false,
    );
    return c;
  }

  return [
    { name: 'BatchMatMul', run: matMul },
    {
      name: '_FusedMatMul',
      run(call) {
        const product = matMul(call);
        return product === undefined ? undefined : finish(product, call);
      },
    },
  ];
}

/** Adds the bias and applies the activation of a fused kernel; takes `x` over. */
export function finish(x: tf.TensorInfo, { inputs, attrs, backend }: KernelCall): tf.TensorInfo {
  const { bias, preluActivationWeights } = inputs;
  let result = x;
  const replace = (next: tf.TensorInfo): void => {
    backend.disposeData(result.dataId);
    result = next;
  };
  if (bias != null) replace(runKernel('Add', { a: result, b: bias }, {}, backend));
  switch (attrs.activation ?? 'linear') {
    case 'linear':
      break;
    case 'prelu':
      replace(runKernel('Prelu', { x: result, alpha: preluActivationWeights }, {}, backend));
      break;
    case 'leakyrelu':
      replace(runKernel('LeakyRelu', { x: result }, { alpha: attrs.leakyreluAlpha }, backend));
      break;
    default:
      replace(runKernel(activations[attrs.activation as string], { x: result }, {}, backend));
  }
  return result;
}

const activations: Readonly<Record<string, string>> = {
  relu: 'Relu',
  relu6: 'Relu6',
  elu: 'Elu',
  sigmoid: 'Sigmoid',
};

/** Runs another kernel of this backend. */
export function runKernel(
  name: string,
  inputs: tf.NamedTensorInfoMap,
  attrs: Readonly<Record<string, unknown>>,
  backend: NativeBackend,
): tf.TensorInfo {
  const kernel = tf.getKernel(name, backend.kernelsOf);
  return kernel.kernelFunc({
    inputs,
    attrs: attrs as unknown as tf.NamedAttrMap,
    backend,
  }) as tf.TensorInfo;
}

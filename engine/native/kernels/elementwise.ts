import * as tf from '@tensorflow/tfjs-core';

import type { Addon } from '../addon.js';
import type { NativeBackend, NativeKernel } from '../backend.js';
import { kindOf, loops, sizeOf } from './layout.js';

/** Unary kernels, with the settings that become p and q of `src/elementwise.inl`. */
const unary: Readonly<Record<string, readonly string[]>> = {
  Abs: [],
  Ceil: [],
  ClipByValue: ['clipValueMin', 'clipValueMax'],
  Cos: [],
  Elu: [],
  Erf: [],
  Exp: [],
  Expm1: [],
  Floor: [],
  LeakyRelu: ['alpha'],
  Log: [],
  Log1p: [],
  Neg: [],
  Reciprocal: [],
  Relu: [],
  Relu6: [],
  Round: [],
  Rsqrt: [],
  Selu: [],
  Sigmoid: [],
  Sign: [],
  Sin: [],
  Softplus: [],
  Sqrt: [],
  Square: [],
  Step: ['alpha'],
  Tanh: [],
};

const binary = [
  'Add',
  'Maximum',
  'Minimum',
  'Multiply',
  'Pow',
  'RealDiv',
  'SquaredDifference',
  'Sub',
] as const;

const comparisons = ['Equal', 'NotEqual', 'Greater', 'GreaterEqual', 'Less', 'LessEqual'] as const;

export function elementwise({ kernels }: Addon): NativeKernel[] {
  return [
    ...Object.entries(unary).map(([name, settings]): NativeKernel => {
      const run = kernels[name];
      return {
        name,
        run({ inputs: { x }, attrs, backend }) {
          if (x.dtype !== 'float32') return undefined;
          const y = backend.output(x.shape);
          const [p, q] = settings.map((setting) => attrs[setting] as number);
          run(backend.floats(x), y.values, p ?? 1, q ?? 0);
          return y;
        },
      };
    }),
    ...binary.map((name): NativeKernel => {
      const run = kernels[name];
      return {
        name,
        run: ({ inputs: { a, b }, backend }) => broadcast(run, a, b, 'float32', backend),
      };
    }),
    ...comparisons.map((name): NativeKernel => {
      const run = kernels[name];
      return {
        name,
        run: ({ inputs: { a, b }, backend }) => broadcast(run, a, b, 'bool', backend),
      };
    }),
    {
      name: 'Prelu',
      run: ({ inputs: { x, alpha }, backend }) =>
        broadcast(kernels.Prelu, x, alpha, 'float32', backend),
    },
    {
      name: 'EluGrad',
      run: ({ inputs: { dy, y }, backend }) =>
        broadcast(kernels.EluGrad, dy, y, 'float32', backend),
    },
    {
      name: 'AddN',
      run({ inputs, backend }) {
        const terms = Object.values(inputs);
        if (terms.some(({ dtype }) => dtype !== 'float32')) return undefined;
        const y = backend.output(terms[0].shape);
        y.values.set(backend.floats(terms[0]));
        if (terms.length > 1) {
          kernels.AddN(y.values, ...terms.slice(1).map((term) => backend.floats(term)));
        }
        return y;
      },
    },
    {
      name: 'Select',
      run({ inputs: { condition, t, e }, backend }) {
        const chosen = backend.values(condition);
        const elementwise = chosen.length === sizeOf(t.shape) && kindOf(chosen) === 'bool';
        if (!elementwise || t.dtype !== 'float32' || e.dtype !== 'float32') return undefined;
        const y = backend.output(t.shape);
        kernels.Select(chosen, backend.floats(t), backend.floats(e), y.values);
        return y;
      },
    },
    {
      name: 'Cast',
      run({ inputs: { x }, attrs: { dtype }, backend }) {
        const values = ['float32', 'int32', 'bool'].includes(x.dtype)
          ? backend.values(x)
          : undefined;
        if (values === undefined) return undefined;
        if (dtype !== 'float32' && dtype !== 'int32') return undefined;
        const kind = kindOf(values);
        if (kind === dtype) return { ...backend.share(x, x.shape), dtype };
        const y = backend.output(x.shape, dtype);
        kernels[conversions[kind][dtype]!](values, y.values);
        return y;
      },
    },
    {
      name: 'Fill',
      run({ attrs: { shape, value, dtype }, backend }) {
        if ((dtype ?? tf.util.inferDtype(value as number)) !== 'float32') return undefined;
        const y = backend.output(shape as number[]);
        kernels.fill(y.values, value as number);
        return y;
      },
    },
    {
      name: 'ZerosLike',
      run: ({ inputs: { x }, backend }) => filled(x, 0, backend),
    },
    {
      name: 'OnesLike',
      run: ({ inputs: { x }, backend }) => filled(x, 1, backend),
    },
  ];

  function filled(x: tf.TensorInfo, value: number, backend: NativeBackend) {
    if (x.dtype !== 'float32') return undefined;
    const y = backend.output(x.shape);
    kernels.fill(y.values, value);
    return y;
  }
}

/** Kernels that change the type of values. */
const conversions: Readonly<Record<string, Readonly<Partial<Record<string, string>>>>> = {
  float32: { int32: 'floatsToInts' },
  int32: { float32: 'intsToFloats' },
  bool: { float32: 'bytesToFloats', int32: 'bytesToInts' },
};

function broadcast(
  run: Addon['kernels'][string],
  a: tf.TensorInfo,
  b: tf.TensorInfo,
  dtype: 'float32' | 'bool',
  backend: NativeBackend,
): tf.TensorInfo | undefined {
  if (a.dtype !== 'float32' || b.dtype !== 'float32') return undefined;
  const shape = tf.broadcast_util.assertAndGetBroadcastShape(a.shape, b.shape);
  const y = backend.output(shape, dtype);
  if (y.values.length === 0) return y;
  loops.addBroadcast(shape, a.shape, b.shape);
  const dims = loops.finish();
  run(backend.floats(a), backend.floats(b), y.values, dims, loops.rank);
  return y;
}

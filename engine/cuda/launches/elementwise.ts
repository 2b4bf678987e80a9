import type { Kernels } from '../../native/addon.js';
import type { Device } from '../device.js';
import type { DeviceArray } from '../memory.js';
import { axesOf, axesTypes } from './axes.js';

const unaryNames = [
  ...[
    'Abs',
    'Ceil',
    'ClipByValue',
    'Cos',
    'Elu',
    'Erf',
    'Exp',
    'Expm1',
    'Floor',
    'LeakyRelu',
    'Log',
  ],
  ...['Log1p', 'Neg', 'Reciprocal', 'Relu', 'Relu6', 'Round', 'Rsqrt', 'Selu', 'Sigmoid', 'Sign'],
  ...['Sin', 'Softplus', 'Sqrt', 'Square', 'Step', 'Tanh'],
];

const binaryNames = [
  ...[
    'Add',
    'Sub',
    'Multiply',
    'RealDiv',
    'Maximum',
    'Minimum',
    'Pow',
    'SquaredDifference',
    'Prelu',
  ],
  ...['EluGrad', 'Equal', 'NotEqual', 'Greater', 'GreaterEqual', 'Less', 'LessEqual'],
  ...[
    'LogicalAnd',
    'LogicalOr',
    'addInts',
    'subtractInts',
    'multiplyInts',
    'floorDivideInts',
    'EqualInts',
  ],
  ...['NotEqualInts', 'GreaterInts', 'GreaterEqualInts', 'LessInts', 'LessEqualInts'],
];

/** `source/elementwise.cu`. */
export function elementwise(device: Device): Kernels {
  const unary = Object.fromEntries(
    unaryNames.map((name) => [
      name,
      (x: DeviceArray, y: DeviceArray, p = 1, q = 0): void =>
        device.walk(device.kernel('elementwise', name, 'ppffl'), y.length, [x, y, p, q, y.length]),
    ]),
  );

  const binary = Object.fromEntries(
    binaryNames.map((name) => [
      name,
      (a: DeviceArray, b: DeviceArray, y: DeviceArray, dims: Int32Array, rank: number): void => {
        if (rank === 1) {
          const kernel = device.kernel('elementwise', name, 'pppiil');
          device.walk(kernel, y.length, [a, b, y, dims[1], dims[2], y.length]);
        } else {
          const kernel = device.kernel('elementwise', `${name}Axes`, `ppp${axesTypes}l`);
          device.walk(kernel, y.length, [a, b, y, ...axesOf(dims, rank), y.length]);
        }
      },
    ]),
  );

  /** Simple loops over the last array's values. */
  const loop =
    (name: string, arrays: number, file = 'elementwise') =>
    (...values: DeviceArray[]): void => {
      const n = values[arrays - 1].length;
      device.walk(device.kernel(file, name, `${'p'.repeat(arrays)}l`), n, [...values, n]);
    };

  /** A unary kernel without settings. */
  const activation =
    (name: string) =>
    (x: DeviceArray, y: DeviceArray): void => {
      const kernel = device.kernel('elementwise', name, 'ppffl');
      device.walk(kernel, y.length, [x, y, 0, 0, y.length]);
    };

  return {
    ...(unary as unknown as Kernels),
    ...(binary as unknown as Kernels),
    AddN(y: DeviceArray, ...terms: DeviceArray[]): void {
      const kernel = device.kernel('elementwise', 'addTo', 'ppl');
      for (const term of terms) device.walk(kernel, y.length, [y, term, y.length]);
    },
    Select: loop('Select', 4),
    LogicalNot: loop('LogicalNot', 2),
    intsToFloats: loop('intsToFloats', 2),
    bytesToFloats: loop('bytesToFloats', 2),
    bytesToInts: loop('bytesToInts', 2),
    floatsToInts: loop('floatsToInts', 2),
    fill(y: DeviceArray, value: number): void {
      if (value === 0 && !Object.is(value, -0)) y.clear();
      else device.walk(device.kernel('elementwise', 'fill', 'pfl'), y.length, [y, value, y.length]);
    },
    fillInts(y: DeviceArray, value: number): void {
      device.walk(device.kernel('elementwise', 'fillInts', 'pil'), y.length, [y, value, y.length]);
    },
    siluForward: activation('siluForward'),
    geluForward: activation('geluForward'),
    geluBackward: loop('geluBackward', 3),
    siluBackward: loop('siluBackward', 3),
    siluGateForward: loop('siluGateForward', 3),
    siluGateBackward: loop('siluGateBackward', 5),
  } as unknown as Kernels;
}

import * as tf from '@tensorflow/tfjs-core';

import type { Attributes, FloatArray, HostKernel } from '../fused.js';
import type { Kernels } from '../native/addon.js';
import { native, none, type NativeOps } from '../native/ops/native.js';
import { gatherRowsDefinition } from '../ops/gatherRows.js';
import {
  gatedSelectiveScanDefinition,
  type ScanConfig,
  selectiveScanDefinition,
} from '../ops/selectiveScan.js';
import { stageOf } from './launches/scan.js';

/** Fused ops that the device computes in its own way, or that have no kernel in the addon. */
export function deviceOps(kernels: Kernels): NativeOps {
  return {
    ...gatherRows(kernels),
    ...scan(kernels, 'SelectiveScan', selectiveScanDefinition),
    ...scan(kernels, 'GatedSelectiveScan', gatedSelectiveScanDefinition),
  };
}

/** In the addon it has none: JavaScript moves rows as fast. */
function gatherRows({ gatherRows: take, gatherRowsGradient }: Kernels): NativeOps {
  const { forward, backward } = gatherRowsDefinition;
  return {
    GatherRows: native(forward, ([x], [y], [shape], { index, lists }) => {
      take(x as Float32Array, index, y as Float32Array, ...shape, lists);
    }),
    GatherRowsGrad: native(backward!, ([, dy], [dx], [shape], { index, lists }) => {
      gatherRowsGradient(dy as Float32Array, index, dx as Float32Array, ...shape, lists);
    }),
  };
}

/**
 * While gradients are recorded, the scan keeps its states before each stage of steps as a third output, so that the way back
 * need not find them again.
 */
function scan(
  { scanForward, scanBackward }: Kernels,
  name: string,
  { forward, backward }: typeof selectiveScanDefinition,
): NativeOps {
  const gated = name === 'GatedSelectiveScan';
  const inputCount = gated ? 9 : 8;
  const withGate = (inputs: readonly FloatArray[]): Float32Array[] =>
    [...inputs, ...(gated ? [] : [none])] as Float32Array[];
  const forwardKernel: HostKernel<ScanConfig> = {
    writesAll: true,
    outputShapes(shapes, attributes) {
      const [[batch, length, channels], , [, states]] = shapes;
      const kept = [Math.ceil(length / stageOf(states)), batch, channels, states];
      const recorded = tf.engine().state.gradientDepth > 0;
      return [...forward.outputShapes(shapes, attributes), ...(recorded ? [kept] : [])];
    },
    run(inputs, [y, last, kept = none], [u, , A], { reverse }) {
      const outputs = [y, last] as Float32Array[];
      scanForward(...withGate(inputs), ...outputs, ...u, A[1], reverse, kept as Float32Array);
    },
  };
  /** Without the states, where they were not kept, and without their gradient, which is none. */
  const plain = <T>(inputs: readonly T[]): readonly T[] =>
    inputs.length === inputCount + 2
      ? inputs
      : [...inputs.slice(0, inputCount), ...inputs.slice(inputCount + 1, inputCount + 3)];
  const backwardKernel: HostKernel<ScanConfig> = {
    writesAll: true,
    outputShapes: (shapes, attributes) => backward!.outputShapes(plain(shapes), attributes),
    run(inputs, outputs, [u, , A], { reverse }) {
      const given = plain(inputs);
      const kept = given === inputs ? none : inputs[inputCount];
      scanBackward(
        ...withGate(given.slice(0, inputCount)),
        ...(given.slice(inputCount) as Float32Array[]),
        ...withGate(outputs),
        ...u,
        A[1],
        reverse,
        kept as Float32Array,
      );
    },
  };
  return {
    [name]: forwardKernel as unknown as HostKernel<Attributes>,
    [`${name}Grad`]: backwardKernel as unknown as HostKernel<Attributes>,
  };
}

import * as tf from '@tensorflow/tfjs-core';

import type { Attributes, FloatArray, HostKernel } from '../../fused.js';
import {
  gatedSelectiveScanDefinition,
  type ScanConfig,
  selectiveScanDefinition,
} from '../../ops/selectiveScan.js';
import type { Addon, Kernels } from '../addon.js';
import { none, type NativeOps } from './native.js';

/** Shape of the states that the kernels keep, given `[batch, length, channels, states]`. */
type KeptShape = (sizes: readonly [number, number, number, number]) => number[];

/** Steps between kept states, and channels that kernels of any instruction set take whole (`selective_scan.cc`). */
const chunk = 16;
const lanes = 64;

export function selectiveScan({ scanForward, scanBackward }: Addon['kernels']): NativeOps {
  return scanKeepingStates({ scanForward, scanBackward }, ([batch, length, channels, states]) => [
    batch,
    Math.ceil(channels / lanes) * lanes,
    Math.ceil(length / chunk),
    states,
  ]);
}

/**
 * While gradients are recorded, the scan keeps its states before each chunk as a third output, so that the way back
 * need not find them again.
 */
export function scanKeepingStates(kernels: Kernels, keptShape: KeptShape): NativeOps {
  return {
    ...variant(kernels, keptShape, 'SelectiveScan', selectiveScanDefinition),
    ...variant(kernels, keptShape, 'GatedSelectiveScan', gatedSelectiveScanDefinition),
  };
}

function variant(
  { scanForward, scanBackward }: Kernels,
  keptShape: KeptShape,
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
      const recorded = tf.engine().state.gradientDepth > 0;
      return [
        ...forward.outputShapes(shapes, attributes),
        ...(recorded ? [keptShape([batch, length, channels, states])] : []),
      ];
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

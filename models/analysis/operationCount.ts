import * as tf from '@tensorflow/tfjs-core';

/** What ran, summed over all kernels. */
export interface OperationCount {
  /** Multiply-accumulates of products whose operands are both real numbers. */
  readonly macs: number;
  /** Accumulates of products with spikes, if all of them had fired. */
  readonly synapses: number;
  /** Accumulates that spikes made: those of `synapses` whose spike fired. */
  readonly additions: number;
  /** Values that element by element kernels gave: sums, exponentials, comparisons … */
  readonly elementwise: number;
  /** Bytes that all kernels read and wrote; what only changes a shape moves nothing. */
  readonly trafficBytes: number;
  /** Those of them that were read. */
  readonly readBytes: number;
  /** Those that were read of the weights that `countOperations` was told. */
  readonly weightBytes: number;
  /** Those of the traffic that were spikes, as float32. */
  readonly spikeBytes: number;
}

type Totals = { -readonly [name in keyof OperationCount]: number };

/** Products that a kernel sums, and which of its inputs spikes can come in by. */
interface Products {
  readonly count: number;
  readonly operands: readonly tf.TensorInfo[];
}

type Inputs = Readonly<Record<string, tf.TensorInfo>>;
type Rule = (inputs: Inputs, output: tf.TensorInfo, attributes: unknown) => readonly Products[];

const sizeOf = ({ shape }: tf.TensorInfo): number => shape.reduce((a, b) => a * b, 1);

const matMul: Rule = ({ a, b }, out, attributes) => {
  const { transposeA } = attributes as { transposeA?: boolean };
  const inner = a.shape[a.shape.length - (transposeA === true ? 2 : 1)];
  return [{ count: sizeOf(out) * inner, operands: [a, b] }];
};

/** Each output sums `taps(…)` products. */
const convolution =
  (x: string, weight: string, taps: (weight: readonly number[]) => number): Rule =>
  (inputs, out) => [{ count: sizeOf(out) * taps(inputs[weight].shape), operands: [inputs[x]] }];

/** Keys write each head's memory and queries read it; fused ops name their inputs by number. */
const linearAttention: Rule = ({ input00: q, input01: k }, _, attributes) => {
  const { heads } = attributes as { heads: number };
  const count = (sizeOf(q) * q.shape[3]) / heads;
  return [
    { count, operands: [k] },
    { count, operands: [q] },
  ];
};

/** Decay, drive and output of each state; drive and skip of each channel. */
const selectiveScan: Rule = ({ input00: u, input02: A }) => [
  { count: sizeOf(u) * (3 * A.shape[1] + 2), operands: [] },
];

/** Fused products count as the dense ones: what of them is additions, the spikes say. */
const spikeMatMul: Rule = ({ input00: x, input01: weight }, out) => [
  { count: sizeOf(out) * weight.shape[0], operands: [x] },
];

const rules: Readonly<Record<string, Rule>> = {
  BatchMatMul: matMul,
  _FusedMatMul: matMul,
  Conv2D: convolution('x', 'filter', ([height, width, channels]) => height * width * channels),
  DepthwiseConv2dNative: convolution('x', 'filter', ([height, width]) => height * width),
  DepthwiseConv2dSame: convolution('input00', 'input01', ([height, width]) => height * width),
  CausalConv1d: convolution('input00', 'input01', ([taps]) => taps),
  SpikeMatMul: spikeMatMul,
  SpikeConv2d: convolution(
    'input00',
    'input01',
    ([height, width, channels]) => height * width * channels,
  ),
  LinearAttention: linearAttention,
  DecayingLinearAttention: linearAttention,
  SelectiveScan: selectiveScan,
  GatedSelectiveScan: selectiveScan,
};

/** Kernels whose first output is spikes: fused neurons, and the threshold of those in core ops. */
const firing = /Lif$|^GreaterEqual$/;

/** Kernels that hand values on as they are: what they get of spikes are spikes. */
const moving = new Set(
  'Identity Reshape Transpose Slice StridedSlice SplitV Concat Pack Unpack ExpandDims Tile GatherV2 GatherRows Reverse PadV2 Cast'.split(
    ' ',
  ),
);

/** Kernels without any arithmetic or traffic. */
const views = new Set(['Identity', 'Reshape', 'ExpandDims']);

/**
 * Runs `run` and counts what its kernels did, from the shapes that they met. Values that come out of the
 * neurons' kernel are followed through reshapes and the like, so that products with spikes count apart.
 * A kernel that `rules` has no line for counts as element by element.
 *
 * @param weights whose reads count apart; what a kernel has made of them, transposed for instance, no longer does.
 */
export function countOperations<T>(
  run: () => T,
  weights: Iterable<tf.TensorInfo> = [],
): { result: T; count: OperationCount } {
  const engine = tf.engine();
  const { runKernel } = engine;
  const totals: Totals = {
    macs: 0,
    synapses: 0,
    additions: 0,
    elementwise: 0,
    trafficBytes: 0,
    readBytes: 0,
    weightBytes: 0,
    spikeBytes: 0,
  };
  const weightIds = new Set<object>([...weights].map(({ dataId }) => dataId));
  const spikes = new WeakSet<object>();
  const isSpikes = ({ dataId }: tf.TensorInfo): boolean => spikes.has(dataId);

  const note = (
    name: string,
    inputs: tf.NamedTensorMap,
    outputs: readonly tf.TensorInfo[],
    attributes: unknown,
  ): void => {
    // A list of tensors comes as an array in place of a map.
    const read = Object.values(inputs).filter((x) => x !== undefined && x !== null);
    if (firing.test(name)) spikes.add(outputs[0].dataId);
    if (moving.has(name) && read.length > 0 && read.every(isSpikes)) {
      for (const output of outputs) spikes.add(output.dataId);
    }
    if (views.has(name)) return;
    for (const tensor of read) {
      totals.readBytes += 4 * sizeOf(tensor);
      if (weightIds.has(tensor.dataId)) totals.weightBytes += 4 * sizeOf(tensor);
    }
    for (const tensor of [...read, ...outputs]) {
      totals.trafficBytes += 4 * sizeOf(tensor);
      if (isSpikes(tensor)) totals.spikeBytes += 4 * sizeOf(tensor);
    }
    const rule = rules[name];
    if (rule === undefined) {
      if (!moving.has(name)) totals.elementwise += outputs.reduce((sum, x) => sum + sizeOf(x), 0);
      return;
    }
    for (const { count, operands } of rule(inputs as unknown as Inputs, outputs[0], attributes)) {
      // Of two operands that are spikes, the rarer one bounds how often both fire.
      const fired = operands
        .filter(isSpikes)
        .map((x) => (count * countNonZero(engine.readSync(x.dataId))) / sizeOf(x));
      if (fired.length === 0) totals.macs += count;
      else {
        totals.synapses += count;
        totals.additions += Math.min(...fired);
      }
    }
  };

  engine.runKernel = ((name: string, inputs: tf.NamedTensorMap, attributes?: tf.NamedAttrMap) => {
    const outputs = runKernel.call(engine, name, inputs, attributes);
    note(
      name,
      inputs,
      (Array.isArray(outputs) ? outputs : [outputs]) as tf.TensorInfo[],
      attributes ?? {},
    );
    return outputs;
  }) as typeof engine.runKernel;
  try {
    return { result: run(), count: totals };
  } finally {
    engine.runKernel = runKernel;
  }
}

function countNonZero(values: tf.backend_util.BackendValues): number {
  let count = 0;
  for (const value of values) if (value !== 0) count++;
  return count;
}

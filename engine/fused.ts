import * as tf from '@tensorflow/tfjs-core';

import { zeros } from './ops/zeros.js';

/** Numbers that a kernel loop runs over: float32 inside tensors, float64 in gradient checks. */
export type FloatArray = Float32Array | Float64Array;

/** Settings of an op; plain data, so that they can be a TensorFlow.js kernel's attributes. */
export type Attributes = Readonly<Record<string, number | boolean | string | ArrayBufferView>>;

/**
 * A kernel as a loop over arrays in host memory. Inputs and outputs are dense, row-major, in a fixed
 * order. `run` finds its outputs filled with zeros, unless it says that it writes them all.
 */
export interface HostKernel<A extends Attributes> {
  /** Whether `run` writes every value of its outputs: they then come uncleared. */
  readonly writesAll?: boolean;
  outputShapes(inputShapes: readonly (readonly number[])[], attributes: A): readonly number[][];
  run(
    inputs: readonly FloatArray[],
    outputs: readonly FloatArray[],
    inputShapes: readonly (readonly number[])[],
    attributes: A,
  ): void;
}

/**
 * One fused op: the loops that compute it, the loops of its gradient, and what both must equal.
 *
 * `backward` takes the saved inputs (all), the saved outputs (where `saveOutputs` is true) and one
 * gradient per output, in this order, and gives one gradient per input. Without it the
 * reference is differentiated.
 */
export interface FusedOpDefinition<A extends Attributes> {
  /** TensorFlow.js kernel name; the gradient's kernel is called `<name>Grad`. */
  readonly name: string;
  readonly forward: HostKernel<A>;
  readonly backward?: HostKernel<A>;
  /** Which outputs the gradient needs (none by default). */
  readonly saveOutputs?: readonly boolean[];
  /**
   * The number of outputs, where a backend's kernel may give more while gradients are recorded: what its own gradient
   * kernel would have to compute again. They are saved where `saveOutputs` says so, and nobody else sees them.
   */
  readonly outputCount?: number;
  /** The same op in plain TensorFlow.js ops: readable, differentiable, slow. Runs on all other backends. */
  reference(inputs: readonly tf.Tensor[], attributes: A): tf.Tensor[];
}

/** A defined op: apply it to tensors, get its outputs. Differentiable with `tf.grads` and friends. */
export interface FusedOp<A extends Attributes> {
  (inputs: readonly tf.Tensor[], attributes: A): tf.Tensor[];
  readonly definition: FusedOpDefinition<A>;
  /**
   * The kernel of the gradient by itself, for what `backward` takes; undefined where the current backend has none.
   */
  gradients(inputs: readonly tf.Tensor[], attributes: A): tf.Tensor[] | undefined;
}

interface HostMemory {
  allocate(shape: number[]): tf.TensorInfo;
  view(info: tf.TensorInfo): Float32Array;
}

/** The backends whose tensors lie in memory that JavaScript can address directly. */
const hostMemories: Readonly<Record<string, (backend: unknown) => HostMemory>> = {
  cpu: (backend) => {
    const cpu = backend as {
      makeTensorInfo(shape: number[], dtype: string, values: Float32Array): tf.TensorInfo;
      data: { get(id: object): { values: Float32Array } };
    };
    return {
      allocate: (shape) => cpu.makeTensorInfo(shape, 'float32', new Float32Array(sizeOf(shape))),
      view: (info) => cpu.data.get(info.dataId).values,
    };
  },
  wasm: (backend) => {
    const wasm = backend as {
      makeOutput(shape: number[], dtype: string): tf.TensorInfo;
      typedArrayFromHeap(info: tf.TensorInfo): Float32Array;
    };
    return {
      allocate: (shape) => wasm.makeOutput(shape, 'float32'),
      view: (info) => wasm.typedArrayFromHeap(info),
    };
  },
  native: (backend) => {
    const native = backend as {
      output(shape: number[]): tf.TensorInfo;
      floats(info: tf.TensorInfo): Float32Array;
    };
    return {
      allocate: (shape) => native.output(shape),
      view: (info) => native.floats(info),
    };
  },
};

/** Kernels that replace an op's own loops on one backend, by `<backend>/<kernel>`. */
const overrides = new Map<string, HostKernel<Attributes>>();

/** Replaces the loop of a kernel on one backend by a faster one. */
export function overrideHostKernel(
  backendName: string,
  kernelName: string,
  kernel: HostKernel<Attributes>,
): void {
  overrides.set(`${backendName}/${kernelName}`, kernel);
}

export function sizeOf(shape: readonly number[]): number {
  return shape.reduce((product, extent) => product * extent, 1);
}

/**
 * Registers an op's loops with TensorFlow.js on the backends of `hostMemories`. On any other backend the
 * op is its reference: plain ops, which TensorFlow.js differentiates itself.
 */
export function defineFusedOp<A extends Attributes>(definition: FusedOpDefinition<A>): FusedOp<A> {
  const { name, forward, backward, reference } = definition;
  for (const backendName of Object.keys(hostMemories)) {
    registerHostKernel(name, backendName, forward);
    if (backward !== undefined) registerHostKernel(`${name}Grad`, backendName, backward);
  }

  const op = (inputs: readonly tf.Tensor[], attributes: A): tf.Tensor[] => {
    if (tf.getKernel(name, tf.getBackend()) === undefined) {
      return tf.tidy(() => reference(inputs, attributes));
    }
    registerGradientOf(definition, inputs.length);
    const result = tf
      .engine()
      .runKernel(name, named(inputs), attributes as unknown as tf.NamedAttrMap);
    const outputs = Array.isArray(result) ? (result as tf.Tensor[]) : [result as tf.Tensor];
    const count = definition.outputCount ?? outputs.length;
    fillUnusedGradients(name, count);
    return outputs.slice(0, count);
  };
  const gradients = (inputs: readonly tf.Tensor[], attributes: A): tf.Tensor[] | undefined =>
    tf.getKernel(`${name}Grad`, tf.getBackend()) === undefined
      ? undefined
      : runGradients(name, inputs, attributes);
  return Object.assign(op, { definition, gradients });
}

/**
 * Outputs that nothing uses have gradients of zeros, which TensorFlow.js makes on the host, once a step. Lets the
 * backend make those of the op that ran just now in its own memory.
 *
 * @param count outputs that have a gradient at all.
 */
function fillUnusedGradients(name: string, count: number): void {
  const node = tf.engine().state.activeTape?.at(-1);
  const gradient = node?.kernelName === name ? node.gradient : undefined;
  if (node === undefined || gradient === undefined || node.outputs.length === 1) return;
  node.gradient = (dys: (tf.Tensor | null)[]) =>
    gradient(dys.map((dy, i) => dy ?? zeros(i < count ? node.outputs[i].shape : [0])));
}

function registerHostKernel<A extends Attributes>(
  kernelName: string,
  backendName: string,
  loop: HostKernel<A>,
): void {
  const key = `${backendName}/${kernelName}`;
  tf.registerKernel({
    kernelName,
    backendName,
    kernelFunc: ({ inputs, attrs, backend }) => {
      const kernel = (overrides.get(key) as HostKernel<A> | undefined) ?? loop;
      const memory = hostMemories[backendName](backend);
      const attributes = attrs as unknown as A;
      const infos = Object.values(inputs) as tf.TensorInfo[];
      const shapes = infos.map((info) => info.shape);
      const outputs = kernel
        .outputShapes(shapes, attributes)
        .map((shape) => memory.allocate(shape));
      // All allocation is done: from here on a growing WebAssembly heap cannot detach a view.
      const outputViews = outputs.map((info) => memory.view(info));
      if (kernel.writesAll !== true) for (const view of outputViews) view.fill(0);
      kernel.run(
        infos.map((info) => memory.view(info)),
        outputViews,
        shapes,
        attributes,
      );
      return outputs;
    },
  });
}

function registerGradientOf<A extends Attributes>(
  definition: FusedOpDefinition<A>,
  inputCount: number,
): void {
  const { name, backward, saveOutputs = [] } = definition;
  if (tf.getGradient(name) !== undefined) return;
  const inputNames = Array.from({ length: inputCount }, (_, i) => inputName(i));
  tf.registerGradient({
    kernelName: name,
    inputsToSave: inputNames,
    outputsToSave: [...saveOutputs],
    gradFunc: (dy, saved, attrs) => {
      const dys = Array.isArray(dy) ? dy : [dy];
      const gradients =
        backward === undefined
          ? referenceGradients(definition, saved.slice(0, inputCount), dys, attrs as unknown as A)
          : runGradients(name, [...saved, ...dys], attrs as unknown as A);
      return Object.fromEntries(inputNames.map((input, i) => [input, () => gradients[i]]));
    },
  });
}

function runGradients<A extends Attributes>(
  name: string,
  inputs: readonly tf.Tensor[],
  attributes: A,
): tf.Tensor[] {
  const attrs = attributes as unknown as tf.NamedAttrMap;
  const gradients = tf.engine().runKernel(`${name}Grad`, named(inputs), attrs);
  return Array.isArray(gradients) ? (gradients as tf.Tensor[]) : [gradients as tf.Tensor];
}

/** Gradients of an op's reference: what `backward` must equal, and what an op without it has. */
export function referenceGradients<A extends Attributes>(
  definition: FusedOpDefinition<A>,
  inputs: readonly tf.Tensor[],
  dys: readonly tf.Tensor[],
  attributes: A,
): tf.Tensor[] {
  const weighted = (...xs: tf.Tensor[]): tf.Tensor =>
    definition
      .reference(xs, attributes)
      .map((output, i) => tf.sum(tf.mul(output, dys[i])))
      .reduce((a, b) => tf.add(a, b));
  // TensorFlow.js drops its tape after a gradient; inside another gradient, that one still needs its own.
  const { state } = tf.engine();
  const tape = state.activeTape;
  try {
    return tf.grads(weighted as (...xs: tf.Tensor[]) => tf.Tensor)([...inputs]);
  } finally {
    state.activeTape = tape;
  }
}

const inputNames: string[] = [];

function inputName(index: number): string {
  // Fixed width: object keys keep their order of insertion only while they are not integers.
  return (inputNames[index] ??= `input${String(index).padStart(2, '0')}`);
}

function named(tensors: readonly tf.Tensor[]): tf.NamedTensorMap {
  const map: tf.NamedTensorMap = {};
  for (let i = 0; i < tensors.length; i++) map[inputName(i)] = tensors[i];
  return map;
}

import { totalmem } from 'node:os';

import * as tf from '@tensorflow/tfjs-core';
import { MathBackendCPU } from '@tensorflow/tfjs-backend-cpu';

import type { Addon } from './addon.js';
import { BufferPool, type TensorArray } from './pool.js';

/** Types whose values lie in a typed array. */
export type NumericType = 'float32' | 'int32' | 'bool';

const arrayTypes = { float32: Float32Array, int32: Int32Array, bool: Uint8Array } as const;

type ArrayOf<D extends NumericType> = InstanceType<(typeof arrayTypes)[D]>;

/** A kernel's result: what TensorFlow.js is given, and the array to write. */
export interface Output<D extends NumericType = 'float32'> extends tf.TensorInfo {
  readonly values: ArrayOf<D>;
}

/**
 * TensorFlow.js's `cpu` backend with memory from a pool. Tensors lie in host memory, so `cpu` kernels
 * run on them unchanged; native kernels replace them one by one.
 *
 * Only memory that came from `output` goes back to the pool, once the last tensor that shares it is
 * disposed. What a user reads is a copy.
 */
export class NativeBackend extends MathBackendCPU {
  /** Under which name its kernels are registered. */
  readonly kernelsOf: string = 'native';
  readonly pool: BufferPool;

  constructor(readonly addon: Addon) {
    super();
    this.pool = new BufferPool(addon, totalmem() / 4);
  }

  /** Allocates a result. Its values are whatever was there before. */
  output<D extends NumericType = 'float32'>(
    shape: readonly number[],
    dtype: D = 'float32' as D,
  ): Output<D> {
    let size = 1;
    for (const extent of shape) size *= extent;
    const values = this.pool.allocate<TensorArray>(arrayTypes[dtype], size) as ArrayOf<D>;
    const dataId = {};
    this.data.set(dataId, { values, dtype, refCount: 1 });
    return { dataId, shape: shape as number[], dtype, values };
  }

  /** The values of a tensor as they are kept: a `float32` tensor may hold another type's array. */
  values(info: tf.TensorInfo): TensorArray {
    return this.data.get(info.dataId).values as TensorArray;
  }

  /** The values as float32, in place where they are that already. */
  floats(info: tf.TensorInfo): Float32Array {
    const values = this.values(info);
    return values instanceof Float32Array ? values : Float32Array.from(values);
  }

  /** A second tensor on the same memory, of another shape. */
  share(info: tf.TensorInfo, shape: readonly number[]): tf.TensorInfo {
    this.incRef(info.dataId);
    return { dataId: info.dataId, shape: shape as number[], dtype: info.dtype };
  }

  override write(
    values: tf.backend_util.BackendValues,
    _shape: number[],
    dtype: tf.DataType,
  ): object {
    const dataId = {};
    this.data.set(dataId, { values: this.own(values), dtype, refCount: 1 });
    return dataId;
  }

  override move(
    dataId: object,
    values: tf.backend_util.BackendValues,
    _shape: number[],
    dtype: tf.DataType,
    refCount: number,
  ): void {
    this.data.set(dataId, { values: this.own(values), dtype, refCount });
  }

  /** A `cpu` kernel may give a part of its input as its output; pooled memory must not be shared so. */
  private own(values: tf.backend_util.BackendValues): tf.backend_util.BackendValues {
    return ArrayBuffer.isView(values) && this.pool.owns(values as TensorArray)
      ? (values as TensorArray).slice()
      : values;
  }

  override readSync(dataId: object): tf.backend_util.BackendValues {
    const values = super.readSync(dataId);
    return this.own(values);
  }

  override bufferSync<R extends tf.Rank, D extends tf.DataType>(
    t: tf.TensorInfo,
  ): tf.TensorBuffer<R, D> {
    const { values } = this.data.get(t.dataId);
    if (t.dtype === 'string' || t.dtype === 'complex64') return super.bufferSync(t);
    return tf.buffer(t.shape as tf.ShapeMap[R], t.dtype as D, values as tf.DataTypeMap[D]);
  }

  override disposeData(dataId: object, force = false): boolean {
    const data = this.data.has(dataId) ? this.data.get(dataId) : undefined;
    const gone = super.disposeData(dataId, force);
    if (gone && data !== undefined && ArrayBuffer.isView(data.values)) {
      this.pool.release(data.values as TensorArray);
    }
    return gone;
  }
}

/** What a kernel gets: as from TensorFlow.js, with this backend. */
export interface KernelCall {
  readonly inputs: Readonly<Record<string, tf.TensorInfo>>;
  readonly attrs: Readonly<Record<string, unknown>>;
  readonly backend: NativeBackend;
}

/**
 * A native kernel of TensorFlow.js. `run` gives `undefined` for inputs that it does not take (another
 * type, a rare setting); the `cpu` kernel then does.
 */
export interface NativeKernel {
  readonly name: string;
  run(call: KernelCall): tf.TensorInfo | tf.TensorInfo[] | undefined;
}

import * as tf from '@tensorflow/tfjs-core';
import { MathBackendCPU } from '@tensorflow/tfjs-backend-cpu';

import { sizeOf } from '../fused.js';
import type { Graph } from '../graphs.js';
import { SaccadeError } from '../support/errors.js';
import type { Driver } from './driver.js';
import { allZero } from './libraries.js';
import { type DeviceArray, DeviceMemory, type DeviceType, type MemoryUse } from './memory.js';
import { Uploads } from './uploads.js';

type HostValues = tf.backend_util.BackendValues;

/** A tensor's values: on the device, on the host until a kernel asks for them, or both. */
interface TensorData {
  readonly dtype: tf.DataType;
  refCount: number;
  device?: DeviceArray;
  host?: HostValues;
  complex?: { readonly real: tf.TensorInfo; readonly imag: tf.TensorInfo };
}

/** A kernel's result: what TensorFlow.js is given, and the device memory to write. */
export interface DeviceOutput extends tf.TensorInfo {
  readonly values: DeviceArray;
}

const arrayTypes = { float32: Float32Array, int32: Int32Array, bool: Uint8Array } as const;

/** A tensor's values on the host as an array of its type: it may have been given another's. */
function hostArray({ dtype, host }: TensorData): Float32Array | Int32Array | Uint8Array {
  const Type = arrayTypes[dtype as DeviceType];
  const given = host as unknown as ArrayLike<number>;
  return given instanceof Type ? given : Type.from(given);
}

/**
 * TensorFlow.js backend whose tensors lie on a CUDA device. What has no kernel here runs on the host
 * (`fallback`), and is counted.
 */
export class CudaBackend extends tf.KernelBackend {
  /** Under which name its kernels are registered. */
  readonly kernelsOf = 'cuda';
  readonly memoryPool: DeviceMemory;
  readonly uploads: Uploads;
  /** Runs the kernels that the device has not. */
  readonly host = new MathBackendCPU();
  /** How often each kernel ran on the host. */
  readonly fallbacks = new Map<string, number>();
  /** Where kernels are to be timed, one by one: what each took so far, in milliseconds, by name. */
  timings: Map<string, { calls: number; milliseconds: number }> | undefined;
  /** The kernel that runs, for messages. */
  running = 'a tensor';
  private readonly tensors = new Map<object, TensorData>();

  constructor(
    readonly driver: Driver,
    limitBytes?: number,
  ) {
    super();
    this.memoryPool = new DeviceMemory(driver, limitBytes);
    this.uploads = new Uploads(driver, this.memoryPool);
  }

  /** Allocates a result. Its values are whatever was there before. */
  output(shape: readonly number[], dtype: DeviceType = 'float32'): DeviceOutput {
    const values = this.allocate(shape, dtype);
    const dataId = {};
    this.tensors.set(dataId, { dtype, refCount: 1, device: values });
    return { dataId, shape: shape as number[], dtype, values };
  }

  private allocate(shape: readonly number[], dtype: DeviceType): DeviceArray {
    return this.memoryPool.allocate(
      dtype,
      sizeOf(shape),
      () => `${this.running} with an array of [${shape.join(', ')}]`,
    );
  }

  /** Memory for the time of one kernel. */
  scratch<T>(length: number, use: (values: DeviceArray) => T): T {
    const values = this.allocate([length], 'float32');
    try {
      return use(values);
    } finally {
      this.memoryPool.release(values);
    }
  }

  /** A tensor's values on the device. */
  values(info: tf.TensorInfo): DeviceArray {
    const data = this.tensors.get(info.dataId)!;
    data.device ??= this.upload(data);
    return data.device;
  }

  /** Starts the way of a tensor's values to the device (engine/graphs.ts). */
  sendAhead(info: tf.TensorInfo): void {
    this.values(info);
  }

  /** The values as float32; TensorFlow.js never hands other types to kernels that ask for them. */
  floats(info: tf.TensorInfo): DeviceArray {
    return this.values(info);
  }

  /** A second tensor on the same memory, of another shape. */
  share(info: tf.TensorInfo, shape: readonly number[]): tf.TensorInfo {
    this.incRef(info.dataId);
    return { dataId: info.dataId, shape: shape as number[], dtype: info.dtype };
  }

  /**
   * The same tensor for a kernel that changes it in place, with a reference of its own; a copy where others share its
   * memory.
   */
  own(info: tf.TensorInfo): tf.TensorInfo {
    const values = this.values(info);
    if (this.tensors.get(info.dataId)!.refCount === 1) return this.share(info, info.shape);
    const copy = this.output(info.shape, values.dtype);
    copy.values.set(values);
    return copy;
  }

  private upload(data: TensorData): DeviceArray {
    const values = hostArray(data);
    const dtype = data.dtype as DeviceType;
    if (this.driver.capturing) {
      // Sent once: it must lie where nothing else that is replayed writes.
      const device = this.memoryPool.allocateFixed(dtype, values.length, () => this.running);
      this.driver.uploadNow(device.pointer, values);
      return device;
    }
    const device = this.allocate([values.length], dtype);
    // TensorFlow.js makes zeros on the host, for states and for gradients that nothing asked for.
    if (allZero(values)) device.clear();
    else this.uploads.send(device.pointer, values);
    return device;
  }

  /** Writes a tensor's values into another's memory (engine/graphs.ts). */
  assign(target: tf.TensorInfo, source: tf.TensorInfo): void {
    const to = this.values(target);
    const from = this.tensors.get(source.dataId)!;
    if (from.device !== undefined || this.driver.capturing) to.set(this.values(source));
    else this.uploads.send(to.pointer, hostArray(from));
  }

  /** Records what `run` launches (engine/graphs.ts). */
  capture(run: () => void): Graph {
    if (this.timings !== undefined) throw new Error('kernels that are timed cannot be recorded');
    const { result: graph, giveBack } = this.memoryPool.setAside(() => this.driver.capture(run));
    return {
      replay: () => graph.launch(),
      dispose: () => {
        graph.destroy();
        giveBack();
      },
    };
  }

  override write(values: HostValues, _shape: number[], dtype: tf.DataType): object {
    const dataId = {};
    this.tensors.set(dataId, { dtype, refCount: 1, host: values });
    return dataId;
  }

  override move(
    dataId: object,
    values: HostValues,
    _shape: number[],
    dtype: tf.DataType,
    refCount: number,
  ): void {
    this.tensors.set(dataId, { dtype, refCount, host: values });
  }

  override async read(dataId: object): Promise<HostValues> {
    return Promise.resolve(this.readSync(dataId));
  }

  override readSync(dataId: object): HostValues {
    const data = this.tensors.get(dataId)!;
    if (data.complex !== undefined) {
      const { real, imag } = data.complex;
      return tf.backend_util.mergeRealAndImagArrays(
        this.readSync(real.dataId) as Float32Array,
        this.readSync(imag.dataId) as Float32Array,
      );
    }
    if (data.device === undefined) return data.host!;
    if (this.driver.capturing) {
      throw new SaccadeError(
        'environment',
        `${this.running} reads a tensor on the host while a graph is recorded: its values are not there yet`,
      );
    }
    const values = new arrayTypes[data.dtype as DeviceType](data.device.length);
    this.driver.download(values, data.device.pointer);
    return values;
  }

  bufferSync<R extends tf.Rank, D extends tf.DataType>(t: tf.TensorInfo): tf.TensorBuffer<R, D> {
    const values = this.readSync(t.dataId);
    const decoded =
      t.dtype === 'string'
        ? (values as Uint8Array[]).map((bytes) => tf.util.decodeString(bytes))
        : values;
    return tf.buffer(t.shape as tf.ShapeMap[R], t.dtype as D, decoded as tf.DataTypeMap[D]);
  }

  makeTensorInfo(
    shape: number[],
    dtype: tf.DataType,
    values?: HostValues | string[],
  ): tf.TensorInfo {
    const encoded =
      dtype === 'string' && typeof values?.[0] === 'string'
        ? (values as string[]).map((text) => tf.util.encodeString(text))
        : (values as HostValues);
    return { dataId: this.write(encoded, shape, dtype), shape, dtype };
  }

  /** A complex tensor of two real ones; takes the caller's references over. */
  complex(real: tf.TensorInfo, imag: tf.TensorInfo): tf.TensorInfo {
    const dataId = {};
    this.tensors.set(dataId, { dtype: 'complex64', refCount: 1, complex: { real, imag } });
    return { dataId, shape: real.shape, dtype: 'complex64' };
  }

  partsOf(info: tf.TensorInfo): { real: tf.TensorInfo; imag: tf.TensorInfo } {
    return this.tensors.get(info.dataId)!.complex!;
  }

  /** Runs a kernel, waits for it, and adds its time on the device to `timings`. */
  timed<T>(
    name: string,
    run: () => T,
    timings: Map<string, { calls: number; milliseconds: number }>,
  ): T {
    let result: T | undefined;
    const milliseconds = this.driver.time(() => (result = run()));
    const before = timings.get(name) ?? { calls: 0, milliseconds: 0 };
    timings.set(name, {
      calls: before.calls + 1,
      milliseconds: before.milliseconds + milliseconds,
    });
    return result as T;
  }

  /** Runs a kernel of the `cpu` backend on copies of the inputs, and counts it. */
  fallback(name: string, kernel: tf.KernelFunc, call: Parameters<tf.KernelFunc>[0]) {
    this.fallbacks.set(name, (this.fallbacks.get(name) ?? 0) + 1);
    const { host } = this;
    const lent: tf.TensorInfo[] = [];
    const down = (info: tf.TensorInfo): tf.TensorInfo => {
      const data = this.tensors.get(info.dataId)!;
      if (data.complex !== undefined) {
        const parts = [data.complex.real, data.complex.imag].map(down);
        const dataId = host.makeTensorInfo(info.shape, 'complex64').dataId;
        host.data.get(dataId).complexTensorInfos = { real: parts[0], imag: parts[1] } as never;
        const copy = { dataId, shape: info.shape, dtype: info.dtype };
        lent.push(copy);
        return copy;
      }
      const copy = {
        // What some kernels ask of a tensor beyond its info.
        rank: info.shape.length,
        size: sizeOf(info.shape),
        shape: info.shape,
        dtype: info.dtype,
        dataId: host.write(this.readSync(info.dataId), info.shape, info.dtype),
      };
      lent.push(copy);
      return copy;
    };
    const up = (info: tf.TensorInfo): tf.TensorInfo => {
      const { values, complexTensorInfos } = host.data.get(info.dataId);
      if (complexTensorInfos !== undefined) {
        const { real, imag } = complexTensorInfos as unknown as {
          real: tf.TensorInfo;
          imag: tf.TensorInfo;
        };
        return {
          ...this.complex(up({ ...real, shape: info.shape }), up({ ...imag, shape: info.shape })),
          shape: info.shape,
        };
      }
      // The host's array may be a part of an input's.
      const own = ArrayBuffer.isView(values) ? (values as Float32Array).slice() : values!;
      return {
        dataId: this.write(own, info.shape, info.dtype),
        shape: info.shape,
        dtype: info.dtype,
      };
    };
    const lend = (given?: tf.TensorInfo | tf.TensorInfo[]) =>
      given == null ? given : Array.isArray(given) ? given.map(down) : down(given);
    // Some kernels take their inputs as a list.
    const inputs = (
      Array.isArray(call.inputs)
        ? lend(call.inputs)
        : Object.fromEntries(Object.entries(call.inputs).map(([key, info]) => [key, lend(info)]))
    ) as tf.NamedTensorInfoMap;
    const results = kernel({ ...call, inputs, backend: host });
    const infos = Array.isArray(results) ? results : [results];
    const outputs = infos.map(up);
    for (const info of [...infos, ...lent]) {
      if (host.data.has(info.dataId)) host.disposeData(info.dataId, true);
    }
    return Array.isArray(results) ? outputs : outputs[0];
  }

  override disposeData(dataId: object, force = false): boolean {
    const data = this.tensors.get(dataId);
    if (data === undefined) return true;
    data.refCount--;
    if (!force && data.refCount > 0) return false;
    if (data.complex !== undefined) {
      this.disposeData(data.complex.real.dataId);
      this.disposeData(data.complex.imag.dataId);
    }
    if (data.device !== undefined) this.memoryPool.release(data.device);
    this.tensors.delete(dataId);
    return true;
  }

  override incRef(dataId: object): void {
    const data = this.tensors.get(dataId);
    if (data !== undefined) data.refCount++;
  }

  decRef(dataId: object): void {
    const data = this.tensors.get(dataId);
    if (data !== undefined) data.refCount--;
  }

  override refCount(dataId: object): number {
    return this.tensors.get(dataId)?.refCount ?? 0;
  }

  override numDataIds(): number {
    return this.tensors.size;
  }

  override memory(): MemoryUse & { unreliable: boolean } {
    return { unreliable: false, ...this.memoryPool.use() };
  }

  /** Milliseconds on the device. */
  override time(run: () => void): Promise<tf.BackendTimingInfo> {
    return Promise.resolve({ kernelMs: this.driver.time(run) });
  }

  override timerAvailable(): boolean {
    return true;
  }

  override floatPrecision(): 16 | 32 {
    return 32;
  }

  override epsilon(): number {
    return 1e-7;
  }

  override dispose(): void {
    for (const dataId of [...this.tensors.keys()]) this.disposeData(dataId, true);
    this.uploads.dispose();
  }
}

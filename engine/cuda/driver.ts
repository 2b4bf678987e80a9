import { addressOf, memoryAt, openLibrary, type Library, StatusCalls } from './libraries.js';

/** An error that the CUDA driver reports. */
export class CudaError extends Error {
  constructor(
    readonly code: number,
    readonly reason: string,
    call: string,
  ) {
    super(`${call} failed: ${reason} (CUDA error ${code})`);
    this.name = 'CudaError';
  }
}

const outOfMemory = 2;

/** Types of kernel arguments: pointer, int32, int64, float32. */
type ArgumentType = 'p' | 'i' | 'l' | 'f';

/** A kernel of a loaded module. */
export interface DeviceFunction {
  readonly name: string;
  readonly handle: unknown;
  readonly types: readonly ArgumentType[];
}

/** A compiled module on the device. */
export interface DeviceModule {
  /** @param types one letter per argument: p pointer, i int32, l int64, f float32. */
  function(name: string, types: string): DeviceFunction;
}

/** Host memory that the device reads by itself. */
export interface PinnedMemory {
  readonly address: bigint;
  readonly bytes: Uint8Array;
}

/** A recorded graph. */
export interface DeviceGraph {
  launch(): void;
  destroy(): void;
}

/**
 * The part of the CUDA driver API that the backend needs, on one device and one stream. Addresses on the
 * device are plain numbers: they lie below 2⁵³.
 */
export class Driver {
  readonly version: number;
  readonly deviceName: string;
  /** Compute capability, 90 for 9.0. */
  readonly architecture: number;
  readonly multiprocessors: number;
  readonly totalBytes: number;
  readonly stream: unknown;
  /** Launches since the start, for reports. */
  launches = 0;
  /** Whether launches are recorded for a graph rather than done. */
  capturing = false;
  /** For uploads while the other one is recorded. */
  private readonly secondStream: unknown;
  private readonly calls: StatusCalls;
  // Arguments are packed into one block; the driver copies it during the launch.
  private readonly block = new DataView(new ArrayBuffer(4096));
  private readonly blockSize = new BigUint64Array(512);
  private readonly extra = new BigUint64Array(512);

  private constructor(library: Library) {
    this.calls = new StatusCalls(library, failureOf);
    const one = new Int32Array(16);
    this.calls.call('int cuInit(unsigned int flags)', 0);
    this.calls.call('int cuDriverGetVersion(int *version)', one);
    this.version = one[0];
    this.calls.call('int cuDeviceGet(int *device, int ordinal)', one, 0);
    const device = one[0];
    const name = Buffer.alloc(256);
    this.calls.call(
      'int cuDeviceGetName(uint8_t *name, int length, int device)',
      name,
      255,
      device,
    );
    this.deviceName = name.subarray(0, name.indexOf(0)).toString();
    const attribute = (id: number): number => {
      this.calls.call(
        'int cuDeviceGetAttribute(int *value, int attribute, int device)',
        one,
        id,
        device,
      );
      return one[0];
    };
    this.architecture = 10 * attribute(75) + attribute(76);
    this.multiprocessors = attribute(16);
    const out = new BigUint64Array(16);
    this.calls.call('int cuDeviceTotalMem_v2(uint64_t *bytes, int device)', out, device);
    this.totalBytes = Number(out[0]);
    this.calls.call('int cuDevicePrimaryCtxRetain(uint64_t *context, int device)', out, device);
    this.calls.call('int cuCtxSetCurrent(uint64_t context)', out[0]);
    this.calls.call('int cuStreamCreate(uint64_t *stream, unsigned int flags)', out, 1);
    this.stream = out[0];
    this.calls.call('int cuStreamCreate(uint64_t *stream, unsigned int flags)', out, 1);
    this.secondStream = out[0];
    this.extra.set([1n, BigInt(addressOf(this.block)), 2n, BigInt(addressOf(this.blockSize)), 0n]);
  }

  /** @throws Error saying what is missing, where there is no driver or no device. */
  static open(): Driver {
    return new Driver(openLibrary(['libcuda.so.1', 'libcuda.so', 'nvcuda.dll'], 'the CUDA driver'));
  }

  /** Allocates device memory; `undefined` where there is none left. */
  allocate(bytes: number): number | undefined {
    const out = new BigUint64Array(16);
    const code = this.calls.status(
      'int cuMemAlloc_v2(uint64_t *pointer, size_t bytes)',
      out,
      bytes,
    );
    if (code === outOfMemory) return undefined;
    if (code !== 0) throw failureOf(code, 'cuMemAlloc');
    return Number(out[0]);
  }

  free(pointer: number): void {
    this.calls.call('int cuMemFree_v2(uint64_t pointer)', pointer);
  }

  /** Host to device, at most 64 KiB: so much the driver has read when this returns. `Uploads` sends any number. */
  upload(pointer: number, values: ArrayBufferView): void {
    this.send(pointer, values, this.stream);
  }

  /** Host to device beside the stream, on another one; the memory may be written once `stream` is there. */
  uploadPinned(pointer: number, { address }: PinnedMemory, bytes: number, stream: bigint): void {
    this.calls.call(
      'int cuMemcpyHtoDAsync_v2(uint64_t target, uint64_t source, size_t bytes, uint64_t stream)',
      pointer,
      address,
      bytes,
      stream,
    );
  }

  /** Host memory from which copies need no help of the processor. */
  pin(bytes: number): PinnedMemory {
    const address = this.calls.make(
      'int cuMemHostAlloc(uint64_t *pointer, size_t bytes, unsigned int flags)',
      bytes,
      0,
    );
    return { address, bytes: memoryAt(address, bytes) };
  }

  unpin({ address }: PinnedMemory): void {
    this.calls.call('int cuMemFreeHost(uint64_t pointer)', address);
  }

  /** Host to device, done when this returns, apart from the stream; for memory that no launch uses yet. */
  uploadNow(pointer: number, values: ArrayBufferView): void {
    this.send(pointer, values, this.secondStream);
    this.calls.call('int cuStreamSynchronize(uint64_t stream)', this.secondStream);
  }

  private send(pointer: number, values: ArrayBufferView, stream: unknown): void {
    if (values.byteLength === 0) return;
    const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    this.calls.call(
      'int cuMemcpyHtoDAsync_v2(uint64_t target, const uint8_t *source, size_t bytes, uint64_t stream)',
      pointer,
      bytes,
      values.byteLength,
      stream,
    );
  }

  /** Device to host, after all launches so far. */
  download(values: ArrayBufferView, pointer: number): void {
    if (values.byteLength === 0) return;
    const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    this.calls.call(
      'int cuMemcpyDtoHAsync_v2(uint8_t *target, uint64_t source, size_t bytes, uint64_t stream)',
      bytes,
      pointer,
      values.byteLength,
      this.stream,
    );
    this.synchronise();
  }

  copy(target: number, source: number, bytes: number): void {
    if (bytes === 0) return;
    this.calls.call(
      'int cuMemcpyDtoDAsync_v2(uint64_t target, uint64_t source, size_t bytes, uint64_t stream)',
      target,
      source,
      bytes,
      this.stream,
    );
  }

  /** Sets bytes to zero. */
  clear(pointer: number, bytes: number): void {
    if (bytes === 0) return;
    this.calls.call(
      'int cuMemsetD8Async(uint64_t pointer, uint8_t value, size_t bytes, uint64_t stream)',
      pointer,
      0,
      bytes,
      this.stream,
    );
  }

  synchronise(): void {
    this.calls.call('int cuStreamSynchronize(uint64_t stream)', this.stream);
  }

  /** Bytes free and in all. */
  memory(): { free: number; total: number } {
    const free = new BigUint64Array(16);
    const total = new BigUint64Array(16);
    this.calls.call('int cuMemGetInfo_v2(uint64_t *free, uint64_t *total)', free, total);
    return { free: Number(free[0]), total: Number(total[0]) };
  }

  loadModule(image: Uint8Array): DeviceModule {
    const out = new BigUint64Array(16);
    this.calls.call('int cuModuleLoadData(uint64_t *module, const uint8_t *image)', out, image);
    const module = out[0];
    return {
      function: (name, types) => {
        const found = new BigUint64Array(16);
        this.calls.call(
          'int cuModuleGetFunction(uint64_t *function, uint64_t module, const char *name)',
          found,
          module,
          name,
        );
        return { name, handle: found[0], types: [...types] as ArgumentType[] };
      },
    };
  }

  /** Lets a kernel use more dynamic shared memory than the 48 KiB that it has by default. */
  allowShared(kernel: DeviceFunction, bytes: number): void {
    this.calls.call(
      'int cuFuncSetAttribute(uint64_t function, int attribute, int value)',
      kernel.handle,
      8,
      bytes,
    );
  }

  /** Starts a kernel on the stream. Pointers are device addresses, 0 where there is none. */
  launch(
    kernel: DeviceFunction,
    grid: readonly [number, number?, number?],
    threads: readonly [number, number?],
    values: readonly number[],
    sharedBytes = 0,
  ): void {
    const { block } = this;
    let at = 0;
    kernel.types.forEach((type, i) => {
      const size = type === 'p' || type === 'l' ? 8 : 4;
      at = Math.ceil(at / size) * size;
      const value = values[i];
      if (size === 8) {
        block.setUint32(at, value % 4294967296, true);
        block.setUint32(at + 4, Math.floor(value / 4294967296), true);
      } else if (type === 'i') {
        block.setInt32(at, value, true);
      } else {
        block.setFloat32(at, value, true);
      }
      at += size;
    });
    this.blockSize[0] = BigInt(at);
    this.launches++;
    const code = this.calls.status(
      'int cuLaunchKernel(uint64_t function, unsigned int gx, unsigned int gy, unsigned int gz, unsigned int bx, ' +
        'unsigned int by, unsigned int bz, unsigned int shared, uint64_t stream, uint64_t parameters, uint64_t *extra)',
      kernel.handle,
      grid[0],
      grid[1] ?? 1,
      grid[2] ?? 1,
      threads[0],
      threads[1] ?? 1,
      1,
      sharedBytes,
      this.stream,
      0,
      this.extra,
    );
    if (code !== 0) throw failureOf(code, `launch of ${kernel.name}`);
  }

  /**
   * Records what `run` starts on the stream as a graph, without doing it. Meanwhile nothing runs on the stream.
   *
   * @throws what `run` throws; CudaError where it does what no graph can hold.
   */
  capture(run: () => void): DeviceGraph {
    this.synchronise();
    // Relaxed: memory may be allocated meanwhile.
    const relaxed = 2;
    this.calls.call('int cuStreamBeginCapture_v2(uint64_t stream, int mode)', this.stream, relaxed);
    this.capturing = true;
    const graph = new BigUint64Array(16);
    const end = (): number => {
      this.capturing = false;
      return this.calls.status(
        'int cuStreamEndCapture(uint64_t stream, uint64_t *graph)',
        this.stream,
        graph,
      );
    };
    const forget = (): void => {
      if (graph[0] !== 0n) this.calls.call('int cuGraphDestroy(uint64_t graph)', graph[0]);
    };
    try {
      run();
    } catch (error) {
      end();
      forget();
      throw error;
    }
    const ended = end();
    if (ended !== 0) throw failureOf(ended, 'cuStreamEndCapture');
    const executable = new BigUint64Array(16);
    this.calls.call(
      'int cuGraphInstantiateWithFlags(uint64_t *executable, uint64_t graph, uint64_t flags)',
      executable,
      graph[0],
      0,
    );
    forget();
    const [handle] = executable;
    return {
      launch: () => {
        this.calls.call('int cuGraphLaunch(uint64_t executable, uint64_t stream)', handle, this.stream); // prettier-ignore
      },
      destroy: () => {
        this.synchronise();
        this.calls.call('int cuGraphExecDestroy(uint64_t executable)', handle);
      },
    };
  }

  /** A stream whose work runs beside that of the others. */
  createStream(): bigint {
    return this.calls.make('int cuStreamCreate(uint64_t *stream, unsigned int flags)', 1);
  }

  /** For `order`. */
  createEvent(): bigint {
    const withoutTiming = 2;
    return this.calls.make('int cuEventCreate(uint64_t *event, unsigned int flags)', withoutTiming);
  }

  /** Lets what is started on `after` from now on wait for what was started on `before` until now. */
  order(before: unknown, after: unknown, event: bigint): void {
    this.mark(event, before);
    this.follow(after, event);
  }

  /** Puts an event behind what was started on a stream until now. */
  mark(event: bigint, stream: unknown): void {
    this.calls.call('int cuEventRecord(uint64_t event, uint64_t stream)', event, stream);
  }

  /** Lets what is started on a stream from now on wait for an event; for nothing, if it was never marked. */
  follow(stream: unknown, event: bigint): void {
    this.calls.call(
      'int cuStreamWaitEvent(uint64_t stream, uint64_t event, unsigned int flags)',
      stream,
      event,
      0,
    );
  }

  /** Waits for an event, and for nothing else. */
  await(event: bigint): void {
    this.calls.call('int cuEventSynchronize(uint64_t event)', event);
  }

  /** Milliseconds on the device that everything takes which `run` launches. */
  time(run: () => void): number {
    const events = [0, 1].map(() => {
      const out = new BigUint64Array(16);
      this.calls.call('int cuEventCreate(uint64_t *event, unsigned int flags)', out, 0);
      return out[0];
    });
    const record = (event: bigint): void =>
      this.calls.call('int cuEventRecord(uint64_t event, uint64_t stream)', event, this.stream);
    record(events[0]);
    run();
    record(events[1]);
    this.synchronise();
    const milliseconds = new Float32Array(16);
    this.calls.call(
      'int cuEventElapsedTime(float *milliseconds, uint64_t start, uint64_t end)',
      milliseconds,
      ...events,
    );
    for (const event of events) this.calls.call('int cuEventDestroy_v2(uint64_t event)', event);
    return milliseconds[0];
  }
}

function failureOf(code: number, call: string): CudaError {
  return new CudaError(code, knownErrors[code] ?? 'see the driver API for its meaning', call);
}

const knownErrors: Readonly<Record<number, string>> = {
  1: 'an invalid value',
  2: 'out of memory',
  100: 'no CUDA device',
  209: 'no kernel image for this device',
  700: 'illegal address',
  701: 'too many resources for a launch',
  719: 'launch failure',
  900: 'not permitted while a graph is captured',
  901: 'a capture that failed',
};

import { SaccadeError } from '../support/errors.js';
import type { Driver } from './driver.js';

/** Types whose values lie in device memory. */
export type DeviceType = 'float32' | 'int32' | 'bool';

const bytesPer = { float32: 4, int32: 4, bool: 1 } as const;

/** Values on the device: where the kernels of the CPU take a typed array, those of the GPU take this. */
export class DeviceArray {
  constructor(
    private readonly driver: Driver,
    /** Address on the device; 0 for an empty array. */
    readonly pointer: number,
    readonly length: number,
    readonly dtype: DeviceType,
  ) {}

  get byteLength(): number {
    return this.length * bytesPer[this.dtype];
  }

  /** Only zeros: other values are the `fill` kernel's. */
  clear(): void {
    this.driver.clear(this.pointer, this.byteLength);
  }

  /** As a typed array is cleared: what both have. */
  fill(value: 0): void {
    if (value === 0) this.clear();
  }

  set(values: DeviceArray): void {
    this.driver.copy(this.pointer, values.pointer, values.byteLength);
  }
}

export interface MemoryUse {
  /** Bytes that live tensors take. */
  readonly usedBytes: number;
  /** Bytes taken from the device, free blocks included. */
  readonly reservedBytes: number;
  /** The most bytes that were in use at once. */
  readonly peakBytes: number;
}

const smallest = 512;
const mebibyte = 1 << 20;

/**
 * Device memory that is used again: blocks that are released wait, by size, for the next request. All
 * work runs on one stream in order, so a block may be handed out while the launch that last read it has
 * yet to run.
 */
export class DeviceMemory {
  private readonly waiting = new Map<number, number[]>();
  private readonly sizes = new Map<number, number>();
  private used = 0;
  private reserved = 0;
  private peak = 0;
  /** While a graph is captured its blocks are its own: nobody else may write them between replays. */
  private owned: Set<number> | undefined;

  /** @param limitBytes what may be taken from the device in all. */
  constructor(
    private readonly driver: Driver,
    private readonly limitBytes = Infinity,
  ) {}

  /** @throws SaccadeError of kind `environment` where the device has no room, saying for what. */
  allocate(dtype: DeviceType, length: number, purpose: () => string): DeviceArray {
    const bytes = blockSize(length * bytesPer[dtype]);
    if (length === 0) return new DeviceArray(this.driver, 0, 0, dtype);
    let pointer = this.waiting.get(bytes)?.pop();
    if (pointer === undefined) {
      pointer = this.take(bytes) ?? this.takeAfterTrim(bytes);
      if (pointer === undefined) {
        const { free, total } = this.driver.memory();
        throw new SaccadeError(
          'environment',
          `out of GPU memory: ${purpose()} needs ${bytes} bytes; ${this.used} of ${total} are in use, ${free} are free`,
        );
      }
      this.sizes.set(pointer, bytes);
      this.reserved += bytes;
    }
    this.used += bytes;
    this.peak = Math.max(this.peak, this.used);
    this.owned?.add(pointer);
    return new DeviceArray(this.driver, pointer, length, dtype);
  }

  release({ pointer }: DeviceArray): void {
    if (pointer === 0) return;
    const bytes = this.sizes.get(pointer)!;
    const list = this.waiting.get(bytes);
    if (list === undefined) this.waiting.set(bytes, [pointer]);
    else list.push(pointer);
    this.used -= bytes;
  }

  use(): MemoryUse {
    return { usedBytes: this.used, reservedBytes: this.reserved, peakBytes: this.peak };
  }

  /**
   * Runs `record` with blocks that it shares with nobody: what it allocates and releases is set aside
   * for the graph, until `giveBack`.
   */
  setAside<T>(record: () => T): { result: T; giveBack: () => void } {
    const before = new Map([...this.waiting].map(([bytes, list]) => [bytes, list]));
    this.waiting.clear();
    this.owned = new Set();
    try {
      const result = record();
      const kept = new Map([...this.waiting]);
      return {
        result,
        giveBack: () => {
          for (const [bytes, list] of kept) {
            const shared = this.waiting.get(bytes);
            if (shared === undefined) this.waiting.set(bytes, list);
            else shared.push(...list);
          }
        },
      };
    } finally {
      this.owned = undefined;
      this.waiting.clear();
      for (const [bytes, list] of before) this.waiting.set(bytes, list);
    }
  }

  private take(bytes: number): number | undefined {
    if (this.reserved + bytes > this.limitBytes) return undefined;
    return this.driver.allocate(bytes);
  }

  /** Gives all waiting blocks back to the device, and tries again. */
  private takeAfterTrim(bytes: number): number | undefined {
    this.driver.synchronise();
    for (const [size, list] of this.waiting) {
      for (const pointer of list) {
        this.driver.free(pointer);
        this.sizes.delete(pointer);
        this.reserved -= size;
      }
    }
    this.waiting.clear();
    return this.take(bytes);
  }
}

/** Sizes are rounded up, so that blocks fit again: to 512 bytes, above 1 MiB to an eighth of a power of two. */
function blockSize(bytes: number): number {
  if (bytes <= mebibyte) return Math.ceil(bytes / smallest) * smallest;
  const step = 2 ** Math.floor(Math.log2(bytes)) / 8;
  return Math.ceil(bytes / step) * step;
}

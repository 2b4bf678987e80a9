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

/** What belongs to a graph. */
interface GraphBlocks {
  readonly touched: Set<number>;
  /** Those that are not used for anything else, not even by the graph. */
  readonly fixed: Set<number>;
  /** Those in which nothing lives. */
  readonly idle: number[];
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
  /** While a graph is recorded, the blocks that it touches. They become its own: nobody else may write them. */
  private recording: GraphBlocks | undefined;
  /** The blocks of graphs that have been recorded. */
  private readonly owners = new Map<number, GraphBlocks>();

  /** @param limitBytes what may be taken from the device in all. */
  constructor(
    private readonly driver: Driver,
    private readonly limitBytes = Infinity,
  ) {}

  /** @throws SaccadeError of kind `environment` where the device has no room, saying for what. */
  allocate(dtype: DeviceType, length: number, purpose: () => string, fixed = false): DeviceArray {
    const bytes = blockSize(length * bytesPer[dtype]);
    if (length === 0) return new DeviceArray(this.driver, 0, 0, dtype);
    let pointer = fixed ? this.popUntouched(bytes) : this.waiting.get(bytes)?.pop();
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
    this.recording?.touched.add(pointer);
    return new DeviceArray(this.driver, pointer, length, dtype);
  }

  /** Memory for what a graph that is being recorded reads at each replay: it is the graph's alone until the end. */
  allocateFixed(dtype: DeviceType, length: number, purpose: () => string): DeviceArray {
    const values = this.allocate(dtype, length, purpose, true);
    this.recording?.fixed.add(values.pointer);
    return values;
  }

  /** A waiting block that nothing recorded so far writes: each replay would write it again. */
  private popUntouched(bytes: number): number | undefined {
    const list = this.waiting.get(bytes) ?? [];
    const at = list.findIndex((pointer) => !this.recording?.touched.has(pointer));
    return at < 0 ? undefined : list.splice(at, 1)[0];
  }

  release({ pointer }: DeviceArray): void {
    if (pointer === 0) return;
    const { recording } = this;
    this.used -= this.sizes.get(pointer)!;
    // A block that was taken before and is given up now may have been read by what is recorded.
    recording?.touched.add(pointer);
    const owner = recording?.fixed.has(pointer) ? recording : this.owners.get(pointer);
    if (owner === undefined) this.wait(pointer);
    else owner.idle.push(pointer);
  }

  private wait(pointer: number): void {
    const bytes = this.sizes.get(pointer)!;
    const list = this.waiting.get(bytes);
    if (list === undefined) this.waiting.set(bytes, [pointer]);
    else list.push(pointer);
  }

  use(): MemoryUse {
    return { usedBytes: this.used, reservedBytes: this.reserved, peakBytes: this.peak };
  }

  /**
   * Runs `record`, and sets all blocks aside that it takes or gives up: they are the graph's that it records, until
   * `giveBack`. What still lives in them then stays where it is.
   */
  setAside<T>(record: () => T): { result: T; giveBack: () => void } {
    if (this.recording !== undefined) throw new Error('a graph is being recorded already');
    const blocks: GraphBlocks = { touched: new Set(), fixed: new Set(), idle: [] };
    this.recording = blocks;
    const giveBack = (): void => {
      for (const pointer of blocks.touched) this.owners.delete(pointer);
      for (const pointer of blocks.idle) this.wait(pointer);
      blocks.idle.length = 0;
    };
    try {
      const result = record();
      for (const pointer of blocks.touched) this.owners.set(pointer, blocks);
      for (const [bytes, list] of this.waiting) {
        blocks.idle.push(...list.filter((pointer) => blocks.touched.has(pointer)));
        this.waiting.set(
          bytes,
          list.filter((pointer) => !blocks.touched.has(pointer)),
        );
      }
      return { result, giveBack };
    } catch (error) {
      giveBack();
      throw error;
    } finally {
      this.recording = undefined;
    }
  }

  private take(bytes: number): number | undefined {
    if (this.reserved + bytes > this.limitBytes) return undefined;
    return this.driver.allocate(bytes);
  }

  /** Gives all waiting blocks back to the device, but for those of a graph, and tries again. */
  private takeAfterTrim(bytes: number): number | undefined {
    const kept = this.recording?.touched;
    // While a graph is recorded nothing runs.
    if (kept === undefined) this.driver.synchronise();
    for (const [size, list] of this.waiting) {
      for (const pointer of list) {
        if (kept?.has(pointer)) continue;
        this.driver.free(pointer);
        this.sizes.delete(pointer);
        this.reserved -= size;
      }
      const left = list.filter((pointer) => kept?.has(pointer));
      if (left.length === 0) this.waiting.delete(size);
      else this.waiting.set(size, left);
    }
    return this.take(bytes);
  }
}

/** Sizes are rounded up, so that blocks fit again: to 512 bytes, above 1 MiB to an eighth of a power of two. */
function blockSize(bytes: number): number {
  if (bytes <= mebibyte) return Math.ceil(bytes / smallest) * smallest;
  const step = 2 ** Math.floor(Math.log2(bytes)) / 8;
  return Math.ceil(bytes / step) * step;
}

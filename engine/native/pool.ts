import type { Addon } from './addon.js';

/** Arrays that a tensor's values are kept in. */
export type TensorArray = Float32Array | Int32Array | Uint8Array;

interface ArrayType<T extends TensorArray> {
  readonly BYTES_PER_ELEMENT: number;
  new (buffer: ArrayBuffer, offset: number, length: number): T;
}

/** A buffer with the array last made of it; the same size often comes back. */
interface Block {
  readonly buffer: ArrayBuffer;
  readonly sizeClass: number;
  view: TensorArray | undefined;
}

/**
 * Memory of freed tensors, kept for the next ones: sizes repeat from one training step to the next, so
 * after the first steps nothing new is allocated. Arrays come uncleared.
 */
export class BufferPool {
  private readonly free = new Map<number, Block[]>();
  private readonly blocks = new WeakMap<ArrayBufferLike, Block>();
  private freeBytes = 0;
  /** Allocations from the system so far, in bytes: constant in a steady state. */
  allocatedBytes = 0;

  /** @param limitBytes most that is kept for reuse; beyond it the pool starts over. */
  constructor(
    private readonly addon: Pick<Addon, 'allocate'>,
    private readonly limitBytes: number,
  ) {}

  allocate<T extends TensorArray>(type: ArrayType<T>, length: number): T {
    const sizeClass = classOf(length * type.BYTES_PER_ELEMENT);
    const block = this.free.get(sizeClass)?.pop() ?? this.create(sizeClass);
    if (block.view === undefined) {
      block.view = new type(block.buffer, 0, length);
    } else {
      this.freeBytes -= sizeClass;
      if (block.view.length !== length || block.view.constructor !== type) {
        block.view = new type(block.buffer, 0, length);
      }
    }
    return block.view as T;
  }

  /** Whether an array lies in memory of this pool. */
  owns(array: TensorArray): boolean {
    return this.blocks.has(array.buffer);
  }

  /** Takes an array's memory back; no one may use the array afterwards. Others' arrays are ignored. */
  release(array: TensorArray): void {
    const block = this.blocks.get(array.buffer);
    if (block === undefined) return;
    if (this.freeBytes + block.sizeClass > this.limitBytes) {
      this.free.clear();
      this.freeBytes = 0;
    }
    const list = this.free.get(block.sizeClass);
    if (list === undefined) this.free.set(block.sizeClass, [block]);
    else list.push(block);
    this.freeBytes += block.sizeClass;
  }

  private create(sizeClass: number): Block {
    const block = { buffer: this.addon.allocate(sizeClass), sizeClass, view: undefined };
    this.blocks.set(block.buffer, block);
    this.allocatedBytes += sizeClass;
    return block;
  }
}

/** Sizes in four steps per power of two: at most a quarter of a buffer is unused. */
function classOf(bytes: number): number {
  if (bytes <= 256) return 256;
  const step = 2 ** (Math.floor(Math.log2(bytes - 1)) - 2);
  return Math.ceil(bytes / step) * step;
}

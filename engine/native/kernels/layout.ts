import type { NumericType } from '../backend.js';

/**
 * Axes of strided loops: extents with one stride per array. Axes that can be walked as one are merged,
 * so that most calls become one or two long loops.
 */
export class Loops {
  /** (extent, stride, stride) per axis, the innermost last: what the addon reads. Shared by all calls. */
  static readonly dims = new Int32Array(3 * 16);
  rank = 0;

  /** Starts with the innermost axis. */
  reset(): this {
    this.rank = 0;
    return this;
  }

  /** Adds the next axis outwards. Strides count elements. */
  add(extent: number, first: number, second: number): void {
    if (extent === 1) return;
    const { dims } = Loops;
    const inner = 3 * (16 - this.rank);
    if (
      this.rank > 0 &&
      first === dims[inner] * dims[inner + 1] &&
      second === dims[inner] * dims[inner + 2]
    ) {
      dims[inner] *= extent;
      return;
    }
    if (this.rank === 16) throw new Error('more than 16 axes');
    this.rank++;
    const at = 3 * (16 - this.rank);
    dims[at] = extent;
    dims[at + 1] = first;
    dims[at + 2] = second;
  }

  /** The axes of two arrays that are broadcast to `shape`, in place of those so far. */
  addBroadcast(shape: readonly number[], a: readonly number[], b: readonly number[]): void {
    this.reset();
    let aStride = 1;
    let bStride = 1;
    for (let d = shape.length - 1; d >= 0; d--) {
      const aExtent = a[d - shape.length + a.length] ?? 1;
      const bExtent = b[d - shape.length + b.length] ?? 1;
      this.add(shape[d], aExtent === 1 ? 0 : aStride, bExtent === 1 ? 0 : bStride);
      aStride *= aExtent;
      bStride *= bExtent;
    }
  }

  /** The axes as an array for the addon; a single one of extent 1 where none is left. */
  finish(): Int32Array {
    if (this.rank === 0) {
      Loops.dims.set([1, 1, 1], 3 * 15);
      this.rank = 1;
    }
    return Loops.dims.subarray(3 * (16 - this.rank));
  }
}

export const loops = new Loops();

export function sizeOf(shape: readonly number[]): number {
  let size = 1;
  for (const extent of shape) size *= extent;
  return size;
}

/** Row-major strides, all axes included. */
export function stridesOf(shape: readonly number[]): number[] {
  const strides = new Array<number>(shape.length);
  let stride = 1;
  for (let d = shape.length - 1; d >= 0; d--) {
    strides[d] = stride;
    stride *= shape[d];
  }
  return strides;
}

/** The type of values, be they a typed array or an array on a device. */
export function kindOf(values: ArrayLike<number> | { readonly dtype: NumericType }): NumericType {
  if (values instanceof Float32Array) return 'float32';
  if (values instanceof Int32Array) return 'int32';
  return values instanceof Uint8Array ? 'bool' : (values as { dtype: NumericType }).dtype;
}

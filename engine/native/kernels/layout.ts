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

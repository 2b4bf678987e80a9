/** Letters of the struct `Axes`. */
export const axesTypes = 'i'.repeat(25);

/** Axes as the kernels take them: rank, then eight extents, strides and strides, the innermost last. */
export function axesOf(dims: Int32Array, rank: number): number[] {
  if (rank > 8) throw new Error(`the device takes 8 axes at most, found ${rank}`);
  const column = (which: number): number[] =>
    Array.from({ length: 8 }, (_, d) => (d < rank ? dims[3 * d + which] : 0));
  return [rank, ...column(0), ...column(1), ...column(2)];
}

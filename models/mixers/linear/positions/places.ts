import type { Sizes } from '../slots.js';

type Grid = Pick<Sizes, 'rows' | 'columns'>;

/** Axes that have more than one place: 0 time, always; 1 rows; 2 columns. */
export function usedAxes({ rows, columns }: Grid): readonly number[] {
  const used = [true, rows > 1, columns > 1];
  return [0, 1, 2].filter((axis) => used[axis]);
}

/** Frame, row and column of each of `tokens` tokens from a frame's first on. */
export function placesOf(
  { rows, columns }: Grid,
  frame: number,
  tokens: number,
): readonly (readonly [frame: number, row: number, column: number])[] {
  return Array.from({ length: tokens }, (_, token) => {
    const patch = token % (rows * columns);
    return [
      frame + Math.floor(token / (rows * columns)),
      Math.floor(patch / columns),
      patch % columns,
    ];
  });
}

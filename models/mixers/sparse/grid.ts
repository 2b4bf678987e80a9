/** Extents of a grid of tokens, in raster order: frame, row, column. Any may be 1. */
export interface Grid {
  readonly frames: number;
  readonly rows: number;
  readonly columns: number;
}

/**
 * A piece of a clip that attends at once. Frames are counted from the clip's start: queries are frames
 * [queryFrom, frames), keys are frames [keyFrom, frames). Tokens are numbered from the clip's start as well.
 */
export interface Piece extends Grid {
  readonly keyFrom: number;
  readonly queryFrom: number;
}

/** The piece that is the whole clip. */
export function wholeClip(grid: Grid): Piece {
  return { ...grid, keyFrom: 0, queryFrom: 0 };
}

/** Tokens of a frame. */
export function patchesOf({ rows, columns }: Grid): number {
  return rows * columns;
}

/** Number of a token's frame, row and column. */
export function placeOf(token: number, { rows, columns }: Grid): [number, number, number] {
  const patch = token % (rows * columns);
  return [Math.floor(token / (rows * columns)), Math.floor(patch / columns), patch % columns];
}

/**
 * Cuts frames [from, grid.frames) into tiles. Tiles start at multiples of their extent, counted from the
 * clip's start; those at the borders may be smaller.
 *
 * @returns the tokens of each tile.
 */
export function tilesOf(grid: Grid, tile: Grid, from = 0): Int32Array[] {
  const tiles: Int32Array[] = [];
  const starts = (low: number, high: number, extent: number): [number, number][] => {
    const spans: [number, number][] = [];
    for (let at = low; at < high;) {
      const end = Math.min(high, (Math.floor(at / extent) + 1) * extent);
      spans.push([at, end]);
      at = end;
    }
    return spans;
  };
  for (const [t0, t1] of starts(from, grid.frames, tile.frames)) {
    for (const [y0, y1] of starts(0, grid.rows, tile.rows)) {
      for (const [x0, x1] of starts(0, grid.columns, tile.columns)) {
        const tokens: number[] = [];
        for (let t = t0; t < t1; t++) {
          for (let y = y0; y < y1; y++) {
            for (let x = x0; x < x1; x++) tokens.push((t * grid.rows + y) * grid.columns + x);
          }
        }
        tiles.push(Int32Array.from(tokens));
      }
    }
  }
  return tiles;
}

import { z } from 'zod';

import { outputGateField } from '../outputGates.js';
import { defineMixer } from '../tokenMixer.js';
import type { StaticMask } from './blockMask.js';
import { placeOf, type Grid } from './grid.js';
import { sparseMixer, tiled } from './sparseMixer.js';
import { tileFields } from './tileFields.js';

/** What a query sees along one axis of the grid. */
export interface NeighbourhoodAxis {
  /** Keys, w; 0 stands for the whole extent (of a causal axis: all before it). */
  readonly window: number;
  /** Step between the keys, d: tokens fall into d interleaved groups that don't see each other. */
  readonly dilation: number;
  /** Queries that share a window, s ≤ w: 1 slides, s = w makes blocks. */
  readonly stride: number;
  /** Whether nothing after the query is seen. */
  readonly causal: boolean;
}

export interface NeighbourhoodConfig {
  readonly frames: NeighbourhoodAxis;
  readonly rows: NeighbourhoodAxis;
  readonly columns: NeighbourhoodAxis;
}

/**
 * Neighbourhood attention over one to three axes (NATTEN, Hassani et al. 2023; causal, dilated; strided: generalized
 * neighbourhood attention, Hassani et al. 2025). Along each axis, tokens of one residue modulo the dilation form a line.
 * A query's window is that of the leader of its stride group, its middle one (the last one on a causal axis):
 * ⌊w/2⌋ before the leader and w - 1 - ⌊w/2⌋ after it, shifted at the borders so that every query has exactly w
 * keys. On a causal axis it is the w up to the leader, as far as they aren't after the query.
 *
 * @throws RangeError where a window, dilation or stride is out of range.
 */
export function neighbourhoodMask(config: NeighbourhoodConfig): StaticMask {
  for (const [name, axis] of Object.entries(config) as [string, NeighbourhoodAxis][]) {
    checkAxis(name, axis);
  }
  const { frames, rows, columns } = config;
  return {
    reach: reachOf(frames),
    perHead: false,
    *keysOf(query: number, grid: Grid) {
      const [t, y, x] = placeOf(query, grid);
      for (const frame of axisKeys(t, grid.frames, frames)) {
        for (const row of axisKeys(y, grid.rows, rows)) {
          for (const column of axisKeys(x, grid.columns, columns)) {
            yield (frame * grid.rows + row) * grid.columns + column;
          }
        }
      }
    },
  };
}

/** Positions that position `at` of an axis sees, in order. */
export function axisKeys(
  at: number,
  extent: number,
  { window, dilation, stride, causal }: NeighbourhoodAxis,
): number[] {
  const residue = at % dilation;
  const length = Math.ceil((extent - residue) / dilation);
  const place = Math.floor(at / dilation);
  const size = window === 0 ? Math.max(length, place + 1) : window;
  const group = Math.floor(place / stride) * stride;
  // A stream doesn't know its end: a causal leader may lie beyond it.
  const leader = causal ? group + stride - 1 : Math.min(group + Math.floor(stride / 2), length - 1);
  const first = causal
    ? Math.max(0, leader - size + 1)
    : Math.max(0, Math.min(leader - Math.floor(size / 2), length - size));
  const end = causal ? place + 1 : Math.min(length, first + size);
  return Array.from({ length: end - first }, (_, i) => (first + i) * dilation + residue);
}

function reachOf({ window, dilation, causal }: NeighbourhoodAxis): number | undefined {
  if (window === 1) return 0;
  if (!causal || window === 0) return undefined;
  return (window - 1) * dilation;
}

function checkAxis(name: string, { window, dilation, stride }: NeighbourhoodAxis): void {
  if (dilation < 1 || stride < 1 || window < 0) {
    throw new RangeError(
      `${name}: window ${window}, dilation ${dilation}, stride ${stride}: expected at least 0, 1 and 1`,
    );
  }
  if (window > 0 && stride > window) {
    throw new RangeError(`${name}: stride ${stride}, expected at most the window, ${window}`);
  }
}

const axis = (window: number, causal: boolean): z.ZodType<NeighbourhoodAxis> =>
  z
    .strictObject({
      window: z.number().int().min(0).default(window),
      dilation: z.number().int().positive().default(1),
      stride: z.number().int().positive().default(1),
      causal: z.boolean().default(causal),
    })
    .prefault({});

export const neighbourhood = defineMixer({
  name: 'neighbourhood',
  paper: 'Hassani et al., Generalized Neighborhood Attention, 2025',
  fields: {
    frames: axis(4, true),
    rows: axis(0, false),
    columns: axis(0, false),
    outputGate: outputGateField,
    ...tileFields,
  },
  create: ({ queryTile, keyTile, outputGate, ...axes }, shape) =>
    sparseMixer(
      'neighbourhood',
      tiled(neighbourhoodMask(axes), shape.heads, { query: queryTile, key: keyTile }),
      shape,
      outputGate,
    ),
});

import { binOf } from '../../engine/ops/eventLoops.js';
import { type ClipGrid, defineRepresentation } from './representation.js';

/** Recent events of one cell and polarity, oldest first. */
interface CellMemory {
  readonly tUs: number[];
  readonly x: number[];
  readonly y: number[];
}

interface HatsState {
  readonly grid: ClipGrid;
  readonly out: Float32Array;
  /** By polarity and cell; made when its first event comes. */
  readonly memories: (CellMemory | undefined)[];
  /** Sums of time surfaces, laid out as the clip. */
  readonly sums: Float64Array;
  /** `[bins, height, width]`: events of each cell. */
  readonly counts: Float64Array;
}

/**
 * HATS, histograms of averaged time surfaces (Sironi et al., CVPR 2018, eqs. 4-8). The tensor's pixels are
 * the cells: a cell is the part of the sensor that is scaled to one of them. An event's local memory
 * surface at offset z is Σ exp(-(t_i - t_j) / τ) over the events j of its cell and polarity at z from it
 * with t_i - Δt <= t_j < t_i. The surfaces of a cell's events in a bin are added and divided by the count
 * of its events of both polarities. The memory goes on from bin to bin.
 * Channels: OFF, then ON, each (2R + 1)² offsets, row by row.
 */
export const hats = defineRepresentation({
  name: 'hats',
  summary: 'averaged time surfaces; pixels are cells (Sironi et al., CVPR 2018)',
  arguments: [
    { name: 'radius', minimum: 0, maximum: 16, integer: true, default: 3, what: 'R, pixels' },
    { name: 'tauUs', minimum: 1, maximum: 1e12, default: 1e6, what: 'time constant, µs' },
    { name: 'memoryUs', minimum: 1, maximum: 1e9, default: 100_000, what: 'memory Δt, µs' },
  ],
  create: ({ radius, tauUs, memoryUs }) => {
    const side = 2 * radius + 1;
    const offsets = side * side;
    return {
      channels: 2 * offsets,
      values: 'real',
      binwise: false,
      start: (grid, out): HatsState => ({
        grid,
        out,
        memories: new Array<CellMemory | undefined>(2 * grid.height * grid.width),
        sums: new Float64Array(out.length),
        counts: new Float64Array(grid.bins * grid.height * grid.width),
      }),
      add({ grid, memories, sums, counts }, { length, tUs, x, y, polarity }) {
        const plane = grid.height * grid.width;
        for (let i = 0; i < length; i++) {
          const bin = binOf(grid, tUs[i]);
          const cell = grid.rows[y[i]] * grid.width + grid.columns[x[i]];
          const memory = (memories[polarity[i] * plane + cell] ??= { tUs: [], x: [], y: [] });
          forget(memory, tUs[i] - memoryUs);
          const first = (2 * bin + polarity[i]) * offsets;
          for (let j = 0; j < memory.tUs.length; j++) {
            const dx = memory.x[j] - x[i];
            const dy = memory.y[j] - y[i];
            const ageUs = tUs[i] - memory.tUs[j];
            if (Math.abs(dx) > radius || Math.abs(dy) > radius) continue;
            if (!(ageUs > 0 && ageUs <= memoryUs)) continue;
            const offset = (dy + radius) * side + dx + radius;
            sums[(first + offset) * plane + cell] += Math.exp(-ageUs / tauUs);
          }
          memory.tUs.push(tUs[i]);
          memory.x.push(x[i]);
          memory.y.push(y[i]);
          counts[bin * plane + cell]++;
        }
      },
      finish({ grid, out, sums, counts }) {
        const plane = grid.height * grid.width;
        for (let i = 0; i < out.length; i++) {
          const bin = Math.floor(i / (2 * offsets * plane));
          const count = counts[bin * plane + (i % plane)];
          out[i] = count > 0 ? sums[i] / count : 0;
        }
      },
    };
  },
});

/** Drops the oldest events of a memory, up to one that is not older than `sinceUs`. */
function forget({ tUs, x, y }: CellMemory, sinceUs: number): void {
  let old = 0;
  while (old < tUs.length && tUs[old] < sinceUs) old++;
  // Moving what is left costs as much as it holds; so only when half of it is old.
  if (2 * old < tUs.length || old === 0) return;
  for (const column of [tUs, x, y]) column.splice(0, old);
}

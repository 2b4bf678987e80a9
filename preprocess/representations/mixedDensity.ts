import { binOf } from '../../engine/ops/eventLoops.js';
import { type ClipGrid, defineRepresentation } from './representation.js';

interface MixedDensityState {
  readonly grid: ClipGrid;
  readonly out: Float32Array;
  /** Events of each bin so far. */
  readonly counts: Float64Array;
  /** `[bins, height, width]`: 1 + the place of a pixel's last event among its bin's, 0 where none. */
  readonly last: Float64Array;
  /** Its polarity, ±1. */
  readonly signs: Int8Array;
}

/**
 * Mixed-density event stack (Nam et al., CVPR 2022): level m holds the last ⌊N / 2^m⌋ of a bin's N events,
 * as the polarity ±1 of the last event of each pixel, 0 where there is none. "Last" is as they are stored.
 */
export const mixedDensity = defineRepresentation({
  name: 'mdes',
  summary: 'last polarities of all, half, a quarter … of the events (Nam et al., CVPR 2022)',
  arguments: [
    { name: 'levels', minimum: 1, maximum: 30, integer: true, default: 10, what: 'channels' },
  ],
  create: ({ levels }) => ({
    channels: levels,
    values: 'real',
    binwise: true,
    start: (grid, out): MixedDensityState => {
      const pixels = grid.bins * grid.height * grid.width;
      const last = new Float64Array(pixels);
      return { grid, out, counts: new Float64Array(grid.bins), last, signs: new Int8Array(pixels) };
    },
    add({ grid, counts, last, signs }, { length, tUs, x, y, polarity }) {
      const { height, width, rows, columns } = grid;
      for (let i = 0; i < length; i++) {
        const bin = binOf(grid, tUs[i]);
        const pixel = (bin * height + rows[y[i]]) * width + columns[x[i]];
        last[pixel] = ++counts[bin];
        signs[pixel] = polarity[i] === 1 ? 1 : -1;
      }
    },
    finish({ grid, out, counts, last, signs }) {
      const plane = grid.height * grid.width;
      counts.forEach((count, bin) => {
        for (let level = 0; level < levels; level++) {
          const before = count - Math.floor(count / 2 ** level);
          const first = (bin * levels + level) * plane;
          for (let i = 0; i < plane; i++) {
            const pixel = bin * plane + i;
            out[first + i] = last[pixel] > before ? signs[pixel] : 0;
          }
        }
      });
    },
  }),
});

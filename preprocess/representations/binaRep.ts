import { binOf } from '../../engine/ops/eventLoops.js';
import { type ClipGrid, defineRepresentation } from './representation.js';

interface BinaRepState {
  /** With a bin for every binary frame. */
  readonly grid: ClipGrid;
  readonly out: Float32Array;
  /** `[bins, 2, height, width]`: bit i is the i-th binary frame of the bin. */
  readonly words: Uint16Array;
}

/**
 * Bina-Rep (Barchid et al., 2022): a bin is divided into N binary frames, and a pixel's N bits are read as
 * one number, the first frame as the least significant bit, divided by 2^N - 1. Channels: OFF, ON.
 */
export const binaRep = defineRepresentation({
  name: 'binaRep',
  summary: 'N binary frames a bin, read as one number (Barchid et al., 2022)',
  arguments: [
    { name: 'bits', minimum: 1, maximum: 16, integer: true, default: 8, what: 'binary frames, N' },
  ],
  create: ({ bits }) => ({
    channels: 2,
    values: 'unit',
    binwise: true,
    start: (grid, out): BinaRepState => ({
      grid: { ...grid, bins: grid.bins * bits },
      out,
      words: new Uint16Array(out.length),
    }),
    add({ grid, words }, { length, tUs, x, y, polarity }) {
      const { height, width, rows, columns } = grid;
      for (let i = 0; i < length; i++) {
        const slice = binOf(grid, tUs[i]);
        const bin = Math.floor(slice / bits);
        const row = (2 * bin + polarity[i]) * height + rows[y[i]];
        words[row * width + columns[x[i]]] |= 1 << (slice - bin * bits);
      }
    },
    finish({ out, words }) {
      const most = 2 ** bits - 1;
      for (let i = 0; i < out.length; i++) out[i] = words[i] / most;
    },
  }),
});

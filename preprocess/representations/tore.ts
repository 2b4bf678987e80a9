import { binOf } from '../../engine/ops/eventLoops.js';
import type { EventBatch } from '../../ingest/eventBatch.js';
import { binEndUs, type ClipGrid, defineRepresentation, sinceStartUs } from './representation.js';

interface ToreState {
  readonly grid: ClipGrid;
  readonly out: Float32Array;
  /** `[bins, 2, height, width, depth]`: latest times, µs since the start, the latest first; or -Infinity. */
  readonly latestUs: Float64Array;
}

const youngestUs = 150;
const oldestUs = 5e6;

/** Puts a time among the latest of `times[first … first + depth - 1]`, which fall. */
function insert(times: Float64Array, first: number, depth: number, time: number): void {
  let place = first + depth - 1;
  if (!(time > times[place])) return;
  for (; place > first && times[place - 1] < time; place--) times[place] = times[place - 1];
  times[place] = time;
}

/**
 * TORE volume, time-ordered recent events (Baldwin et al., TPAMI 2022): seen at the end of each bin, the
 * ages of the latest K events of each polarity and pixel, as max(0, log(age + 1) - log(151)) with ages in
 * µs of at most 5 s; where there were fewer events, as if they were 5 s old. Channels: OFF, the latest
 * first, then ON. It is the only representation whose values without events are not 0.
 */
export const tore = defineRepresentation({
  name: 'tore',
  summary: 'log ages of the latest K events by polarity (Baldwin et al., TPAMI 2022)',
  arguments: [
    { name: 'depth', minimum: 1, maximum: 64, integer: true, default: 4, what: 'events, K' },
  ],
  create: ({ depth }) => ({
    channels: 2 * depth,
    values: 'real',
    binwise: false,
    start: (grid, out): ToreState => {
      const values = grid.bins * 2 * grid.height * grid.width * depth;
      return { grid, out, latestUs: new Float64Array(values).fill(-Infinity) };
    },
    add({ grid, latestUs }: ToreState, { length, tUs, x, y, polarity }: EventBatch) {
      const { height, width, rows, columns } = grid;
      for (let i = 0; i < length; i++) {
        const row = (2 * binOf(grid, tUs[i]) + polarity[i]) * height + rows[y[i]];
        insert(latestUs, (row * width + columns[x[i]]) * depth, depth, sinceStartUs(grid, tUs[i]));
      }
    },
    finish({ grid, out, latestUs }: ToreState) {
      const plane = grid.height * grid.width;
      const soFarUs = new Float64Array(2 * plane * depth).fill(-Infinity);
      for (let bin = 0; bin < grid.bins; bin++) {
        const endUs = binEndUs(grid, bin);
        for (let i = 0; i < 2 * plane; i++) {
          const first = i * depth;
          const channel = (bin * 2 + Math.floor(i / plane)) * depth;
          for (let k = 0; k < depth; k++) {
            insert(soFarUs, first, depth, latestUs[bin * soFarUs.length + first + k]);
          }
          for (let k = 0; k < depth; k++) {
            const ageUs = Math.min(oldestUs, endUs - soFarUs[first + k]);
            const value = Math.max(0, Math.log(ageUs + 1) - Math.log(youngestUs + 1));
            out[(channel + k) * plane + (i % plane)] = value;
          }
        }
      }
    },
  }),
});

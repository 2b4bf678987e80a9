import type { EventBatch } from '../../ingest/eventBatch.js';
import {
  axisBins,
  type ClipSize,
  type Representation,
  type TimeInterval,
} from './representation.js';

/**
 * Calls `visit` with the flat index into `[bins, 2, height, width]` of every event: bin
 * ⌊bins · (t - from) / (to - from)⌋ with the end in the last bin, channel 0 for OFF and 1 for ON.
 */
function forEachCell(
  { length, sensor, tUs, x, y, polarity }: EventBatch,
  { fromUs, toUs }: TimeInterval,
  { bins, height, width }: ClipSize,
  visit: (cell: number) => void,
): void {
  const columns = axisBins(sensor.width, width);
  const rows = axisBins(sensor.height, height);
  const durationUs = toUs - fromUs;
  const plane = height * width;
  for (let i = 0; i < length; i++) {
    const sinceUs = tUs[i] - fromUs;
    // Products of whole numbers are exact, so an event on the border of two bins is never misplaced.
    const bin = sinceUs >= durationUs ? bins - 1 : Math.floor((bins * sinceUs) / durationUs);
    const plane2 = 2 * Math.max(0, bin) + polarity[i];
    visit(plane2 * plane + rows[y[i]] * width + columns[x[i]]);
  }
}

/** Counts of events per bin, polarity and pixel (Maqueda et al., CVPR 2018). */
export const histogram: Representation = {
  name: 'histogram',
  channels: 2,
  dtype: 'float32',
  binwise: true,
  accumulate(out, events, interval, size) {
    forEachCell(events, interval, size, (cell) => out[cell]++);
  },
};

/** Spike tensor: 1 where the histogram's count is positive. */
export const spikes: Representation = {
  name: 'spikes',
  channels: 2,
  dtype: 'uint8',
  binwise: true,
  accumulate(out, events, interval, size) {
    forEachCell(events, interval, size, (cell) => {
      out[cell] = 1;
    });
  },
};

import { createBatch, type EventBatch } from '../../ingest/eventBatch.js';
import { defineAugmentation } from './augmentation.js';

/**
 * Moves each event on its own in time by a normal deviate, rounded to whole µs. Times stay within the
 * window: those beyond become its first or last µs. The events are then sorted by time; those of one
 * time keep their order.
 */
export const timeJitter = defineAugmentation({
  name: 'timeJitter',
  summary: 'shift each event in time',
  arguments: [{ name: 'deviationUs', minimum: 0, maximum: 1e9, what: 'standard deviation, µs' }],
  create:
    ({ deviationUs }) =>
    (window, random) => {
      const { startUs, endUs, events } = window;
      const moved = events.tUs.map((tUs) => {
        const jittered = tUs + Math.round(deviationUs * random.normal());
        return Math.min(Math.max(jittered, startUs), endUs - 1);
      });
      return { ...window, events: sortByTime({ ...events, tUs: moved }) };
    },
});

/** The events in the order of time; those of one time keep their order. */
function sortByTime(events: EventBatch): EventBatch {
  // Numbers alone are sorted far faster than indices with a comparison. Then each event takes the first
  // place that is free among those of its time.
  const tUs = events.tUs.slice().sort();
  const taken = new Uint32Array(events.length);
  const x = new Uint16Array(events.length);
  const y = new Uint16Array(events.length);
  const polarity = new Uint8Array(events.length);
  for (let i = 0; i < events.length; i++) {
    const first = firstPlace(tUs, events.tUs[i]);
    const place = first + taken[first]++;
    x[place] = events.x[i];
    y[place] = events.y[i];
    polarity[place] = events.polarity[i];
  }
  return createBatch(events.sensor, tUs, x, y, polarity);
}

/** The first index of a value in sorted ones that contain it. */
function firstPlace(sorted: Float64Array, value: number): number {
  let low = 0;
  let high = sorted.length - 1;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (sorted[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

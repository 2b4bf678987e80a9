import { defineFilter } from './filter.js';

/** Two rings, first of dropped, then of passed events, and the place in each that is written next. */
interface Windows {
  readonly x: Int32Array;
  readonly y: Int32Array;
  readonly next: Uint32Array;
}

/** No event is near this place. */
const nowhere = -(2 ** 30);

/**
 * The double window filter (DWF; Guo and Delbruck, Low Cost and Latency Event Camera Background Activity
 * Denoising, IEEE TPAMI, 2022): one window holds the last `length` events that passed, another the last
 * `length` that did not. An event passes where at least `support` events of both windows together are at
 * most `distance` pixels away (|Δx| + |Δy|), of whatever time, polarity and pixel; then it enters its window.
 * Memory does not grow with the sensor. Time counts only through the order of events.
 *
 * State: `Windows`.
 */
export const doubleWindow = defineFilter({
  name: 'doubleWindow',
  summary: 'drop events far away from the last events (DWF)',
  arguments: [
    { name: 'length', minimum: 1, maximum: 4096, integer: true, what: 'events in each window' },
    { name: 'distance', minimum: 0, maximum: 65_535, integer: true, what: '|Δx| + |Δy|, pixels' },
    {
      name: 'support',
      minimum: 1,
      maximum: 8192,
      integer: true,
      default: 1,
      what: 'events that must be near',
    },
  ],
  create: ({ length: size, distance, support }) => ({
    start: (): Windows => ({
      x: new Int32Array(2 * size).fill(nowhere),
      y: new Int32Array(2 * size).fill(nowhere),
      next: new Uint32Array(2),
    }),
    mark({ length, x, y }, window, keep) {
      for (let i = 0; i < length; i++) {
        let found = 0;
        for (let j = 0; j < 2 * size && found < support; j++) {
          found += +(Math.abs(window.x[j] - x[i]) + Math.abs(window.y[j] - y[i]) <= distance);
        }
        const passed = +(found >= support);
        keep[i] = passed;
        const place = passed * size + window.next[passed];
        window.x[place] = x[i];
        window.y[place] = y[i];
        window.next[passed] = (window.next[passed] + 1) % size;
      }
    },
  }),
});

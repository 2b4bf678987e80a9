import type { Random } from '../../engine/support/random.js';
import {
  BatchBuilder,
  createBatch,
  type EventBatch,
  selectEvents,
  type SensorSize,
} from '../../ingest/eventBatch.js';
import type { ArgumentDefinition, CallDefinition } from '../arguments.js';
import type { EventWindow } from '../windows/window.js';

/** Changes a window at random. All draws come from `random`; the window that is given stays as it is. */
export type WindowChange = (window: EventWindow, random: Random) => EventWindow;

/**
 * Mixes a window with another one. Neither of them is changed.
 *
 * @param partner reads the other window; not called where nothing is mixed.
 * @returns the mixed window, with index and bounds of `own`, and the share of its label that is `own`'s, 0 … 1.
 */
export type WindowMix = (
  own: EventWindow,
  partner: () => EventWindow,
  random: Random,
) => { readonly window: EventWindow; readonly ownShare: number };

/** An augmentation with its arguments' values. */
export interface Augmentation {
  /** The canonical call, for instance `flipX:probability=0.5`. */
  readonly description: string;
  /** What is done to a window alone; nothing where it takes two. */
  readonly apply: WindowChange;
  /** Is there where it takes two windows. */
  readonly mix?: WindowMix;
}

/** An augmentation as it is registered. */
export type AugmentationDefinition = CallDefinition<WindowChange | { readonly mix: WindowMix }>;

/** Checks that an augmentation and its arguments fit together. */
export function defineAugmentation<A extends string>(
  definition: CallDefinition<WindowChange, A>,
): CallDefinition<WindowChange> {
  return definition;
}

/** The argument of augmentations that leave some windows alone. */
export const probabilityArgument = {
  name: 'probability',
  minimum: 0,
  maximum: 1,
  default: 0.5,
  what: 'how often it happens',
} as const;

/** An augmentation that leaves a window alone or does the one thing that it does. */
export function defineFlip(
  name: string,
  summary: string,
  flip: (events: EventBatch) => EventBatch,
): CallDefinition<WindowChange> {
  return defineAugmentation({
    name,
    summary,
    arguments: [probabilityArgument],
    create:
      ({ probability }) =>
      (window, random) =>
        random.uniform() < probability ? { ...window, events: flip(window.events) } : window,
  });
}

/** The argument of augmentations that drop a share which is drawn for each window. */
export function maximumShare(what: string): ArgumentDefinition<'maximum'> {
  return { name: 'maximum', minimum: 0, maximum: 1, what };
}

/** The window with those of its events that `keep` says yes to, asked in order. */
export function keepEvents(window: EventWindow, keep: (event: number) => boolean): EventWindow {
  const flags = new Uint8Array(window.events.length);
  for (let i = 0; i < flags.length; i++) if (keep(i)) flags[i] = 1;
  return { ...window, events: selectEvents(window.events, flags) };
}

/**
 * The window with every event moved by `dx` columns and `dy` rows, which are asked in this order for one
 * event after the other. Events that leave `sensor` are dropped.
 */
export function moveEvents(
  window: EventWindow,
  sensor: SensorSize,
  dx: () => number,
  dy: () => number,
): EventWindow {
  const { length, tUs, x, y, polarity } = window.events;
  const moved = new BatchBuilder(sensor, length);
  for (let i = 0; i < length; i++) {
    const column = x[i] + dx();
    const row = y[i] + dy();
    const inside = column >= 0 && column < sensor.width && row >= 0 && row < sensor.height;
    if (inside) moved.push(tUs[i], column, row, polarity[i]);
  }
  return { ...window, events: moved.take() };
}

/** The events in the order of time; those of one time keep their order. */
export function sortByTime(events: EventBatch): EventBatch {
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

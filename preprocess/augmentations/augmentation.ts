import type { Random } from '../../engine/support/random.js';
import {
  BatchBuilder,
  type EventBatch,
  selectEvents,
  type SensorSize,
} from '../../ingest/eventBatch.js';
import type { ArgumentDefinition, CallDefinition } from '../arguments.js';
import type { EventWindow } from '../windows/window.js';

/** Changes a window at random. All draws come from `random`; the window that is given stays as it is. */
export type WindowChange = (window: EventWindow, random: Random) => EventWindow;

/** An augmentation with its arguments' values. */
export interface Augmentation {
  /** The canonical call, for instance `flipX:probability=0.5`. */
  readonly description: string;
  readonly apply: WindowChange;
}

/** An augmentation as it is registered. */
export type AugmentationDefinition = CallDefinition<WindowChange>;

/** Checks that an augmentation and its arguments fit together. */
export function defineAugmentation<A extends string>(
  definition: CallDefinition<WindowChange, A>,
): AugmentationDefinition {
  return definition;
}

/** An augmentation that leaves a window alone or does the one thing that it does. */
export function defineFlip(
  name: string,
  summary: string,
  flip: (events: EventBatch) => EventBatch,
): AugmentationDefinition {
  return defineAugmentation({
    name,
    summary,
    arguments: [
      { name: 'probability', minimum: 0, maximum: 1, default: 0.5, what: 'how often it happens' },
    ],
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

import { SaccadeError } from '../../engine/support/errors.js';
import type { EventBatch, SensorSize } from '../../ingest/eventBatch.js';
import { checkEvents } from '../checkEvents.js';
import {
  clipGrid,
  type ClipGrid,
  clipLength,
  type ClipSize,
  type ClipValues,
  type Representation,
  type TimeInterval,
} from './representation.js';

/** A clip that takes in events: for streams, and for windows that are there at once. */
export interface Clip<V extends ClipValues = ClipValues> {
  readonly representation: Representation;
  readonly grid: ClipGrid;
  /** `[bins, channels, height, width]`, up to date after `finishClip`. */
  readonly out: V;
  readonly state: unknown;
}

/**
 * A clip without events.
 *
 * @param out filled; for instance a part of a batch's memory, or bytes where the representation's `bytes` says so.
 * @throws SaccadeError of kind `usage` where the sizes or the interval make no sense, or `out` does not fit.
 */
export function startClip<V extends ClipValues = Float32Array>(
  representation: Representation,
  sensor: SensorSize,
  interval: TimeInterval,
  size: ClipSize,
  out: V = new Float32Array(clipLength(representation, size)) as ClipValues as V,
): Clip<V> {
  const { fromUs, toUs } = interval;
  if (!(Number.isFinite(toUs - fromUs) && fromUs <= toUs)) {
    const message = `the interval ${fromUs} … ${toUs} µs, expected two finite times that do not fall`;
    throw new SaccadeError('usage', message);
  }
  for (const field of ['bins', 'height', 'width'] as const) {
    if (Number.isInteger(size[field]) && size[field] > 0) continue;
    throw new SaccadeError('usage', `is ${size[field]}, expected a whole number from 1`, { field });
  }
  const length = clipLength(representation, size);
  if (out.length !== length) {
    throw new SaccadeError('usage', `${out.length} values for a clip, expected ${length}`);
  }
  if (out instanceof Uint8Array && representation.bytes !== true) {
    const message = `values of ${representation.name} cannot be written as bytes, expected a Float32Array`;
    throw new SaccadeError('usage', message);
  }
  out.fill(0);
  const grid = clipGrid(sensor, interval, size);
  return { representation, grid, out, state: representation.start(grid, out as Float32Array) };
}

/**
 * Takes in a batch of events, which stays as it is.
 *
 * @throws SaccadeError of kind `input` where the batch is of another sensor size, or an event of it is not
 *   on the sensor, has no finite time, or a polarity other than 0 and 1. The clip is then as before.
 */
export function addToClip({ representation, grid, state }: Clip, events: EventBatch): void {
  checkBatch(events, grid.sensor);
  representation.add(state, events);
}

/** The clip's values, brought up to the events so far; more may follow. */
export function finishClip<V extends ClipValues>({ representation, state, out }: Clip<V>): V {
  representation.finish(state);
  return out;
}

/** @throws SaccadeError that says what is wrong with a batch or with which of its events. */
export function checkBatch(events: EventBatch, { width, height }: SensorSize): void {
  const { sensor } = events;
  if (sensor.width !== width || sensor.height !== height) {
    throw new SaccadeError(
      'input',
      `events of a sensor of ${sensor.width} × ${sensor.height} pixels, expected ${width} × ${height}`,
    );
  }
  checkEvents(events);
}

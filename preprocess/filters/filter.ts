import { SaccadeError } from '../../engine/support/errors.js';
import {
  blankBatch,
  createBatch,
  type EventBatch,
  selectEvents,
  type SensorSize,
} from '../../ingest/eventBatch.js';
import { type Call, type CallDefinition } from '../arguments.js';
import { checkEvents } from '../checkEvents.js';

/**
 * A filter = parameters (the closure that a rule is made in) + a state before the first event + one loop
 * over a batch. What passes depends on the events and the state alone, so a stream gives the same events
 * however it is cut into batches.
 */
interface Rule<S> {
  /**
   * The state before the first event: plain data (numbers, typed arrays, objects of them) that
   * `structuredClone` copies and `v8.serialize` writes. Nothing in it may look like an event that never was.
   */
  start(sensor: SensorSize): S;
}

/** Which events of a stream pass. They stay as they are. */
export interface KeepRule<S = unknown> extends Rule<S> {
  /**
   * Sets `keep[i]` to 1 for every event `i` that passes, and brings the state up to date in place.
   *
   * @param keep at least as long as the batch, all 0 before.
   */
  mark(batch: EventBatch, state: S, keep: Uint8Array): void;
}

/** Which events of a stream pass, and where to. Times and polarities stay. */
export interface PlaceRule<S = unknown> extends Rule<S> {
  /** The sensor of the events that come out. */
  sensorAfter(sensor: SensorSize): SensorSize;
  /** As `mark`; also sets `x[i]` and `y[i]`, at least as long as the batch, for every event that passes. */
  place(batch: EventBatch, state: S, keep: Uint8Array, x: Uint16Array, y: Uint16Array): void;
}

export type FilterRule<S = unknown> = KeepRule<S> | PlaceRule<S>;

/** The state of a filter in the midst of a stream. Plain data; only the filter itself looks into it. */
export interface FilterState<S = unknown> {
  /** The sensor that it was started for. */
  readonly sensor: SensorSize;
  readonly own: S;
}

/** Memory that a filter uses again for each batch, where nobody needs the batch before any more. */
export class Workspace {
  private flags = new Uint8Array(0);
  private events: EventBatch | undefined;

  /** Zeros, one for each event. */
  keep(length: number): Uint8Array {
    if (this.flags.length < length) this.flags = new Uint8Array(length);
    else this.flags.fill(0);
    return this.flags;
  }

  /** Room for more events than `length`. */
  room(sensor: SensorSize, length: number): EventBatch {
    if (this.events === undefined || this.events.length <= length) {
      this.events = blankBatch(sensor, length + 1);
    }
    return this.events;
  }
}

/** A filter with its arguments' values. */
export interface EventFilter<S = unknown> {
  /** The canonical call, for instance `refractory:periodUs=1000`. Part of cache keys. */
  readonly description: string;
  /** The sensor of the events that come out. Throws as `start` does. */
  sensorAfter(sensor: SensorSize): SensorSize;
  /**
   * The state before the first event of a recording.
   *
   * @throws SaccadeError of kind `usage` where the arguments make no sense for this sensor.
   */
  start(sensor: SensorSize): FilterState<S>;
  /**
   * The events that pass. Changes the state in place, never the batch.
   *
   * @param workspace memory of the events that come out; they are good until it is used again.
   * @throws SaccadeError of kind `input` where the batch has another sensor than the state, or events that
   *   are none (`checkEvents`); the state is then as it was.
   */
  apply(batch: EventBatch, state: FilterState<S>, workspace?: Workspace): EventBatch;
}

/** A filter as it is registered. */
export type FilterDefinition = CallDefinition<FilterRule>;

/** Checks that a filter's rule and arguments fit together. */
export function defineFilter<A extends string, S>(
  definition: CallDefinition<FilterRule<S>, A>,
): FilterDefinition {
  return definition;
}

/** The filter of a parsed call. */
export function createFilter<S>({ description, value: rule }: Call<FilterRule<S>>): EventFilter<S> {
  return {
    description,
    sensorAfter: (sensor) => ('place' in rule ? rule.sensorAfter(sensor) : sensor),
    start: (sensor) => ({
      sensor: { width: sensor.width, height: sensor.height },
      own: rule.start(sensor),
    }),
    apply(batch, { sensor, own }, workspace) {
      requireSensor(description, batch.sensor, sensor);
      checkEvents(batch);
      const { length, tUs, polarity } = batch;
      const keep = workspace?.keep(length) ?? new Uint8Array(length);
      const room = workspace?.room(sensor, length);
      if ('mark' in rule) {
        rule.mark(batch, own, keep);
        return selectEvents(batch, keep, room);
      }
      const x = new Uint16Array(length);
      const y = new Uint16Array(length);
      rule.place(batch, own, keep, x, y);
      const placed = createBatch(rule.sensorAfter(sensor), tUs, x, y, polarity);
      return selectEvents(placed, keep, room);
    },
  };
}

function requireSensor(description: string, given: SensorSize, started: SensorSize): void {
  if (given.width === started.width && given.height === started.height) return;
  throw new SaccadeError(
    'input',
    `filter "${description}" was started for a sensor of ${started.width} x ${started.height} pixels, ` +
      `but got events of one of ${given.width} x ${given.height}`,
  );
}

/** What is worked out once for a sensor; the last one is remembered. */
export function onceForSensor<T>(make: (sensor: SensorSize) => T): (sensor: SensorSize) => T {
  let last: { readonly sensor: SensorSize; readonly made: T } | undefined;
  return (sensor) => {
    if (last?.sensor.width !== sensor.width || last.sensor.height !== sensor.height) {
      last = { sensor, made: make(sensor) };
    }
    return last.made;
  };
}

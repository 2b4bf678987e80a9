import { type EventBatch, selectEvents, type SensorSize } from '../../ingest/eventBatch.js';
import { type Call, type CallDefinition } from '../arguments.js';

/**
 * Which events of a stream pass. It depends on the events and the state alone, so a stream gives the
 * same events however it is cut into batches.
 */
export interface FilterRule<S = unknown> {
  /** The state before the first event: plain data that `structuredClone` copies. */
  start(sensor: SensorSize): S;
  /**
   * Sets `keep[i]` to 1 for every event `i` that passes, and brings the state up to date in place.
   *
   * @param keep as long as the batch, all 0 before.
   */
  mark(batch: EventBatch, state: S, keep: Uint8Array): void;
}

/** A filter with its arguments' values. */
export interface EventFilter<S = unknown> {
  /** The canonical call, for instance `refractory:periodUs=1000`. Part of cache keys. */
  readonly description: string;
  /**
   * The state before the first event of a recording.
   *
   * @throws SaccadeError of kind `usage` where the arguments make no sense for this sensor.
   */
  start(sensor: SensorSize): S;
  /** The events that pass. Changes the state in place, never the batch. */
  apply(batch: EventBatch, state: S): EventBatch;
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
    start: (sensor) => rule.start(sensor),
    apply(batch, state) {
      const keep = new Uint8Array(batch.length);
      rule.mark(batch, state, keep);
      return keep.includes(0) ? selectEvents(batch, keep) : batch;
    },
  };
}

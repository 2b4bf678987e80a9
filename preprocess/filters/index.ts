import type { EventBatch, SensorSize } from '../../ingest/eventBatch.js';
import { parseCall } from '../arguments.js';
import { backgroundActivity } from './backgroundActivity.js';
import { createFilter, type EventFilter, type FilterDefinition } from './filter.js';
import { polarity } from './polarity.js';
import { refractory } from './refractory.js';
import { region } from './region.js';

export type { EventFilter, FilterDefinition, FilterRule } from './filter.js';

/** Every filter that is known. One more is one line here. */
export const filters: readonly FilterDefinition[] = [
  refractory,
  backgroundActivity,
  polarity,
  region,
];

/**
 * The filter that a call like `refractory:1000` means.
 *
 * @throws SaccadeError of kind `usage` that says what was expected.
 */
export function parseFilter(text: string): EventFilter {
  return createFilter(parseCall('filter', filters, text));
}

/** The states of filters before the first event of a recording. */
export function startFilters(chain: readonly EventFilter[], sensor: SensorSize): unknown[] {
  return chain.map((filter) => filter.start(sensor));
}

/** The events that pass all filters, in order. Changes the states in place. */
export function applyFilters(
  batch: EventBatch,
  chain: readonly EventFilter[],
  states: readonly unknown[],
): EventBatch {
  return chain.reduce((passed, filter, i) => filter.apply(passed, states[i]), batch);
}

/** The events of one recording that pass all filters, in order; batches that come out empty are left out. */
export async function* filterStream(
  batches: AsyncIterable<EventBatch>,
  chain: readonly EventFilter[],
): AsyncGenerator<EventBatch> {
  let states: unknown[] | undefined;
  for await (const batch of batches) {
    states ??= startFilters(chain, batch.sensor);
    const passed = applyFilters(batch, chain, states);
    if (passed.length > 0) yield passed;
  }
}

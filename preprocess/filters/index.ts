import { SaccadeError } from '../../engine/support/errors.js';
import type { EventBatch, SensorSize } from '../../ingest/eventBatch.js';
import { parseCall } from '../arguments.js';
import { checkEvents } from '../checkEvents.js';
import { antiFlicker } from './antiFlicker.js';
import { backgroundActivity } from './backgroundActivity.js';
import { decimate } from './decimate.js';
import { doubleWindow } from './doubleWindow.js';
import { downsample } from './downsample.js';
import { downsampleCount } from './downsampleCount.js';
import {
  createFilter,
  type EventFilter,
  type FilterDefinition,
  type FilterState,
  Workspace,
} from './filter.js';
import { flipX } from './flipX.js';
import { flipY } from './flipY.js';
import { hotPixels } from './hotPixels.js';
import { mask } from './mask.js';
import { polarity } from './polarity.js';
import { randomDrop } from './randomDrop.js';
import { rateLimit } from './rateLimit.js';
import { refractory } from './refractory.js';
import { region } from './region.js';
import { rotate } from './rotate.js';
import { spatiotemporalCorrelation } from './spatiotemporalCorrelation.js';
import { timeDecay } from './timeDecay.js';
import { transpose } from './transpose.js';
import { undistort } from './undistort.js';
import { yNoise } from './yNoise.js';

export {
  type EventFilter,
  type FilterDefinition,
  type FilterRule,
  type FilterState,
  Workspace,
} from './filter.js';

/** Every filter that is known. One more is one line here. */
export const filters: readonly FilterDefinition[] = [
  refractory,
  backgroundActivity,
  spatiotemporalCorrelation,
  doubleWindow,
  yNoise,
  timeDecay,
  hotPixels,
  mask,
  antiFlicker,
  polarity,
  region,
  decimate,
  randomDrop,
  rateLimit,
  downsample,
  downsampleCount,
  undistort,
  flipX,
  flipY,
  rotate,
  transpose,
];

/**
 * The filter that a call like `refractory:1000` means.
 *
 * @throws SaccadeError of kind `usage` that says what was expected.
 */
export function parseFilter(text: string): EventFilter {
  return createFilter(parseCall('filter', filters, text));
}

/**
 * For each event of a batch 1 where a filter that has seen nothing before lets it pass, else 0; for those
 * that measure filters.
 *
 * @throws SaccadeError of kind `usage` where the call is wrong or the filter moves events.
 */
export function keptFlags(text: string, batch: EventBatch): Uint8Array {
  const { value: rule } = parseCall('filter', filters, text);
  if (!('mark' in rule)) {
    throw new SaccadeError('usage', `filter "${text}" moves events, expected one that keeps them`);
  }
  checkEvents(batch);
  const keep = new Uint8Array(batch.length);
  rule.mark(batch, rule.start(batch.sensor), keep);
  return keep;
}

/** The sensor of the events that come out of all filters. */
export function sensorAfterFilters(chain: readonly EventFilter[], sensor: SensorSize): SensorSize {
  return chain.reduce((size, filter) => filter.sensorAfter(size), sensor);
}

/**
 * The states of filters before the first event of a recording, each for the sensor that the one before it
 * gives. They are plain data: `structuredClone` copies them, `v8.serialize` writes them.
 */
export function startFilters(chain: readonly EventFilter[], sensor: SensorSize): FilterState[] {
  return chain.map((filter, i) => filter.start(sensorAfterFilters(chain.slice(0, i), sensor)));
}

/**
 * The events that pass all filters, in order. Changes the states in place.
 *
 * @param workspaces one for each filter, as for `EventFilter.apply`.
 */
export function applyFilters(
  batch: EventBatch,
  chain: readonly EventFilter[],
  states: readonly FilterState[],
  workspaces?: readonly Workspace[],
): EventBatch {
  return chain.reduce(
    (passed, filter, i) => filter.apply(passed, states[i], workspaces?.[i]),
    batch,
  );
}

/**
 * The events of one recording that pass all filters, in order; batches that come out empty are left out.
 *
 * @param reuse whether each batch is done with when the next is asked for: memory is used again.
 */
export async function* filterStream(
  batches: AsyncIterable<EventBatch>,
  chain: readonly EventFilter[],
  { reuse = false }: { readonly reuse?: boolean } = {},
): AsyncGenerator<EventBatch> {
  const workspaces = reuse ? chain.map(() => new Workspace()) : undefined;
  let states: FilterState[] | undefined;
  for await (const batch of batches) {
    states ??= startFilters(chain, batch.sensor);
    const passed = applyFilters(batch, chain, states, workspaces);
    if (passed.length > 0) yield passed;
  }
}

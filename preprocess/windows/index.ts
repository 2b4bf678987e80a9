import type { EventBatch } from '../../ingest/eventBatch.js';
import { type CountWindowConfig, countWindows } from './count.js';
import { type TimeWindowConfig, timeWindows } from './time.js';
import type { EventWindow, WindowReport } from './window.js';

export type { CountWindowConfig } from './count.js';
export type { TimeWindowConfig } from './time.js';
export {
  createWindowReport,
  type EventWindow,
  type IncompletePolicy,
  type WindowReport,
} from './window.js';

export type WindowConfig = TimeWindowConfig | CountWindowConfig;

/**
 * Cuts a stream of events into windows. The windows never depend on how the stream is cut into batches.
 *
 * @param report filled in while windows are read.
 */
export function windowsOf(
  batches: AsyncIterable<EventBatch>,
  config: WindowConfig,
  report?: WindowReport,
): AsyncGenerator<EventWindow> {
  return config.kind === 'time'
    ? timeWindows(batches, config, report)
    : countWindows(batches, config);
}

import type { EventBatch } from '../../ingest/eventBatch.js';
import { type CountWindowConfig, countWindows } from './count.js';
import { type RateWindowConfig, rateWindows } from './rate.js';
import { type TimeWindowConfig, timeWindows } from './time.js';
import { type TimeOrCountWindowConfig, timeOrCountWindows } from './timeOrCount.js';
import type { EventWindow, WindowReport } from './window.js';

export type { CountWindowConfig } from './count.js';
export { type LabelledInterval, type LabelPolicy, windowLabel } from './labels.js';
export type { RateWindowConfig } from './rate.js';
export type { TimeWindowConfig } from './time.js';
export type { TimeOrCountWindowConfig } from './timeOrCount.js';
export {
  createWindowReport,
  type EventWindow,
  type IncompletePolicy,
  type WindowReport,
} from './window.js';

export type WindowConfig =
  TimeWindowConfig | CountWindowConfig | TimeOrCountWindowConfig | RateWindowConfig;

/**
 * Cuts a stream of events into windows. The windows never depend on how the stream is cut into batches; a
 * stream without events has none.
 *
 * @param report filled in while windows are read.
 */
export function windowsOf(
  batches: AsyncIterable<EventBatch>,
  config: WindowConfig,
  report?: WindowReport,
): AsyncGenerator<EventWindow> {
  switch (config.kind) {
    case 'time':
      return timeWindows(batches, config, report);
    case 'count':
      return countWindows(batches, config);
    case 'timeOrCount':
      return timeOrCountWindows(batches, config);
    case 'rate':
      return rateWindows(batches, config);
  }
}

import fc from 'fast-check';
import type { SensorSize } from '../../ingest/eventBatch.js';
import type { EventRow } from '../ingest/streams.js';

/** Events on a sensor, with steps of time that are drawn from `stepUs`; steps may go backwards. */
export function eventRows(
  sensor: SensorSize,
  stepUs: readonly [number, number] = [-60, 120],
  maxLength = 80,
): fc.Arbitrary<EventRow[]> {
  const event = fc.tuple(
    fc.integer({ min: stepUs[0], max: stepUs[1] }),
    fc.integer({ min: 0, max: sensor.width - 1 }),
    fc.integer({ min: 0, max: sensor.height - 1 }),
    fc.integer({ min: 0, max: 1 }),
  );
  const startUs = fc.constantFrom(0, 1_000, 1_700_000_000_000_000);
  return fc.tuple(startUs, fc.array(event, { maxLength })).map(([first, events]) => {
    let tUs = first;
    return events.map(([step, x, y, polarity]): EventRow => {
      tUs += step;
      return [tUs, x, y, polarity];
    });
  });
}

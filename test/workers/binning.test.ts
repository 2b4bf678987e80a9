import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { type EventBin, EventBinner } from '../../workers/binning.js';
import { batchOf } from '../ingest/streams.js';
import { tinySensor } from './tinySet.js';

const [windowUs, bins] = [40, 4];

describe('EventBinner', () => {
  it('gives each bin once, in order, and each event once, whenever bins are closed', () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ gapUs: fc.integer({ min: 0, max: 25 }), closes: fc.boolean() }), {
          maxLength: 60,
        }),
        (steps) => {
          const report = { lateEvents: 0, jumps: 0 };
          const binner = new EventBinner(windowUs, bins, report);
          const found: EventBin[] = [];
          let tUs = 100;
          for (const { gapUs, closes } of steps) {
            tUs += gapUs;
            found.push(...binner.push(batchOf(tinySensor, [[tUs, 1, 2, 1]])));
            const { openEndUs } = binner;
            const closed = closes ? binner.close() : undefined;
            if (closed === undefined) continue;
            expect(closed.endUs).toBe(openEndUs);
            expect(closed.events.length).toBeGreaterThan(0);
            // There is nothing more to close, or to end with.
            expect([binner.close(), binner.end()]).toEqual([undefined, undefined]);
            found.push(closed);
          }
          const last = binner.end();
          if (last !== undefined) found.push(last);
          expect(found.map(({ bin }) => bin)).toEqual(found.map((_, i) => i));
          let events = 0;
          for (const bin of found) {
            events += bin.events.length;
            for (const t of bin.events.tUs) {
              expect(t).toBeGreaterThanOrEqual(bin.startUs);
              expect(t).toBeLessThan(bin.endUs);
            }
          }
          expect(events + report.lateEvents).toBe(steps.length);
        },
      ),
      { numRuns: 100 },
    );
  });

  it('closes nothing twice where the clock of the events jumps', () => {
    const report = { lateEvents: 0, jumps: 0 };
    const binner = new EventBinner(windowUs, bins, report);
    expect([...binner.push(batchOf(tinySensor, [[5, 1, 2, 1]]))]).toEqual([]);
    expect(binner.close()).toMatchObject({ bin: 0 });
    expect([...binner.push(batchOf(tinySensor, [[1e9, 1, 2, 1]]))]).toEqual([]);
    expect(report).toEqual({ lateEvents: 0, jumps: 1 });
    expect(binner.end()).toMatchObject({ bin: 0, startUs: 1e9, afterJump: true });
  });
});

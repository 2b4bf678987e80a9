import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { selectBackend } from '../../engine/backend.js';
import {
  binEvents,
  type EventColumns,
  type EventGrid,
  type EventRepresentation,
} from '../../engine/ops/binEvents.js';
import { expectNear } from '../expectNear.js';
import { testedBackends } from './backends.js';

const sensor = { width: 7, height: 5 };

const events = fc
  .array(
    fc.record({
      tUs: fc.integer({ min: -10, max: 1010 }),
      x: fc.integer({ min: 0, max: sensor.width - 1 }),
      y: fc.integer({ min: 0, max: sensor.height - 1 }),
      polarity: fc.integer({ min: 0, max: 1 }),
    }),
    { maxLength: 200 },
  )
  .map((list): EventColumns => ({
    tUs: Float64Array.from(list, (e) => e.tUs),
    x: Uint16Array.from(list, (e) => e.x),
    y: Uint16Array.from(list, (e) => e.y),
    polarity: Uint8Array.from(list, (e) => e.polarity),
  }));

const grids = fc
  .record({
    bins: fc.integer({ min: 1, max: 6 }),
    height: fc.integer({ min: 1, max: 5 }),
    width: fc.integer({ min: 1, max: 7 }),
    toUs: fc.constantFrom(0, 1, 997, 1000),
  })
  .map(({ bins, height, width, toUs }): EventGrid => ({
    bins,
    height,
    width,
    fromUs: 0,
    toUs,
    rows: Int32Array.from({ length: sensor.height }, (_, y) =>
      Math.floor((y * height) / sensor.height),
    ),
    columns: Int32Array.from({ length: sensor.width }, (_, x) =>
      Math.floor((x * width) / sensor.width),
    ),
  }));

/** Every value on its own, from the definition: which events count for it, and how much. */
function direct(
  { tUs, x, y, polarity }: EventColumns,
  { bins, height, width, fromUs, toUs, rows, columns }: EventGrid,
  representation: EventRepresentation,
): number[] {
  const channels = representation === 'voxel' ? 1 : 2;
  const share = (t: number): number =>
    toUs === fromUs ? 0 : Math.min(1, Math.max(0, (t - fromUs) / (toUs - fromUs)));
  return Array.from({ length: bins * channels * height * width }, (_, index) => {
    const column = index % width;
    const row = Math.floor(index / width) % height;
    const channel = Math.floor(index / (width * height)) % channels;
    const bin = Math.floor(index / (width * height * channels));
    let sum = 0;
    tUs.forEach((t, i) => {
      if (rows[y[i]] !== row || columns[x[i]] !== column) return;
      if (representation === 'voxel') {
        const distance = Math.abs(bin - (bins - 1) * share(t));
        sum += (polarity[i] === 1 ? 1 : -1) * Math.max(0, 1 - distance);
        return;
      }
      const own = t >= toUs ? bins - 1 : Math.floor(bins * share(t));
      if (own === bin && polarity[i] === channel) sum++;
    });
    return representation === 'spikes' ? Math.min(1, sum) : sum;
  });
}

describe.each(testedBackends)('binEvents on %s', (backend) => {
  beforeAll(async () => {
    await selectBackend(backend);
  });
  afterAll(() => {
    expect(tf.memory().numTensors).toBe(0);
  });

  it.each(['histogram', 'spikes', 'voxel'] as const)('%s follows its definition', (kind) => {
    fc.assert(
      fc.property(events, grids, (columns, grid) => {
        tf.tidy(() => {
          const actual = binEvents(columns, grid, kind);
          const channels = kind === 'voxel' ? 1 : 2;
          expect(actual.shape).toEqual([grid.bins, channels, grid.height, grid.width]);
          const expected = direct(columns, grid, kind);
          expectNear(actual.dataSync(), expected, 4);
        });
      }),
      { numRuns: 40 },
    );
  });

  it('refuses events outside the sensor', () => {
    const outside = {
      tUs: Float64Array.of(1),
      x: Uint16Array.of(7),
      y: Uint16Array.of(0),
      polarity: Uint8Array.of(1),
    };
    const grid = {
      bins: 1,
      height: 5,
      width: 7,
      fromUs: 0,
      toUs: 1,
      rows: new Int32Array(5),
      columns: new Int32Array(7),
    };
    expect(() => binEvents(outside, grid, 'spikes')).toThrow(/event 0 at \(7, 0\)/);
  });
});

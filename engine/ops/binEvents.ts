import * as tf from '@tensorflow/tfjs-core';

import { defineFusedOp, type Attributes, type HostKernel } from '../fused.js';
import { SaccadeError } from '../support/errors.js';

/**
 * What a pixel of a bin tells:
 * - `histogram`: the count of events by polarity, channel 0 for OFF and 1 for ON (Maqueda et al. 2018)
 * - `spikes`: 1 where that count is positive
 * - `voxel`: the sum of polarities ±1, each spread bilinearly over the two nearest of the bins' sample
 *   times (Zhu et al. 2019, eqs. 1-3); one channel
 */
export type EventRepresentation = 'histogram' | 'spikes' | 'voxel';

/** Events as columns, in any order. */
export interface EventColumns {
  /** Times in µs. */
  readonly tUs: Float64Array;
  readonly x: Uint16Array;
  readonly y: Uint16Array;
  /** 0 = OFF, 1 = ON. */
  readonly polarity: Uint8Array;
}

/** The frames that events fall into. */
export interface EventGrid {
  readonly bins: number;
  readonly height: number;
  readonly width: number;
  /** The bins divide this time evenly; its end is in the last bin, and what lies outside in the nearest. */
  readonly fromUs: number;
  readonly toUs: number;
  /** Row of the frame for each row of the sensor. */
  readonly rows: Int32Array;
  /** Column of the frame for each column of the sensor. */
  readonly columns: Int32Array;
}

export interface BinConfig extends Attributes, EventColumns, EventGrid {
  readonly representation: EventRepresentation;
}

const kernel: HostKernel<BinConfig> = {
  outputShapes: (_, { representation, bins, height, width }) => [
    [bins, representation === 'voxel' ? 1 : 2, height, width],
  ],
  run(_, [out], __, config) {
    const { tUs, x, y, polarity, representation, bins, fromUs, toUs, rows, columns } = config;
    const plane = config.height * config.width;
    const durationUs = toUs - fromUs;
    for (let i = 0; i < tUs.length; i++) {
      const pixel = rows[y[i]] * config.width + columns[x[i]];
      const sinceUs = Math.max(0, Math.min(durationUs, tUs[i] - fromUs));
      if (representation === 'voxel') {
        const position = durationUs > 0 ? ((bins - 1) * sinceUs) / durationUs : 0;
        const lower = Math.floor(position);
        const upperShare = position - lower;
        const sign = polarity[i] === 1 ? 1 : -1;
        out[lower * plane + pixel] += sign * (1 - upperShare);
        if (upperShare > 0) out[(lower + 1) * plane + pixel] += sign * upperShare;
        continue;
      }
      // Products of whole numbers are exact: an event on the border of two bins is never misplaced.
      let bin = 0;
      if (tUs[i] >= toUs) bin = bins - 1;
      else if (tUs[i] > fromUs) bin = Math.floor((bins * sinceUs) / durationUs);
      const cell = (2 * bin + polarity[i]) * plane + pixel;
      if (representation === 'spikes') out[cell] = 1;
      else out[cell]++;
    }
  },
};

const fused = defineFusedOp<BinConfig>({
  name: 'BinEvents',
  forward: kernel,
  reference(_, config) {
    const [shape] = kernel.outputShapes([], config);
    const values = new Float32Array(shape.reduce((a, b) => a * b, 1));
    kernel.run([], [values], [], config);
    return [tf.tensor(values, shape)];
  },
});

/**
 * Events as a dense tensor, written straight into its memory.
 *
 * @returns `[bins, channels, height, width]`, two channels or, for `voxel`, one.
 * @throws SaccadeError of kind `input` where an event lies outside the sensor.
 */
export function binEvents(
  { tUs, x, y, polarity }: EventColumns,
  grid: EventGrid,
  representation: EventRepresentation,
): tf.Tensor {
  for (let i = 0; i < tUs.length; i++) {
    if (x[i] < grid.columns.length && y[i] < grid.rows.length && polarity[i] <= 1) continue;
    throw new SaccadeError(
      'input',
      `event ${i} at (${x[i]}, ${y[i]}) with polarity ${polarity[i]} is outside the sensor of ` +
        `${grid.columns.length} × ${grid.rows.length} pixels`,
      { field: 'events' },
    );
  }
  return fused([], { tUs, x, y, polarity, ...grid, representation })[0];
}

export const binEventsDefinition = fused.definition;

import * as tf from '@tensorflow/tfjs-core';

import { defineFusedOp, type Attributes, type HostKernel } from '../fused.js';
import { SaccadeError } from '../support/errors.js';
import {
  channelsOf,
  type EventColumns,
  type EventGrid,
  type EventRepresentation,
  plainLoops,
} from './eventLoops.js';

export type { EventColumns, EventGrid, EventRepresentation } from './eventLoops.js';

export interface BinConfig extends Attributes, EventColumns, EventGrid {
  readonly representation: EventRepresentation;
}

const kernel: HostKernel<BinConfig> = {
  outputShapes: (_, { representation, bins, height, width }) => [
    [bins, channelsOf(representation), height, width],
  ],
  run(_, [out], __, config) {
    plainLoops.addToBins(out as Float32Array, config, config, config.representation);
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
 * @returns `[bins, channels, height, width]`, two channels for `histogram` and `spikes`, otherwise one.
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

import { defineFilter } from './filter.js';
import { pixelMapRule } from './pixelMap.js';

/**
 * Makes the sensor smaller by dividing coordinates, rounded down ("funnelling"; Gruel et al., Event data
 * downscaling for embedded computer vision, VISAPP, 2022). Every event stays, so a new pixel fires as often
 * as all of its old ones together. Columns and rows that are left over make a last, smaller one.
 */
export const downsample = defineFilter({
  name: 'downsample',
  summary: 'divide coordinates; every event stays',
  arguments: [
    { name: 'factor', minimum: 1, maximum: 65_536, integer: true, what: 'old pixels on a side' },
  ],
  create: ({ factor }) =>
    pixelMapRule({
      sensorAfter: ({ width, height }) => ({
        width: Math.ceil(width / factor),
        height: Math.ceil(height / factor),
      }),
      target: (x, y) => [Math.floor(x / factor), Math.floor(y / factor)],
    }),
});

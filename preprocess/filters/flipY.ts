import { defineFilter } from './filter.js';
import { pixelMapRule, sameSensor } from './pixelMap.js';

/** Mirrors top and bottom: y becomes height - 1 - y. */
export const flipY = defineFilter({
  name: 'flipY',
  summary: 'mirror top and bottom',
  arguments: [],
  create: () =>
    pixelMapRule({ sensorAfter: sameSensor, target: (x, y, { height }) => [x, height - 1 - y] }),
});

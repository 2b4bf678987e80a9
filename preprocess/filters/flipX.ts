import { defineFilter } from './filter.js';
import { pixelMapRule, sameSensor } from './pixelMap.js';

/** Mirrors left and right: x becomes width - 1 - x. */
export const flipX = defineFilter({
  name: 'flipX',
  summary: 'mirror left and right',
  arguments: [],
  create: () =>
    pixelMapRule({ sensorAfter: sameSensor, target: (x, y, { width }) => [width - 1 - x, y] }),
});

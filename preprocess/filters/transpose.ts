import { defineFilter } from './filter.js';
import { pixelMapRule, turnedSensor } from './pixelMap.js';

/** Exchanges columns and rows, also of the sensor. */
export const transpose = defineFilter({
  name: 'transpose',
  summary: 'exchange columns and rows',
  arguments: [],
  create: () => pixelMapRule({ sensorAfter: turnedSensor, target: (x, y) => [y, x] }),
});

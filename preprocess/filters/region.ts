import { SaccadeError } from '../../engine/support/errors.js';
import { defineFilter } from './filter.js';

const corner = { minimum: 0, maximum: 65_535, integer: true };
const side = { minimum: 1, maximum: 65_536, integer: true };

/**
 * Keeps the events of a rectangle, at their coordinates and on their sensor. The rectangle may reach
 * beyond the sensor, but one that has no pixel of it is an error.
 */
export const region = defineFilter({
  name: 'region',
  summary: 'keep a rectangle; coordinates stay as they are',
  arguments: [
    { name: 'x0', ...corner, what: 'leftmost column' },
    { name: 'y0', ...corner, what: 'topmost row' },
    { name: 'width', ...side, what: 'columns' },
    { name: 'height', ...side, what: 'rows' },
  ],
  create: ({ x0, y0, width, height }) => ({
    start(sensor) {
      if (x0 < sensor.width && y0 < sensor.height) return undefined;
      throw new SaccadeError(
        'usage',
        `filter "region" starts at column ${x0}, row ${y0}, expected a place on the sensor, ` +
          `which has ${sensor.width} columns and ${sensor.height} rows`,
      );
    },
    mark({ length, x, y }, _state, keep) {
      for (let i = 0; i < length; i++) {
        if (x[i] >= x0 && x[i] < x0 + width && y[i] >= y0 && y[i] < y0 + height) keep[i] = 1;
      }
    },
  }),
});

import { defineFilter } from './filter.js';
import { pixelMapRule, sameSensor, turnedSensor } from './pixelMap.js';

/**
 * Turns clockwise, as seen with row 0 at the top. Quarter turns are exact: every event stays, and the
 * sensor's sides change places. Other angles turn about the middle of the sensor, ((width - 1) / 2,
 * (height - 1) / 2), which keeps its size; events go to the nearest pixel, and those that leave it are dropped.
 */
export const rotate = defineFilter({
  name: 'rotate',
  summary: 'turn clockwise',
  arguments: [{ name: 'degrees', minimum: -360, maximum: 360, what: 'angle, clockwise, degrees' }],
  create: ({ degrees }) => {
    const quarters = degrees / 90;
    if (Number.isInteger(quarters)) {
      const turn = ((quarters % 4) + 4) % 4;
      return pixelMapRule({
        sensorAfter: turn % 2 === 0 ? sameSensor : turnedSensor,
        target: (x, y, { width, height }) => {
          if (turn === 0) return [x, y];
          if (turn === 1) return [height - 1 - y, x];
          return turn === 2 ? [width - 1 - x, height - 1 - y] : [y, width - 1 - x];
        },
      });
    }
    const cosine = Math.cos((degrees * Math.PI) / 180);
    const sine = Math.sin((degrees * Math.PI) / 180);
    return pixelMapRule({
      sensorAfter: sameSensor,
      target: (x, y, { width, height }) => {
        const [middleX, middleY] = [(width - 1) / 2, (height - 1) / 2];
        const [right, down] = [x - middleX, y - middleY];
        return [middleX + cosine * right - sine * down, middleY + sine * right + cosine * down];
      },
    });
  },
});

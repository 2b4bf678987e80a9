import { defineFilter } from './filter.js';
import { pixelMapRule, sameSensor } from './pixelMap.js';

const coefficient = { minimum: -1e3, maximum: 1e3, default: 0 };
const focal = { minimum: 1e-3, maximum: 1e6 };
const centre = { minimum: -1e6, maximum: 1e6 };

/** Steps of the iteration at most, and the error, in focal lengths, at which it ends or must have come to. */
const maxSteps = 100;
const tolerance = 1e-9;
const acceptable = 1e-4;

/**
 * Takes the lens's distortion out: camera matrix (fx, fy, cx, cy, pixels) and coefficients of the
 * Brown-Conrady model as OpenCV names them (Brown, Decentering distortion of lenses, 1966). With
 * r² = x² + y² in focal lengths from the centre, a ray (x, y) is seen at
 *
 *     x (1 + k1 r² + k2 r⁴ + k3 r⁶) + 2 p1 x y + p2 (r² + 2 x²)
 *     y (1 + k1 r² + k2 r⁴ + k3 r⁶) + p1 (r² + 2 y²) + 2 p2 x y
 *
 * Each pixel's ray is found by fixed-point iteration, once for each sensor, and goes to the nearest pixel
 * (halves upwards) of an ideal camera with the same matrix and sensor. Events whose place is outside of it
 * are dropped, and those whose ray the iteration does not find: beyond the radius at which a barrel folds
 * back, or, with a pincushion, where k1 r² comes near to 1.
 */
export const undistort = defineFilter({
  name: 'undistort',
  summary: 'take the distortion of the lens out',
  arguments: [
    { name: 'fx', ...focal, what: 'focal length, columns' },
    { name: 'fy', ...focal, what: 'focal length, rows' },
    { name: 'cx', ...centre, what: 'optical centre, column' },
    { name: 'cy', ...centre, what: 'optical centre, row' },
    { name: 'k1', ...coefficient, what: 'radial, r²' },
    { name: 'k2', ...coefficient, what: 'radial, r⁴' },
    { name: 'p1', ...coefficient, what: 'tangential' },
    { name: 'p2', ...coefficient, what: 'tangential' },
    { name: 'k3', ...coefficient, what: 'radial, r⁶' },
  ],
  create: ({ fx, fy, cx, cy, k1, k2, p1, p2, k3 }) =>
    pixelMapRule({
      sensorAfter: sameSensor,
      target: (column, row) => {
        const seenX = (column - cx) / fx;
        const seenY = (row - cy) / fy;
        let x = seenX;
        let y = seenY;
        let error = Infinity;
        for (let step = 0; step < maxSteps && error > tolerance; step++) {
          const r2 = x * x + y * y;
          const radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3));
          const shiftX = 2 * p1 * x * y + p2 * (r2 + 2 * x * x);
          const shiftY = p1 * (r2 + 2 * y * y) + 2 * p2 * x * y;
          error = Math.hypot(x * radial + shiftX - seenX, y * radial + shiftY - seenY);
          x = (seenX - shiftX) / radial;
          y = (seenY - shiftY) / radial;
        }
        return error <= acceptable ? [fx * x + cx, fy * y + cy] : [NaN, NaN];
      },
    }),
});

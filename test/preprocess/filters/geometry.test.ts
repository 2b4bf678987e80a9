import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { SensorSize } from '../../../ingest/eventBatch.js';
import { parseFilter } from '../../../preprocess/filters/index.js';
import type { EventRow } from '../../ingest/streams.js';
import { eventRows } from '../eventRows.js';
import { passing, sensor } from './references.js';

type Place = readonly [x: number, y: number];

/** Every pixel of a sensor once. */
const everywhere = ({ width, height }: SensorSize): EventRow[] =>
  Array.from({ length: width * height }, (_, i) => [i, i % width, Math.floor(i / width), i % 2]);

function expectPlaces(call: string, place: (x: number, y: number) => Place): void {
  const expected = everywhere(sensor).map(([t, x, y, p]) => [t, ...place(x, y), p]);
  expect(passing(call, everywhere(sensor))).toEqual(expected);
}

describe('flips, turns and transposition', () => {
  const [right, bottom] = [sensor.width - 1, sensor.height - 1];

  it.each<[string, (x: number, y: number) => Place]>([
    ['flipX', (x, y) => [right - x, y]],
    ['flipY', (x, y) => [x, bottom - y]],
    ['transpose', (x, y) => [y, x]],
    ['rotate:0', (x, y) => [x, y]],
    ['rotate:90', (x, y) => [bottom - y, x]],
    ['rotate:-270', (x, y) => [bottom - y, x]],
    ['rotate:180', (x, y) => [right - x, bottom - y]],
    ['rotate:-90', (x, y) => [y, right - x]],
    ['downsample:2', (x, y) => [Math.floor(x / 2), Math.floor(y / 2)]],
  ])('%s moves every event', (call, place) => {
    expectPlaces(call, place);
  });

  it.each([
    ['transpose', 4, 5],
    ['rotate:90', 4, 5],
    ['rotate:180', 5, 4],
    ['rotate:45', 5, 4],
    ['downsample:2', 3, 2],
    ['downsampleCount:3', 2, 2],
    ['undistort:4,4,2,2', 5, 4],
    ['flipX', 5, 4],
    ['refractory:5', 5, 4],
  ])('%s gives a sensor of %i x %i', (call, width, height) => {
    expect(parseFilter(call).sensorAfter(sensor)).toEqual({ width, height });
  });

  it('turn to the nearest pixel about the middle and drop what leaves the sensor', () => {
    const size = { width: 21, height: 11 };
    const degrees = 30;
    const radians = (degrees * Math.PI) / 180;
    const expected = everywhere(size).flatMap(([t, x, y, p]): EventRow[] => {
      const length = Math.hypot(x - 10, y - 5);
      // Clockwise on the screen, where y points down, is towards greater angles.
      const angle = Math.atan2(y - 5, x - 10) + radians;
      const newX = Math.round(10 + length * Math.cos(angle));
      const newY = Math.round(5 + length * Math.sin(angle));
      const inside = newX >= 0 && newX < size.width && newY >= 0 && newY < size.height;
      return inside ? [[t, newX + 0, newY + 0, p]] : [];
    });
    expect(passing(`rotate:${degrees}`, everywhere(size), size)).toEqual(expected);
    expect(expected.length).toBeLessThan(231);
  });
});

describe('undistort', () => {
  const size = { width: 64, height: 48 };
  const [fx, fy, cx, cy, k1, k2, p1, p2, k3] = [
    50, 52, 31, 24.5, -0.28, 0.08, 0.002, -0.001, -0.01,
  ];

  /** Where the lens shows what an ideal camera shows at a place. */
  function distorted(column: number, row: number): Place {
    const [x, y] = [(column - cx) / fx, (row - cy) / fy];
    const r2 = x ** 2 + y ** 2;
    const radial = 1 + k1 * r2 + k2 * r2 ** 2 + k3 * r2 ** 3;
    return [
      fx * (x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x ** 2)) + cx,
      fy * (y * radial + p1 * (r2 + 2 * y ** 2) + 2 * p2 * x * y) + cy,
    ];
  }

  it('finds the pixel that the lens shows there', () => {
    const call = `undistort:${[fx, fy, cx, cy, k1, k2, p1, p2, k3].join(',')}`;
    const rows = everywhere(size);
    const passed = passing(call, rows, size);
    expect(passed.length).toBeGreaterThan(rows.length / 2);
    expect(passed.length).toBeLessThan(rows.length);
    for (const [t, x, y] of passed) {
      // Half a pixel of rounding, which the lens only makes smaller here.
      const [column, row] = distorted(x, y);
      expect(Math.abs(column - rows[t][1])).toBeLessThanOrEqual(0.55);
      expect(Math.abs(row - rows[t][2])).toBeLessThanOrEqual(0.55);
    }
  });

  it('leaves everything where it is without distortion', () => {
    const rows = everywhere(size);
    expect(passing(`undistort:${fx},${fy},${cx},${cy}`, rows, size)).toEqual(rows);
  });

  it('drops events whose ray cannot be found', () => {
    // So strong a barrel shows nothing beyond r = 0.33: outer pixels have no ray.
    const rows = everywhere(size);
    const passed = passing('undistort:20,20,31.5,23.5,-3', rows, size);
    expect(passed.length).toBeGreaterThan(0);
    expect(passed.length).toBeLessThan(rows.length / 4);
  });
});

describe('downsampleCount', () => {
  it.each([
    [1, 1],
    [2, 2],
    [2, 0],
    [3, 4],
  ])('of %i, threshold %i gives what the reference gives', (factor, threshold) => {
    const limit = threshold === 0 ? factor * factor : threshold;
    fc.assert(
      fc.property(eventRows(sensor), (rows) => {
        const sums = new Map<string, number>();
        const expected: EventRow[] = [];
        for (const [t, x, y, polarity] of rows) {
          const [newX, newY] = [Math.floor(x / factor), Math.floor(y / factor)];
          const sum = (sums.get(`${newX} ${newY}`) ?? 0) + (polarity === 1 ? 1 : -1);
          const fires = Math.abs(sum) >= limit;
          sums.set(`${newX} ${newY}`, fires ? 0 : sum);
          if (fires) expected.push([t, newX, newY, sum > 0 ? 1 : 0]);
        }
        expect(passing(`downsampleCount:${factor},${threshold}`, rows)).toEqual(expected);
      }),
    );
  });
});

import type { SensorSize } from '../../ingest/eventBatch.js';

/**
 * The time of the last event of each pixel, µs, row by row; -Infinity before the first, so that no event
 * seems to have come at time 0. A border of `border` pixels that never have events surrounds the sensor:
 * neighbours can be read without asking whether they are there.
 *
 * @param planes so many of them, one behind the other, for instance one for each polarity.
 */
export function startTimes(
  { width, height }: SensorSize,
  border: number,
  planes = 1,
): Float64Array {
  return new Float64Array((width + 2 * border) * (height + 2 * border) * planes).fill(-Infinity);
}

/** The pixels in the square around each event, in times with a border of its radius (`startTimes`) for each polarity. */
export interface Surroundings {
  /** Places between one row and the next. */
  readonly stride: number;
  /** Places between the times of OFF and those of ON events. */
  readonly plane: number;
  /** Pixels along a side of the square. */
  readonly side: number;
}

export function surroundings({ width, height }: SensorSize, radius: number): Surroundings {
  const stride = width + 2 * radius;
  return { stride, plane: stride * (height + 2 * radius), side: 2 * radius + 1 };
}

/** The argument of filters that look at a square around each event. */
export function radiusArgument(radius: number) {
  return {
    name: 'radius',
    minimum: 1,
    maximum: 15,
    integer: true,
    default: radius,
    what: 'how far around, pixels',
  } as const;
}

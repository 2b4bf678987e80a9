import type { SensorSize } from '../../ingest/eventBatch.js';
import { onceForSensor, type PlaceRule } from './filter.js';

/** Where each pixel of a sensor goes. */
export interface PixelMap {
  /** The sensor that pixels go to. */
  sensorAfter(sensor: SensorSize): SensorSize;
  /** The place of a pixel there, which is rounded to the nearest pixel, halves upwards. */
  target(x: number, y: number, sensor: SensorSize): readonly [x: number, y: number];
}

/** Entry of pixels whose place is outside of the sensor they go to. */
const outside = -1;

/**
 * The rule that moves events by a map of pixels, looked up in a table. Events whose new place is outside
 * of the new sensor, or not a number, are dropped. No state.
 */
export function pixelMapRule({ sensorAfter, target }: PixelMap): PlaceRule<undefined> {
  const targets = onceForSensor((sensor) => {
    const after = sensorAfter(sensor);
    const table = new Float64Array(sensor.width * sensor.height).fill(outside);
    for (let y = 0, pixel = 0; y < sensor.height; y++) {
      for (let x = 0; x < sensor.width; x++, pixel++) {
        const [newX, newY] = target(x, y, sensor).map((value) => Math.floor(value + 0.5));
        const inside = newX >= 0 && newX < after.width && newY >= 0 && newY < after.height;
        if (inside) table[pixel] = newY * 65_536 + newX;
      }
    }
    return table;
  });
  return {
    sensorAfter,
    start: () => undefined,
    place({ length, sensor, x, y }, _state, keep, newX, newY) {
      const table = targets(sensor);
      const { width } = sensor;
      for (let i = 0; i < length; i++) {
        const place = table[y[i] * width + x[i]];
        if (place === outside) continue;
        newX[i] = place;
        newY[i] = place / 65_536;
        keep[i] = 1;
      }
    },
  };
}

/** The sensor as it is. */
export function sameSensor(sensor: SensorSize): SensorSize {
  return sensor;
}

/** The sensor with its sides exchanged. */
export function turnedSensor({ width, height }: SensorSize): SensorSize {
  return { width: height, height: width };
}

import type { EventBatch } from '../../ingest/eventBatch.js';
import type { BinImage } from './messages.js';

/** Pixels of a side, at most. */
const mostPixels = 128;

/** ON and OFF events per pixel, clipped at 255, with squares of the sensor's pixels joined where it is larger. */
export function drawBin({ sensor, length, x, y, polarity }: EventBatch): BinImage {
  const factor = Math.ceil(Math.max(sensor.width, sensor.height) / mostPixels);
  const width = Math.ceil(sensor.width / factor);
  const height = Math.ceil(sensor.height / factor);
  const [off, on] = [new Uint8ClampedArray(width * height), new Uint8ClampedArray(width * height)];
  for (let i = 0; i < length; i++) {
    const pixel = Math.floor(y[i] / factor) * width + Math.floor(x[i] / factor);
    (polarity[i] === 1 ? on : off)[pixel]++;
  }
  const text = (counts: Uint8ClampedArray): string => Buffer.from(counts.buffer).toString('base64');
  return { width, height, on: text(on), off: text(off) };
}

import { SaccadeError } from '../engine/support/errors.js';
import type { EventBatch } from '../ingest/eventBatch.js';

/**
 * Decoders give events of the sensor only; what a caller made himself is checked here, before a pixel is
 * taken for another one.
 *
 * @throws SaccadeError of kind `input` that names the first event that is not on its sensor, has no finite
 *   time, or a polarity other than 0 and 1.
 */
export function checkEvents({ length, sensor, tUs, x, y, polarity }: EventBatch): void {
  const { width, height } = sensor;
  for (let i = 0; i < length; i++) {
    const sound = x[i] < width && y[i] < height && polarity[i] <= 1 && tUs[i] - tUs[i] === 0;
    if (sound) continue;
    throw new SaccadeError(
      'input',
      `event ${i} of the batch is t ${tUs[i]} µs, x ${x[i]}, y ${y[i]}, polarity ${polarity[i]}; expected ` +
        `a finite time, x below ${width}, y below ${height}, and polarity 0 or 1`,
    );
  }
}

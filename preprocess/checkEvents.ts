import { SaccadeError } from '../engine/support/errors.js';
import type { EventBatch } from '../ingest/eventBatch.js';

/**
 * Decoders give events of the sensor only; what a caller made himself is checked here, before a pixel is
 * taken for another one.
 *
 * @throws SaccadeError of kind `input` that names the first event that is not on its sensor, has no finite
 *   time, or a polarity other than 0 and 1.
 */
export function checkEvents(batch: EventBatch): void {
  const { length, sensor, tUs, x, y, polarity } = batch;
  const [lastX, lastY] = [sensor.width - 1, sensor.height - 1];
  // Below zero where one is too large; not a number where a time is not finite.
  let room = 0;
  let times = 0;
  for (let i = 0; i < length; i++) {
    room |= (lastX - x[i]) | (lastY - y[i]) | (1 - polarity[i]);
    times += tUs[i] - tUs[i];
  }
  if (room < 0 || times !== 0) throw unsound(batch);
}

function unsound({ sensor: { width, height }, length, tUs, x, y, polarity }: EventBatch): Error {
  let i = 0;
  const sound = (): boolean =>
    x[i] < width && y[i] < height && polarity[i] <= 1 && Number.isFinite(tUs[i]);
  while (i < length - 1 && sound()) i++;
  return new SaccadeError(
    'input',
    `event ${i} of the batch is t ${tUs[i]} µs, x ${x[i]}, y ${y[i]}, polarity ${polarity[i]}; expected ` +
      `a finite time, x below ${width}, y below ${height}, and polarity 0 or 1`,
  );
}

import { eventLoops } from '../engine/native/eventLoops.js';
import { plainLoops } from '../engine/ops/eventLoops.js';
import { SaccadeError } from '../engine/support/errors.js';
import { type EventBatch, sliceBatch } from '../ingest/eventBatch.js';

/**
 * Decoders give events of the sensor only; what a caller made himself is checked here, before a pixel is
 * taken for another one.
 *
 * @throws SaccadeError of kind `input` that names the first event that is not on its sensor, has no finite
 *   time, or a polarity other than 0 and 1.
 */
export function checkEvents(batch: EventBatch): void {
  const { sensor, tUs, x, y, polarity } = batch;
  const { width, height } = sensor;
  if (eventLoops().sound(batch, width, height)) return;
  let i = 0;
  while (plainLoops.sound(sliceBatch(batch, i, i + 1), width, height)) i++;
  throw new SaccadeError(
    'input',
    `event ${i} of the batch is t ${tUs[i]} µs, x ${x[i]}, y ${y[i]}, polarity ${polarity[i]}; expected ` +
      `a finite time, x below ${width}, y below ${height}, and polarity 0 or 1`,
  );
}

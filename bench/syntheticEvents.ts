import { createRandom } from '../engine/support/random.js';
import {
  createBatch,
  defaultBatchLength as batchLength,
  type EventBatch,
  type SensorSize,
} from '../ingest/eventBatch.js';

/** Short runs of pixels along rows that fire together, as moving edges give them; about 5 events per µs. */
export function syntheticBatches(sensor: SensorSize, events: number): EventBatch[] {
  const random = createRandom(1, 'bench');
  const batches: EventBatch[] = [];
  let timeUs = 0;
  let run = 0;
  let column = 0;
  let row = 0;
  let on = 0;
  for (let done = 0; done < events; done += batchLength) {
    const length = Math.min(batchLength, events - done);
    const tUs = new Float64Array(length);
    const x = new Uint16Array(length);
    const y = new Uint16Array(length);
    const polarity = new Uint8Array(length);
    for (let i = 0; i < length; i++) {
      if (run === 0) {
        run = 1 + random.integer(4);
        column = random.integer(sensor.width - 8);
        row = random.integer(sensor.height);
        on = random.integer(2);
        if (random.integer(2) === 0) timeUs++;
      }
      tUs[i] = timeUs;
      x[i] = column++;
      y[i] = row;
      polarity[i] = on;
      run--;
    }
    batches.push(createBatch(sensor, tUs, x, y, polarity));
  }
  return batches;
}

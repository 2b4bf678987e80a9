import { createRandom } from '../../engine/support/random.js';
import type { ClipBatch } from '../../preprocess/loader.js';
import type { TrainingData } from '../../models/training/loop.js';

/** Clips of a dot that moves right (class 0) or left (class 1): only the order of frames tells which. */
export const movingDotsInput = { bins: 4, channels: 2, height: 8, width: 8 };

export function movingDots(count: number, seed: number): ClipBatch {
  const { bins, channels, height, width } = movingDotsInput;
  const inputs = new Float32Array(count * bins * channels * height * width);
  const labels = new Int32Array(count);
  for (let i = 0; i < count; i++) {
    const random = createRandom(seed, 'dots', i);
    labels[i] = i % 2;
    const row = random.integer(height);
    const offset = random.integer(width);
    for (let t = 0; t < bins; t++) {
      const moved = labels[i] === 0 ? t * 2 : (bins - 1 - t) * 2;
      const column = (offset + moved) % width;
      for (let c = 0; c < channels; c++) {
        inputs[(((i * bins + t) * channels + c) * height + row) * width + column] = 1;
      }
    }
  }
  return { inputs, labels, shape: [count, bins, channels, height, width] };
}

/** Batches that depend on (epoch, batch) alone. */
export function movingDotsData(batchesPerEpoch: number, batchSize = 8): TrainingData {
  return {
    batchesPerEpoch,
    *train(epoch, start) {
      for (let b = start; b < batchesPerEpoch; b++) {
        yield movingDots(batchSize, epoch * batchesPerEpoch + b);
      }
    },
    *validation() {
      yield movingDots(32, 12345);
    },
  };
}

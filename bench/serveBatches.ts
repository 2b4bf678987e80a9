import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { selectBackend } from '../engine/backend.js';
import batchTasks from '../workers/service/batchTasks.js';
import { writeFirstWeights } from './firstWeights.js';
import { durationsMs, median } from './timing.js';

// One batch of a service's model, states in and out included: `npm run bench:batches`.

const cases = [
  ['configs/demo.yaml', 'nano'],
  ['configs/demo.yaml', 'small'],
  ['configs/gestures.yaml', 'small'],
] as const;

await selectBackend();
const folder = await mkdtemp(join(tmpdir(), 'saccade-'));
for (const [config, preset] of cases) {
  const path = join(folder, 'first.safetensors');
  const { preprocess } = await writeFirstWeights(path, config, preset);
  const tasks = await batchTasks({ path });
  const { bins, height, width, window } = preprocess;
  const binMs = window.kind === 'time' ? window.windowUs / bins / 1e3 : NaN;
  console.log(`${config} with ${preset}, ${height} x ${width}, bins of ${binMs.toFixed(1)} ms`);
  for (const count of [1, 8, 32, 64]) {
    const streams = Array.from({ length: count }, (_, i) => i);
    const values = Float32Array.from({ length: count * 2 * height * width }, (_, i) =>
      Number((i * 7919) % 5 === 0),
    );
    const none = streams.map(() => false);
    const work = () => void tasks.step({ streams, fresh: none, watched: none, values });
    console.log(`  ${count} streams: ${median(durationsMs(work, 15, 2)).toFixed(1)} ms`);
  }
}
await rm(folder, { recursive: true });

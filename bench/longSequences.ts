import * as tf from '@tensorflow/tfjs-core';

import { selectBackend } from '../engine/backend.js';
import { countOperations } from '../models/analysis/operationCount.js';
import { inference } from '../models/context.js';
import { createMixer, mixerSchema } from '../models/mixers/registry.js';
import { disposeTree, Initialiser } from '../models/parameters.js';
import { durationsMs, median } from './timing.js';

// Mixers that choose what they look at, on long sequences: `npm run bench:sequences -- [TOKENS …]`. Each with the
// projections of full softmax attention beside it: time, operations counted, and how far its output is from that of
// full attention. Frames of 8 × 8 tokens, 64 values, two heads, clips as a whole (`causal: false`).

const [rows, columns, width, heads] = [8, 8, 64, 2];

const chosen = [
  { name: 'softmaxAttention', causal: false },
  { name: 'routingAttention', causal: false, clusters: 32, members: 256 },
  { name: 'seerAttention', causal: false },
  { name: 'hipAttention', causal: false },
  { name: 'hyperAttention', causal: false },
];

const lengths = process.argv.slice(2).map(Number);
console.log(`backend ${(await selectBackend(undefined)).name}`);
for (const tokens of lengths.length > 0 ? lengths : [4096, 8192]) {
  let full: Float32Array | undefined;
  for (const settings of chosen) {
    const mixer = createMixer(mixerSchema.parse(settings), { width, heads, rows, columns });
    const parameters = mixer.initialise(new Initialiser(1));
    const x = tf.randomNormal([1, tokens, width], 0, 1, 'float32', 7);
    const run = (): Float32Array =>
      tf.tidy(() => mixer.apply(parameters, x, undefined, inference).output.dataSync<'float32'>());
    const output = run();
    full ??= output;
    const [difference, norm] = output.reduce(
      ([d, n], value, i) => [d + (value - full![i]) ** 2, n + full![i] ** 2],
      [0, 0],
    );
    const { count } = countOperations(run);
    const row = {
      tokens,
      mixer: settings.name,
      ms: Math.round(median(durationsMs(run, 3, 0))),
      millionMacs: Math.round(count.macs / 1e6),
      differs: Number(Math.sqrt(difference / norm).toFixed(3)),
    };
    console.log(JSON.stringify(row));
    disposeTree(parameters);
    x.dispose();
  }
}

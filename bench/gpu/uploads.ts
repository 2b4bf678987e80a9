/** Batches from the host: whether what arrives is what was sent, and how long steps take that need one. */
import * as tf from '@tensorflow/tfjs-core';

import type { CudaBackend } from '../../engine/cuda/backend.js';
import { sendAhead } from '../../engine/graphs.js';
import { flatten, Initialiser } from '../../models/parameters.js';
import { smoothTargets } from '../../models/training/loss.js';
import { createTrainingStep, disposeTraining, startTraining } from '../../models/training/step.js';
import { modelFor, stepSettings } from './steps.js';

/** Arrays of many sizes, one right after the other; sums of them that differ from those of the host. */
function arrivals(): { sent: number; wrong: string[] } {
  const lengths = [1, 16_000, 17_000, 1_000_003, 16_777_216, 40, 3_000_000, 2_999_999];
  const values = Array.from({ length: 24 }, (_, i) =>
    new Float32Array(lengths[i % lengths.length]).fill(i + 1),
  );
  const extremes = values.map((array) => {
    const x = tf.tensor1d(array);
    const found = tf.tidy(() => tf.stack([tf.min(x), tf.max(x)]));
    // Sent already: it may change.
    array.fill(-1);
    x.dispose();
    return found;
  });
  const wrong = extremes.flatMap((found, i) => {
    const [least, most] = found.dataSync();
    return least === i + 1 && most === i + 1 ? [] : [`${i}: ${least} … ${most}`];
  });
  tf.dispose(extremes);
  return { sent: values.length, wrong };
}

/** Milliseconds of a recorded step: batches on the device, from the host, and from the host while the step before runs. */
function steps(preset: string) {
  const extents = { bins: 16, size: 128 };
  const clips = 32;
  const model = modelFor({ kind: 'spikmamba', preset }, extents);
  const shape = [clips, extents.bins, 2, extents.size, extents.size];
  const batches = [0, 1].map(
    (first) =>
    Float32Array.from({ length: tf.util.sizeFromShape(shape) }, (_, i) => (i % 11 === first ? 1 : 0)), // prettier-ignore
  );
  const labels = Array.from({ length: clips }, (_, i) => i % 11);
  const targets = tf.tensor(smoothTargets(labels, 11, 0.1), [clips, 11]);
  const config = { ...stepSettings, perStepLoss: 0 };
  const batch = (i: number): tf.Tensor => tf.tensor(batches[i % 2], shape);
  /** Median of twenty steps, and the losses of all. */
  const time = (isAhead: boolean, fixed?: tf.Tensor) => {
    let state = startTraining(flatten(model.initialise(new Initialiser(1))));
    const stepper = createTrainingStep(model);
    const losses: number[] = [];
    const times: number[] = [];
    let next = fixed ?? batch(0);
    for (let i = 0; i < 25; i++) {
      const start = performance.now();
      const x = next;
      const result = stepper.step(state, x, targets, config, () => {
        if (!isAhead) return;
        next = batch(i + 1);
        sendAhead(next);
      });
      if (!isAhead && fixed === undefined) next = batch(i + 1);
      times.push(performance.now() - start);
      losses.push(result.loss);
      ({ state } = result);
      if (fixed === undefined) x.dispose();
    }
    if (fixed === undefined) next.dispose();
    stepper.dispose();
    disposeTraining(state);
    const milliseconds = times.slice(5).sort((a, b) => a - b)[10];
    return { milliseconds, losses };
  };
  const fixed = batch(0);
  const [device, host, ahead] = [time(false, fixed), time(false), time(true)];
  tf.dispose([fixed, targets]);
  return {
    preset,
    onDevice: device.milliseconds,
    fromHost: host.milliseconds,
    sentAhead: ahead.milliseconds,
    sameLosses: host.losses.join() === ahead.losses.join(),
  };
}

export function uploads(backend: CudaBackend): Record<string, unknown> {
  const found = { arrivals: arrivals(), steps: ['small', 'base'].map(steps) };
  return { ...found, fallbacks: Object.fromEntries(backend.fallbacks) };
}

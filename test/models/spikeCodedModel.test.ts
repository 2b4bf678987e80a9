import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { selectBackend } from '../../engine/backend.js';
import { inference } from '../../models/context.js';
import type { ClipState } from '../../models/model.js';
import { disposeTree } from '../../models/parameters.js';
import { spikeCodes } from '../../models/neurons/spikeCoding.js';
import { spikeCodedModel } from '../../models/runtime/spikeCodedModel.js';
import { bestBackend } from '../engine/backends.js';
import { relativeDifference } from './mixerConformance.js';
import { createSubject, inputShape, randomClips, spikMamba } from './networkConformance.js';

beforeAll(async () => {
  await selectBackend(bestBackend);
});
afterAll(() => {
  expect(tf.memory().numTensors).toBe(0);
});

describe('spikeCodedModel', () => {
  const subject = (config: object, run: (made: ReturnType<typeof createSubject>) => void): void => {
    const made = createSubject(config, 1);
    tf.tidy(() => run(made));
    disposeTree(made.parameters);
  };
  // Fewer neurons, which can turn the smallest difference into a spike.
  const gated = { ...spikMamba, feedForwardKind: 'gated', mixer: { name: 'gatedDeltaNet' } };

  it('gives nearer logits the finer the counts, the same for every code', () => {
    subject(gated, ({ model, parameters }) => {
      const x = randomClips(2, inputShape.bins, 1);
      const expected = model.apply(parameters, x, undefined, inference).logits;
      const coded = (code: (typeof spikeCodes)[number], resolution: number): tf.Tensor => {
        const spiking = spikeCodedModel(model, { code, resolution });
        return spiking.apply(parameters, x, undefined, inference).logits;
      };
      const fine = relativeDifference(coded('bitwise', 100_000), expected);
      const rough = relativeDifference(coded('bitwise', 1), expected);
      expect(fine).toBeLessThan(1e-3);
      expect(rough).toBeGreaterThan(fine);
      const three = coded('bitwise', 3);
      for (const code of spikeCodes) {
        expect(relativeDifference(coded(code, 3), three), code).toBeLessThan(1e-4);
      }
    });
  });

  it('streams like the model: whole clip = frame by frame', () => {
    subject(spikMamba, ({ model, parameters }) => {
      const paths = new Set<string>();
      const spiking = spikeCodedModel(model, { code: 'ternary', resolution: 3 }, (path) =>
        paths.add(path),
      );
      const x = randomClips(2, inputShape.bins, 2);
      const whole = spiking.apply(parameters, x, undefined, inference).logits;
      let state: ClipState | undefined;
      const frames = Array.from({ length: inputShape.bins }, (_, t) => {
        const frame = tf.slice(x, [0, t], [-1, 1]);
        const result = spiking.apply(parameters, frame, state, inference);
        state = result.state;
        return result.logits;
      });
      expect(relativeDifference(tf.concat(frames, 1), whole)).toBeLessThan(1e-5);
      expect(paths).toContain('embedding.projection');
    });
  });
});

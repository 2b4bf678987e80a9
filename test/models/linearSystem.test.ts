import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';

import { selectBackend } from '../../engine/backend.js';
import { bySystems, exportSystems, runSystem } from '../../models/analysis/linearSystem.js';
import type { LinearMixer } from '../../models/mixers/linear/cell.js';
import { linearPresets } from '../../models/mixers/linear/presets.js';
import { bestBackend } from '../engine/backends.js';
import { createMixerSubject, randomTokens, relativeDifference, run } from './mixerConformance.js';

const withoutSystem = ['rat', 'localLinearAttention', 'moneta', 'yaad', 'memora'];

/** Linear in their values, by the systems that they give. */
const linear = [...linearPresets.map(({ name }) => name), 'selectiveStateSpace'].filter(
  // Both ways; and those whose weights are a softmax or a solution of the keys so far, or no weights of values.
  (name) => ![...withoutSystem, 'nalaFormer'].includes(name),
);

describe('mixers as linear systems', () => {
  beforeAll(async () => {
    await selectBackend(bestBackend);
  });

  it.each(linear)('%s: Λ, B, C and D reproduce its output', (name) => {
    tf.tidy(() => {
      const subject = createMixerSubject({ name });
      const x = randomTokens(2, 19, subject.mixer.shape, 3);
      const exported = bySystems(subject.mixer as LinearMixer, subject.parameters, x)!;
      expect(exported.systems.length).toBeGreaterThan(0);
      for (const form of subject.mixer.forms) {
        expect(relativeDifference(exported.output, run(subject, x, { form }).output)).toBeLessThan(
          1e-5,
        );
      }
    });
  });

  it.each([0, 1, 2])(
    'spikMambaAttention, the whole mixer, in windows of %i frames',
    (windowFrames) => {
      for (const space of [{}, { windowRows: 2, windowColumns: 1 }]) {
        tf.tidy(() => {
          const config = { name: 'spikMambaAttention', windowFrames, ...space };
          // Smooth, so that neurons after the attention hide no difference.
          const subject = createMixerSubject({ ...config, smooth: true }, { rows: 2, columns: 3 });
          const x = randomTokens(2, 7, subject.mixer.shape, 3);
          const exported = bySystems(subject.mixer as LinearMixer, subject.parameters, x)!;
          expect(exported.systems.length).toBeGreaterThan(0);
          for (const form of subject.mixer.forms) {
            const { output } = run(subject, x, { form });
            expect(relativeDifference(exported.output, output)).toBeLessThan(1e-5);
          }
        });
      }
    },
  );

  it('spikeGpt without neurons that could hide a difference', () => {
    tf.tidy(() => {
      const subject = createMixerSubject({ name: 'spikeGpt', outputSpikes: 'none' });
      const x = randomTokens(2, 19, subject.mixer.shape, 3);
      const exported = bySystems(subject.mixer as LinearMixer, subject.parameters, x)!;
      expect(relativeDifference(exported.output, run(subject, x).output)).toBeLessThan(1e-5);
    });
  });

  it('has none where weights are no system of the values', () => {
    for (const name of withoutSystem) {
      const subject = createMixerSubject({ name });
      tf.tidy(() => {
        const x = randomTokens(1, 3, subject.mixer.shape, 1);
        expect(bySystems(subject.mixer as LinearMixer, subject.parameters, x)).toBeUndefined();
      });
    }
  });

  it('exports numbers that run as the tensors do', () => {
    tf.tidy(() => {
      const subject = createMixerSubject({ name: 'gatedDeltaNet' });
      const x = randomTokens(1, 5, subject.mixer.shape, 3);
      const { systems } = bySystems(subject.mixer as LinearMixer, subject.parameters, x)!;
      const [exported] = JSON.parse(JSON.stringify(exportSystems(systems))) as {
        transition: number[][][][][];
        input: number[][][][];
        output: number[][][][];
        values: number[][][][];
        skip: null;
      }[];
      expect(exported.skip).toBeNull();
      const [, states] = [1, 4];
      let h = Array.from({ length: states }, () => new Array<number>(4).fill(0));
      const rows = exported.values[0][0].map((u, t) => {
        const L = exported.transition[0][0][t];
        h = h.map((_, i) =>
          u.map(
            (value, j) =>
              h.reduce((sum, row, m) => sum + L[i][m] * row[j], 0) +
              exported.input[0][0][t][i] * value,
          ),
        );
        return u.map((_, j) =>
          h.reduce((sum, row, i) => sum + exported.output[0][0][t][i] * row[j], 0),
        );
      });
      const actual = tf.slice(runSystem(systems[0]), [0, 0], [1, 1]);
      expect(relativeDifference(actual, tf.tensor4d([[rows]]))).toBeLessThan(1e-5);
    });
  });
});

import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';

import { selectBackend } from '../../engine/backend.js';
import { SaccadeError } from '../../engine/support/errors.js';
import { countOperations } from '../../models/analysis/operationCount.js';
import { decays } from '../../models/mixers/linear/decays/index.js';
import { featureMaps } from '../../models/mixers/linear/featureMaps/index.js';
import { locals } from '../../models/mixers/linear/locals/index.js';
import { memories } from '../../models/mixers/linear/memories/index.js';
import { retentions } from '../../models/mixers/linear/memories/miras.js';
import { normalisers } from '../../models/mixers/linear/normalisers/index.js';
import { positions } from '../../models/mixers/linear/positions/index.js';
import { outputGateNames } from '../../models/mixers/outputGates.js';
import { createMixer } from '../../models/mixers/registry.js';
import { countParameters, flatten, type ParameterTree } from '../../models/parameters.js';
import { bestBackend } from '../engine/backends.js';
import {
  createMixerSubject,
  defaultShape,
  randomTokens,
  relativeDifference,
  run,
} from './mixerConformance.js';

const oneOf = (table: object): fc.Arbitrary<string> => fc.constantFrom(...Object.keys(table));

/** Any filling of the slots. */
const cells = fc.record({
  name: fc.constant('linearAttention'),
  causal: fc.boolean(),
  featureMap: oneOf(featureMaps),
  decay: oneOf(decays),
  update: oneOf(memories),
  normaliser: oneOf(normalisers),
  local: oneOf(locals),
  position: oneOf(positions),
  outputGate: fc.constantFrom(...outputGateNames),
  outputNorm: fc.constantFrom('none', 'simpleRms', 'rms'),
  outputSpikes: fc.constantFrom('none', 'spikes'),
  keyWidth: fc.constantFrom(0, 2, 4),
  gateRank: fc.constant(2),
  window: fc.constant(3),
  chunkTokens: fc.constantFrom(1, 3),
  // Not `power`, whose errors grow without bound where keys are no unit vectors.
  attentionalBias: fc.constantFrom('squared', 'huber'),
  retention: fc.constantFrom(...retentions),
});

const shapes = fc.constantFrom(defaultShape, { ...defaultShape, rows: 2, columns: 2 });

const accepted = (config: { name: string }, shape: typeof defaultShape): boolean => {
  try {
    createMixer(config, shape);
    return true;
  } catch (error) {
    expect(error).toBeInstanceOf(SaccadeError);
    expect((error as SaccadeError).kind).toBe('config');
    expect((error as SaccadeError).place.field).toMatch(/^model\.mixer\./);
    return false;
  }
};

describe('the linear cell', () => {
  beforeAll(async () => {
    await selectBackend(bestBackend);
  });

  it('computes the same in all forms, at the cost that it said, whatever fills its slots', () => {
    let ran = 0;
    fc.assert(
      fc.property(cells, shapes, fc.integer({ min: 1, max: 99 }), (config, shape, seed) => {
        if (!accepted(config, shape)) return;
        ran++;
        const subject = createMixerSubject(config, shape, seed);
        tf.tidy(() => {
          const x = randomTokens(2, 7, shape, seed);
          const [first, ...others] = subject.mixer.forms.map((form) =>
            run(subject, x, { form, chunk: 3 }),
          );
          // The delta rule with long keys grows without bound, in all forms alike.
          const grown = !(tf.max(tf.abs(first.output)).dataSync()[0] < 1e30);
          for (const { output } of others) {
            if (grown) continue;
            // Neurons at the output fire or don't: a difference by rounding is one spike.
            const differs = tf.greater(tf.abs(tf.sub(output, first.output)), 1e-3);
            const share = tf.mean(tf.cast(differs, 'float32')).dataSync()[0];
            if (config.outputSpikes === 'spikes') expect(share).toBeLessThan(0.02);
            else expect(relativeDifference(output, first.output)).toBeLessThan(1e-3);
          }
          const one = tf.slice(x, [0], [1]);
          for (const form of subject.mixer.forms) {
            const options = { form, chunk: 3 };
            const cost = subject.mixer.cost(one.shape[1]!, options);
            const { result, count } = countOperations(() => run(subject, one, options));
            const state = [...flatten(result.state.layers as ParameterTree).values()];
            expect({ ...cost, form }).toEqual({
              form,
              parameters: countParameters(subject.parameters),
              macs: count.macs,
              synapses: count.synapses,
              stateBytes: state.reduce((sum, { size }) => sum + 4 * size, 0),
              trafficBytes: cost.trafficBytes,
            });
          }
        });
        tf.dispose([...flatten(subject.parameters).values()]);
      }),
      { numRuns: 300 },
    );
    expect(ran).toBeGreaterThan(10);
  });
});

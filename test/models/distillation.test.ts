import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';

import { selectBackend } from '../../engine/backend.js';
import { createRandom } from '../../engine/support/random.js';
import { inference } from '../../models/context.js';
import type { Model } from '../../models/model.js';
import { createModel, modelSchema } from '../../models/networks/index.js';
import { createMixer, type MixerConfig } from '../../models/mixers/registry.js';
import type { TokenMixer } from '../../models/mixers/tokenMixer.js';
import { disposeTree, flatten, Initialiser, unflatten } from '../../models/parameters.js';
import { type DistillationTarget } from '../../models/training/config.js';
import {
  defaultSlots,
  distil,
  distilled,
  distilledLeaves,
  inheritedParameters,
  rowCrossEntropy,
  rowDivergence,
  type MixerWithParameters,
} from '../../models/training/distillation.js';
import {
  disposeTraining,
  gradientStep,
  startTraining,
  type TrainingState,
} from '../../models/training/step.js';
import { initialLeaves } from '../../models/training/initialise.js';
import { linearise } from '../../models/training/linearise.js';
import { bestBackend } from '../engine/backends.js';
import { createMixerSubject, randomTokens, relativeDifference, run } from './mixerConformance.js';
import { movingDotsData, movingDotsInput } from './movingDots.js';

const shape = { width: 16, heads: 2, rows: 1, columns: 1 };
const [batch, length, symbols] = [8, 24, 4];

const step = { learningRate: 0.02, weightDecay: 0, gradientClip: 1, statisticsMomentum: 0.9 };

/** Tokens of a symbol and a payload. What is asked for: the mean payload of the same symbol so far. */
function drawn(seed: number): { x: tf.Tensor; y: tf.Tensor } {
  const random = createRandom(seed, 'distillation');
  const x = new Float32Array(batch * length * shape.width);
  const y = new Float32Array(x.length);
  for (let clip = 0; clip < batch; clip++) {
    const seen = Array.from({ length: symbols }, () => ({ count: 0, sums: new Float64Array(4) }));
    for (let t = 0; t < length; t++) {
      const at = (clip * length + t) * shape.width;
      const symbol = random.integer(symbols);
      for (let i = 0; i < 12; i++)
        x[at + i] = (i % symbols === symbol ? 1 : 0) + 0.2 * random.normal();
      const own = seen[symbol];
      own.count++;
      for (let i = 0; i < 4; i++) {
        x[at + 12 + i] = random.normal();
        own.sums[i] += x[at + 12 + i];
        y[at + i] = own.sums[i] / own.count;
      }
    }
  }
  const size = [batch, length, shape.width];
  return { x: tf.tensor(x, size), y: tf.tensor(y, size) };
}

const tokensAt = (step: number): tf.Tensor => {
  const { x, y } = drawn(step);
  y.dispose();
  return x;
};

/** A mixer trained on that task. */
function trainedTeacher(config: MixerConfig, steps: number): MixerWithParameters {
  const mixer = createMixer(config, shape);
  let state = startTraining(flatten(mixer.initialise(new Initialiser(1))));
  for (let i = 0; i < steps; i++) {
    const { x, y } = drawn(i);
    const result = gradientStep(
      state,
      (parameters, context) =>
        tf.mean(tf.square(tf.sub(mixer.apply(parameters, x, undefined, context).output, y))),
      step,
    );
    state = result.state;
    tf.dispose([x, y]);
  }
  const parameters = unflatten(state.leaves);
  return { mixer, parameters };
}

const studentOf = (config: MixerConfig, teacher: MixerWithParameters): MixerWithParameters => {
  const mixer: TokenMixer = createMixer(config, shape);
  const own = mixer.initialise(new Initialiser(2));
  return { mixer, parameters: inheritedParameters(own, teacher.parameters) };
};

async function taught(
  student: MixerWithParameters,
  teacher: MixerWithParameters,
  steps: number,
  target: DistillationTarget,
  slots: readonly string[] = defaultSlots,
): Promise<MixerWithParameters> {
  const state = await distil({
    teacher,
    student,
    state: startTraining(distilledLeaves(student.parameters, slots)),
    steps,
    tokens: (at) => tokensAt(1000 + at),
    config: { ...step, target },
  });
  return { mixer: student.mixer, parameters: distilled(student.parameters, state) };
}

const divergence = (teacher: MixerWithParameters, student: MixerWithParameters): number =>
  tf.tidy(() => {
    const { x } = drawn(5000);
    const [p, s] = [teacher, student].map(({ mixer, parameters }) =>
      mixer.attentionWeights!(parameters, x),
    );
    return rowDivergence(p, s).dataSync()[0];
  });

const outputError = (teacher: MixerWithParameters, student: MixerWithParameters): number =>
  tf.tidy(() => {
    const { x } = drawn(5000);
    const [p, s] = [teacher, student].map(
      ({ mixer, parameters }) => mixer.apply(parameters, x, undefined, inference).output,
    );
    return tf.mean(tf.squaredDifference(p, s)).dataSync()[0];
  });

describe('distillation', () => {
  let teacher: MixerWithParameters;
  beforeAll(async () => {
    await selectBackend(bestBackend);
    teacher = trainedTeacher({ name: 'softmaxAttention' }, 150);
  });

  it('rows: cross-entropy and divergence of shares, worked by hand', () => {
    tf.tidy(() => {
      const p = tf.tensor4d([[[[0.5, 0.5]]]]);
      const s = tf.tensor4d([[[[0.5, 1.5]]]]);
      const expected = -0.5 * Math.log(0.25) - 0.5 * Math.log(0.75);
      expect(rowCrossEntropy(p, s).dataSync()[0]).toBeCloseTo(expected, 5);
      expect(rowDivergence(p, s).dataSync()[0]).toBeCloseTo(expected - Math.log(2), 5);
      expect(rowDivergence(s, s).dataSync()[0]).toBeCloseTo(0, 6);
    });
  });

  it.each([
    { name: 'softmaxAttention' },
    { name: 'softmaxAttention', context: 3 },
    { name: 'hedgehog' },
    { name: 'hedgehog', local: 'window' },
    { name: 'localLinearAttention' },
    { name: 'gatedLinearAttention', gateRank: 3, outputNorm: 'none', outputGate: 'none' },
    { name: 'inLine', local: 'none' },
    { name: 'flowformer', causal: false },
    { name: 'deltaNet', local: 'none', outputNorm: 'none' },
    { name: 'retention', outputNorm: 'none', outputGate: 'none' },
  ] as MixerConfig[])('attention weights times values are the output: $name', (config) => {
    tf.tidy(() => {
      const subject = createMixerSubject(config, shape);
      const x = randomTokens(2, 9, shape, 3);
      const { value, output } = subject.parameters as Record<string, tf.Tensor>;
      const v = tf.transpose(tf.reshape(tf.matMul(tf.reshape(x, [18, 16]), value as tf.Tensor2D), [2, 9, 2, 8]), [0, 2, 1, 3]); // prettier-ignore
      const weights = subject.mixer.attentionWeights!(subject.parameters, x);
      const joined = tf.reshape(tf.transpose(tf.matMul(weights, v), [0, 2, 1, 3]), [18, 16]);
      const expected = tf.reshape(tf.matMul(joined as tf.Tensor2D, output as tf.Tensor2D), x.shape);
      expect(relativeDifference(run(subject, x).output, expected)).toBeLessThan(1e-4);
    });
  });

  it('Hedgehog: its divergence from a trained softmax is less than a fifth of elu + 1’s', async () => {
    const plain = studentOf({ name: 'linearAttention' }, teacher);
    const fresh = studentOf({ name: 'hedgehog' }, teacher);
    const student = await taught(fresh, teacher, 150, 'weights');
    const [before, untrained, after] = [plain, fresh, student].map((own) =>
      divergence(teacher, own),
    );
    expect(after).toBeLessThan(before / 5);
    expect(after).toBeLessThan(untrained);
    // Frozen leaves are the teacher's own.
    for (const name of ['query', 'key', 'value', 'output']) {
      expect(student.parameters[name]).toBe(teacher.parameters[name]);
    }
    tf.tidy(() => {
      const { x } = drawn(6000);
      const forms = student.mixer.forms.map(
        (form) => student.mixer.apply(student.parameters, x, undefined, inference, { form }).output,
      );
      for (const other of forms.slice(1)) {
        expect(relativeDifference(other, forms[0])).toBeLessThan(1e-4);
      }
      // Where the softmax has one key well above another, so has the student.
      const [p, s] = [teacher, student].map(
        ({ mixer, parameters }) =>
          mixer.attentionWeights!(parameters, x).arraySync() as number[][][][],
      );
      let [ordered, pairs] = [0, 0];
      p.flat(2).forEach((row, i) => {
        const own = s.flat(2)[i];
        row.forEach((a, j) =>
          row.forEach((b, k) => {
            if (b === 0 || a < 2 * b) return;
            pairs++;
            if (own[j] > own[k]) ordered++;
          }),
        );
      });
      expect(pairs).toBeGreaterThan(1000);
      expect(ordered / pairs).toBeGreaterThan(0.9);
    });
  });

  it('Lizard: a student with gates has less than a tenth of its first error, a window alone not', async () => {
    const errors: Record<string, number[]> = {};
    for (const [name, config] of Object.entries({
      gates: {
        name: 'gatedLinearAttention',
        featureMap: 'hedgehog',
        decay: 'scalar',
        normaliser: 'sum',
        outputNorm: 'none',
        outputGate: 'none',
      },
      window: { name: 'softmaxAttention', context: 6 },
    } as Record<string, MixerConfig>)) {
      const fresh = studentOf(config, teacher);
      const student = await taught(fresh, teacher, 250, 'outputs', [...defaultSlots, 'output']);
      errors[name] = [fresh, student].map((own) => outputError(teacher, own));
    }
    expect(errors.gates[1]).toBeLessThan(errors.gates[0] / 10);
    expect(errors.gates[1]).toBeLessThan(errors.window[1]);
  });

  it('a teacher with weights below 0 is distilled by its outputs, not by its rows', async () => {
    const local = trainedTeacher({ name: 'localLinearAttention', ridge: 1 }, 60);
    const fresh = studentOf({ name: 'hedgehog' }, local);
    await expect(taught(fresh, local, 1, 'weights')).rejects.toThrow(/below 0/);
    const student = await taught(fresh, local, 100, 'outputs', [...defaultSlots, 'output']);
    expect(outputError(local, student)).toBeLessThan(outputError(local, fresh) / 2);
  });

  it('stopped and gone on with, ends as though it had not been stopped', async () => {
    const student = studentOf({ name: 'hedgehog' }, teacher);
    const options = {
      teacher,
      student,
      tokens: tokensAt,
      config: { ...step, target: 'weights' as const },
      steps: 6,
    };
    const held = tf.memory().numTensors;
    const start = (): TrainingState => startTraining(distilledLeaves(student.parameters));
    const whole = await distil({ ...options, state: start() });
    const controller = new AbortController();
    const part = await distil({
      ...options,
      state: start(),
      signal: controller.signal,
      onStep: ({ step: done }) => done === 2 && controller.abort(),
    });
    expect(part.step).toBe(2);
    const rest = await distil({ ...options, state: part });
    expect(rest.step).toBe(6);
    for (const [path, value] of whole.leaves) {
      expect(relativeDifference(rest.leaves.get(path)!, value)).toBe(0);
    }
    [whole, rest].forEach(disposeTraining);
    expect(tf.memory().numTensors).toBe(held);
  });

  it('says what it cannot do', async () => {
    const plain = studentOf({ name: 'linearAttention' }, teacher);
    await expect(taught(plain, teacher, 1, 'weights')).rejects.toThrow(/nothing to train/);
    const other = studentOf({ name: 'rat', gateRank: 3 }, teacher);
    const held = tf.memory().numTensors;
    await expect(taught(other, teacher, 1, 'weights')).rejects.toThrow(/rat has no attention/);
    expect(tf.memory().numTensors).toBe(held);
  });
});

describe('linearise', () => {
  const small = {
    kind: 'spikmamba',
    patch: 4,
    embedding: 16,
    depth: 2,
    heads: 2,
    stateChannels: 8,
    states: 2,
    feedForward: 8,
  };
  const networkOf = (mixer: MixerConfig, over = 'time'): Model =>
    createModel(modelSchema.parse({ ...small, mixer, mixerOver: over }), movingDotsInput, 2);

  it.each(['time', 'clip'])(
    'teaches each layer of a network over %s by what it reads',
    async (over) => {
      const held = tf.memory().numTensors;
      const [teacher, student] = [
        { name: 'softmaxAttention', context: 8 },
        { name: 'hedgehog' },
      ].map((mixer) => networkOf(mixer, over));
      const parameters = teacher.initialise(new Initialiser(1));
      // Sharper than at the start, so that there is something to mimic.
      const known = new Map(
        [...flatten(parameters)].map(([path, value]) => [
          path,
          /(query|key)$/.test(path) ? tf.mul(value, 3) : tf.clone(value),
        ]),
      );
      disposeTree(parameters);
      const fresh = flatten(student.initialise(new Initialiser(2)));
      const { leaves, taken } = initialLeaves(fresh, known);
      expect(taken.length).toBeGreaterThan(20);
      const losses: number[] = [];
      const options = {
        teacher: { model: teacher, parameters: unflatten(known) },
        student: { model: student, leaves },
        data: movingDotsData(6),
        steps: 30,
        config: { ...step, target: 'weights' as const },
      };
      const learned = await linearise({ ...options, onStep: ({ loss }) => losses.push(loss) });
      expect([...learned.keys()].sort()).toEqual(
        [0, 1].flatMap((layer) =>
          ['key', 'query'].map((name) => `blocks.${layer}.attention.featureMap.${name}`),
        ),
      );
      expect(losses).toHaveLength(30);
      expect(losses[29]).toBeLessThan(losses[0]);
      tf.dispose([...learned.values()]);
      const controller = new AbortController();
      const stopped = linearise({
        ...options,
        signal: controller.signal,
        onStep: () => controller.abort(),
      });
      await expect(stopped).rejects.toMatchObject({ kind: 'interrupted' });
      const same = linearise({ ...options, student: { model: teacher, leaves: known } });
      await expect(same).rejects.toMatchObject({ kind: 'config' });
      tf.dispose([...known.values(), ...fresh.values()]);
      expect(tf.memory().numTensors).toBe(held);
    },
  );
});

/**
 * The engine's conformance tests on one backend, without a test runner: for hosts that have a GPU and no
 * packages. Writes one JSON document to standard output; all parts, or those that are named.
 *
 *     node check.mjs [backend] [ops] [plainOps] [graphs] [uploads] [precision] [training] [steps]
 */
import { writeSync } from 'node:fs';

import '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';

import { selectBackend } from '../../engine/backend.js';
import type { CudaBackend } from '../../engine/cuda/backend.js';
import { precisions } from '../../engine/cuda/matMul.js';
import { registerCudaBackend } from '../../engine/cuda/register.js';
import { referenceGradients, sizeOf } from '../../engine/fused.js';
import { createRandom } from '../../engine/support/random.js';
import { flatten, Initialiser } from '../../models/parameters.js';
import { startTraining, trainingStep } from '../../models/training/step.js';
import { smoothTargets } from '../../models/training/loss.js';
import { inference } from '../../models/context.js';
import { graphs } from './graphs.js';
import { cases, drawArrays, type Case, type Extents } from '../../test/engine/fusedCases.js';
import { plainOps } from './plainOps.js';
import { modelFor, stepSettings } from './steps.js';
import { uploads } from './uploads.js';

interface Finding {
  readonly title: string;
  /** The largest ‖ours - reference‖ / ‖reference‖ of any output and any gradient. */
  readonly outputs: number;
  readonly gradients: number;
  readonly error?: string;
}

const extents: Extents[] = [
  { a: 1, b: 1, c: 1, d: 1 },
  { a: 2, b: 3, c: 4, d: 2 },
  { a: 3, b: 5, c: 5, d: 4 },
  { a: 2, b: 33, c: 8, d: 3 },
  { a: 2, b: 19, c: 72, d: 16 },
];

function relative(actual: tf.Tensor, expected: ArrayLike<number>): number {
  const values = actual.dataSync();
  if (values.length !== expected.length) return Infinity;
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < values.length; i++) {
    difference += (values[i] - expected[i]) ** 2;
    norm += expected[i] ** 2;
  }
  const result = Math.sqrt(difference) / (Math.sqrt(norm) + 1e-6);
  return Number.isNaN(result) ? Infinity : result;
}

/** Output and gradients of one op against its loops in float64. */
function checkOp(test: Case): Finding {
  let outputs = 0;
  let gradients = 0;
  const { definition, attributes } = test;
  for (const [i, extent] of extents.entries()) {
    for (const scale of [1, 0]) {
      const shapes = test.shapes(extent);
      const arrays = drawArrays(test, extent, 17 + i, scale).map((x) =>
        Float64Array.from(x, Math.fround),
      );
      const random = createRandom(i, 'dy');
      const outputShapes = definition.forward.outputShapes(shapes, attributes);
      const expected = outputShapes.map((shape) => new Float64Array(sizeOf(shape)));
      definition.forward.run(arrays, expected, shapes, attributes);
      const dys = outputShapes.map((shape, o) =>
        Float64Array.from({ length: sizeOf(shape) }, () =>
          (test.differentiable?.[o] ?? true) ? Math.fround(random.normal()) : 0,
        ),
      );
      tf.tidy(() => {
        const tensors = (list: Float64Array[], of: readonly (readonly number[])[]): tf.Tensor[] =>
          list.map((values, n) => tf.tensor(Float32Array.from(values), of[n] as number[]));
        const run = (name: string, inputs: tf.Tensor[]): tf.Tensor[] => {
          const named = Object.fromEntries(
            inputs.map((x, n) => [`input${String(n).padStart(2, '0')}`, x]),
          );
          const result = tf.engine().runKernel(name, named, attributes as never);
          return Array.isArray(result) ? (result as tf.Tensor[]) : [result as tf.Tensor];
        };
        const inputs = tensors(arrays, shapes);
        const actual = run(definition.name, inputs);
        actual.forEach((output, o) => (outputs = Math.max(outputs, relative(output, expected[o]))));
        const dy = tensors(dys, outputShapes);
        const saved = actual.filter((_, o) => definition.saveOutputs?.[o] ?? false);
        const found =
          definition.backward === undefined
            ? referenceGradients(definition, inputs, dy, attributes)
            : run(`${definition.name}Grad`, [...inputs, ...saved, ...dy]);
        if (definition.backward === undefined) return;
        const keep = definition.saveOutputs ?? [];
        const allShapes = [...shapes, ...outputShapes.filter((_, o) => keep[o]), ...outputShapes];
        const wanted = definition.backward
          .outputShapes(allShapes, attributes)
          .map((shape) => new Float64Array(sizeOf(shape)));
        const all = [...arrays, ...expected.filter((_, o) => keep[o]), ...dys];
        definition.backward.run(all, wanted, allShapes, attributes);
        found.forEach(
          (gradient, n) => (gradients = Math.max(gradients, relative(gradient, wanted[n]))),
        );
      });
    }
  }
  return { title: test.title, outputs, gradients };
}

function ops(): Finding[] {
  return cases
    .filter(({ attributes }) => attributes.relaxed !== true)
    .map((test) => {
      say(test.title);
      try {
        return checkOp(test);
      } catch (error) {
        return {
          title: test.title,
          outputs: Infinity,
          gradients: Infinity,
          error: String((error as Error).stack).slice(0, 600),
        };
      }
    });
}

/** Losses of training steps of a small model, and how many tensors it left behind after the first three. */
async function smallTraining(backend: string, steps: number) {
  await selectBackend(backend);
  const random = createRandom(5);
  const values = Float32Array.from({ length: 2 * 4 * 2 * 32 * 32 }, () =>
    random.uniform() < 0.1 ? 1 : 0,
  );
  const model = modelFor({ kind: 'spikmamba', preset: 'nano' }, { bins: 4, size: 32 }, 8);
  let state = startTraining(flatten(model.initialise(new Initialiser(1)) as never));
  const x = tf.tensor(values, [2, 4, 2, 32, 32]);
  const targets = tf.tensor(smoothTargets([0, 1], 8, 0.1), [2, 8]);
  const losses: number[] = [];
  let tensors = 0;
  for (let i = 0; i < steps; i++) {
    const result = trainingStep(model, state, x, targets, stepSettings);
    ({ state } = result);
    losses.push(result.loss);
    if (i === 2) tensors = tf.memory().numTensors;
  }
  return { losses, leaked: tf.memory().numTensors - tensors };
}

/** Some training steps of a small model, compared with the same ones on the host. */
async function training(backend: string) {
  const ours = await smallTraining(backend, 500);
  const fallbacks =
    backend === 'cuda'
      ? Object.fromEntries(
          (tf.backend() as unknown as { fallbacks: Map<string, number> }).fallbacks,
        )
      : {};
  const host = await smallTraining('cpu', 5);
  return {
    ours: ours.losses.filter((_, i) => i < 5 || i > 495),
    host: host.losses,
    leaked: ours.leaked,
    fallbacks,
  };
}

function milliseconds(run: () => void, repeats: number): number {
  for (let i = 0; i < 3; i++) run();
  const times = Array.from({ length: repeats }, () => {
    const start = performance.now();
    run();
    return performance.now() - start;
  });
  return times.sort((a, b) => a - b)[Math.floor(repeats / 2)];
}

async function steps(backend: string) {
  await selectBackend(backend);
  const config = { ...stepSettings, perStepLoss: 0 };
  const time = (preset: string, batch: number, bins: number, size: number) => {
    const model = modelFor({ kind: 'spikmamba', preset }, { bins, size });
    const parameters = model.initialise(new Initialiser(1));
    let state = startTraining(flatten(parameters as never));
    const x = tf.cast(tf.less(tf.randomUniform([batch, bins, 2, size, size]), 0.1), 'float32');
    const targets = tf.tensor(
      smoothTargets(
        Array.from({ length: batch }, (_, i) => i % 11),
        11,
        0.1,
      ),
      [batch, 11],
    );
    const training = milliseconds(() => {
      ({ state } = trainingStep(model, state, x, targets, config));
    }, 10);
    const cuda = tf.backend() as unknown as {
      timings?: Map<string, { calls: number; milliseconds: number }>;
      driver: { launches: number };
    };
    const launches = cuda.driver.launches;
    cuda.timings = new Map();
    ({ state } = trainingStep(model, state, x, targets, config));
    const kernels = [...cuda.timings]
      .sort(([, a], [, b]) => b.milliseconds - a.milliseconds)
      .slice(0, 16)
      .map(([name, { calls, milliseconds: ms }]) => `${name} ${calls} ${ms.toFixed(2)}`);
    const count = cuda.driver.launches - launches;
    cuda.timings = undefined;
    const frame = tf.slice(x, [0, 0, 0, 0, 0], [1, 1, 2, size, size]);
    const fresh = model.initialise(new Initialiser(1));
    const carried = model.apply(fresh, frame, undefined, inference).state;
    const streaming = milliseconds(() => {
      tf.tidy(() => void model.apply(fresh, frame, carried, inference).logits.dataSync());
    }, 30);
    return { preset, batch, training, streaming, launches: count, kernels };
  };
  return [time('small', 32, 16, 128), time('base', 32, 16, 128)];
}

/** Products and a small network's first losses in each precision, against float64 and against float32. */
async function precision() {
  await selectBackend('cuda');
  const { products } = registerCudaBackend();
  const [m, k, n] = [384, 1024, 320];
  const random = createRandom(11);
  const [a, b] = [m * k, k * n].map((size) =>
    Float32Array.from({ length: size }, () => random.normal()),
  );
  const expected = new Float64Array(m * n);
  for (let i = 0; i < m; i++) {
    for (let q = 0; q < k; q++) {
      for (let j = 0; j < n; j++) expected[i * n + j] += a[i * k + q] * b[q * n + j];
    }
  }
  const results: Record<string, unknown> = {};
  for (const wanted of precisions) {
    products.precision = wanted;
    const y = tf.tidy(() =>
      relative(tf.matMul(tf.tensor(a, [m, k]), tf.tensor(b, [k, n])), expected),
    );
    results[wanted] = { matMul: y, losses: (await smallTraining('cuda', 20)).losses };
  }
  products.precision = 'float32';
  return results;
}

const parts = {
  ops: () => Promise.resolve(judged(ops())),
  plainOps: async (name: string) => judged(await plainOps(name)),
  graphs: () => Promise.resolve(graphs(tf.backend() as unknown as CudaBackend, say)),
  uploads: () => Promise.resolve(uploads(tf.backend() as unknown as CudaBackend)),
  precision,
  training,
  steps,
};

/** How many were checked, the worst, and all that differ more than float32 explains. */
function judged(found: readonly { title: string; outputs: number; gradients?: number }[]) {
  const bad = found.filter(({ outputs, gradients = 0 }) => !(outputs < 1e-4 && gradients < 1e-3));
  const worst = (key: 'outputs' | 'gradients') => Math.max(...found.map((one) => one[key] ?? 0));
  return { checked: found.length, outputs: worst('outputs'), gradients: worst('gradients'), bad };
}

/** What is going on, with the seconds so far. */
const say = (text: string): void =>
  void writeSync(2, `${(performance.now() / 1000).toFixed(1)} ${text}\n`);
const named = process.argv.slice(2);
const isPart = (name: string): name is keyof typeof parts => name in parts;
const backend = named.find((name) => !isPart(name)) ?? 'cuda';
const chosen = named.some(isPart)
  ? named.filter(isPart)
  : (Object.keys(parts) as (keyof typeof parts)[]);
const report: Record<string, unknown> = { status: await selectBackend(backend) };
for (const part of chosen) {
  say(part);
  try {
    await selectBackend(backend);
    report[part] = await parts[part](backend);
  } catch (error) {
    report[part] = { error: String((error as Error).stack) };
  }
}
await selectBackend(backend);
report.memory = tf.memory();
// Infinity is no number in JSON.
const text = JSON.stringify(
  report,
  (_, value: unknown) => (value === Infinity ? 'Infinity' : value),
  1,
);
writeSync(1, `${text}\n`);
process.exit(0);

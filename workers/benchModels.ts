import { dirname, join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';

import { selectBackend } from '../engine/backend.js';
import { writeFileAtomically } from '../engine/support/atomicFile.js';
import { SaccadeError } from '../engine/support/errors.js';
import { parseConfig } from '../engine/support/parseConfig.js';
import { throwIfAborted } from '../ingest/bytes.js';
import {
  countedOperations,
  crossovers,
  energyOf,
  horowitz45,
  memoryPjPer64Bits,
  onChip,
} from '../models/analysis/energy.js';
import { countOperations, type OperationCount } from '../models/analysis/operationCount.js';
import { stemKinds } from '../models/blocks/stem.js';
import { inference, Recorder } from '../models/context.js';
import { wilsonInterval, type Interval } from '../models/evaluation/metrics.js';
import type { ClipState, StateTree } from '../models/model.js';
import { createModel, type ModelConfig } from '../models/networks/index.js';
import { neurons } from '../models/neurons/registry.js';
import { disposeTree, flatten, type ParameterTree } from '../models/parameters.js';
import { batchesInOrder } from '../preprocess/loader.js';
import { benchAccuracyPlot, benchReport } from './benchModelsReport.js';
import type { BenchedModel, BenchModelsResult, MeasuredModel } from './benchModelsResult.js';
import { mixersSchema, recallOf, recallSchema, seedsSchema } from './benchRecall.js';
import type { MeasuredMixer } from './benchRecallResult.js';
import { comparable, compareJob, comparedRun, type ComparedModel } from './compare.js';
import { readEvaluation } from './evaluate.js';
import { experimentSchema, readYaml, withPathsFrom } from './experiment.js';
import type { JobContext } from './job.js';
import { loaderOptions, prepareData } from './prepare.js';
import { inputShape, loadModel, type LoadedModel } from './runs.js';

const count = z.number().int().positive();

/** What is compared: all mixers × neurons × stems, in the experiment's model, and baselines beside them. */
const benchSchema = z.strictObject({
  seeds: seedsSchema,
  mixers: mixersSchema,
  neurons: z
    .array(z.enum(Object.keys(neurons) as (keyof typeof neurons)[]))
    .min(1)
    .default(['lif']),
  stems: z.array(z.enum(stemKinds)).min(1).default(['patch']),
  /** Models that `saccade compare` knows. */
  baselines: z.array(z.enum(Object.keys(comparable) as [string, ...string[]])).default([]),
  /** Test clips that operations and latency are measured on. */
  clips: count.default(8),
  /** Left out where null; with the bench's own seeds where it has none. */
  recall: recallSchema.nullable().prefault({}),
});

const benchModelsSchema = z.strictObject({ ...experimentSchema.shape, bench: benchSchema });

/** An experiment, whose `model` is what all that are compared share, and what is compared. */
export type BenchModelsConfig = z.infer<typeof benchModelsSchema>;

/** @throws SaccadeError of kind `config` that names the first wrong field and what was expected there. */
export function parseBenchModels(value: unknown, file: string): BenchModelsConfig {
  const config = parseConfig(benchModelsSchema, value, file);
  variantsOf(config, file);
  return config;
}

/** Reads a YAML (or JSON) bench; throws as `parseBenchModels` and `readYaml` do. */
export async function readBenchModels(path: string): Promise<BenchModelsConfig> {
  return withPathsFrom(dirname(path), parseBenchModels(await readYaml(path), path));
}

/** One model of the bench. */
interface Variant {
  readonly name: string;
  readonly mixer: string | null;
  readonly neuron: string | null;
  readonly stem: string | null;
  readonly model: ModelConfig;
}

/** Every model of a bench, each of which fits together. */
function variantsOf(config: BenchModelsConfig, file?: string): Variant[] {
  const { bench, model: shared } = config;
  const wrong = (field: string, message: string, cause?: unknown): SaccadeError =>
    new SaccadeError('config', message, { file, field }, cause);
  if (shared.kind !== 'spikmamba') {
    throw wrong('model.kind', `is ${shared.kind}, expected spikmamba: it has the slots`);
  }
  const variants = bench.mixers.flatMap(({ label, over, hybrid, config: mixer }) =>
    bench.neurons.flatMap((neuron) =>
      bench.stems.map((stem): Variant => {
        const model = {
          ...shared,
          stem,
          neuron: { ...shared.neuron, kind: neuron },
          mixer,
          mixerOver: over ?? shared.mixerOver,
          hybrid: hybrid ?? shared.hybrid,
        } as ModelConfig;
        return { name: `${label}.${neuron}.${stem}`, mixer: label, neuron, stem, model };
      }),
    ),
  );
  const none = { mixer: null, neuron: null, stem: null };
  const all = [
    ...variants,
    ...bench.baselines.map((name) => ({ name, ...none, model: comparable[name] })),
  ];
  // Whatever does not fit is told before anything is trained.
  for (const { model, name } of all) {
    try {
      createModel(model, inputShape(config), 2);
    } catch (error) {
      if (!(error instanceof SaccadeError)) throw error;
      throw wrong('bench', `${name}: ${error.message}`, error);
    }
  }
  return all;
}

export interface BenchModelsJob {
  readonly config: BenchModelsConfig;
  /** Folder of all runs, the table, the plots and `bench.json`; what is there is gone on with. */
  readonly folder: string;
  readonly cacheFolder: string;
  readonly backend?: string;
}

/**
 * Compares mixers × neurons × stems under one protocol: the same data, epochs and seeds for all, the epoch selected on
 * validation, the test part looked at once per run (`compareJob`). Counts operations and takes times on clips of the
 * test part, and asks each mixer alone what it remembers. Writes `bench.json`, `table.md`, `energy.svg` and `state.svg`.
 * Interrupted, it goes on where it was.
 *
 * @throws SaccadeError as `compareJob` does.
 */
export async function benchModelsJob(
  { config, folder, cacheFolder, backend }: BenchModelsJob,
  context: JobContext = {},
): Promise<BenchModelsResult> {
  const { bench, ...experiment } = config;
  const variants = variantsOf(config);
  const compared = await compareJob(
    {
      experiment,
      models: variants.map(({ name }) => name),
      known: Object.fromEntries(variants.map(({ name, model }) => [name, model])),
      seeds: bench.seeds,
      folder,
      cacheFolder,
      backend,
    },
    context,
  );
  await selectBackend(backend);
  const remembered = new Map<string, MeasuredMixer>();
  for (const mixer of bench.recall === null ? [] : bench.mixers) {
    const recall = { ...bench.recall!, seeds: bench.recall!.seeds ?? bench.seeds };
    remembered.set(mixer.label, await recallOf(mixer, recall, folder, context));
  }
  const models: BenchedModel[] = [];
  let synthetic = false;
  let classes: readonly string[] = [];
  for (const [i, { name, mixer, neuron, stem }] of variants.entries()) {
    const comparison = compared[i];
    throwIfAborted(context.signal, name);
    const loaded = await loadModel(comparedRun(folder, name, bench.seeds[0]));
    ({ synthetic, classes } = loaded);
    const rates = await Promise.all(
      bench.seeds.map(async (seed) => {
        const evaluation = await readEvaluation(comparedRun(folder, name, seed), 'test');
        return evaluation!.selected.firingRates;
      }),
    );
    try {
      models.push({
        ...comparison,
        mixer,
        neuron,
        stem,
        overClips: overClips(comparison),
        firingRate: mean(rates.flatMap((layers) => Object.values(layers))),
        firingRates: rates[0],
        measured: await measureModel(loaded, bench.clips, cacheFolder, context),
        recall: remembered.get(mixer ?? '') ?? null,
      });
    } finally {
      disposeTree(loaded.parameters);
    }
    context.onProgress?.({ phase: 'measure', done: i + 1, total: variants.length, info: name });
  }
  const result: BenchModelsResult = {
    synthetic,
    classes,
    seeds: bench.seeds,
    epochs: experiment.training.epochs,
    energy: { constants: horowitz45.float32, places: onChip, memory: memoryPjPer64Bits },
    models,
  };
  const write = (file: string, text: string): Promise<void> =>
    writeFileAtomically(join(folder, file), text);
  await write('bench.json', `${JSON.stringify(result, undefined, 2)}\n`);
  await write('table.md', `${benchReport(result)}\n`);
  await write('energy.svg', benchAccuracyPlot(result, 'energy'));
  await write('state.svg', benchAccuracyPlot(result, 'state'));
  return result;
}

function overClips({ selected, seeds }: ComparedModel): Interval {
  const clips = Math.min(...seeds.map(({ testClips }) => testClips));
  return wilsonInterval(Math.min(clips, selected.mean * clips), clips);
}

function mean(values: readonly number[]): number | null {
  return values.length === 0 ? null : values.reduce((a, b) => a + b, 0) / values.length;
}

/** Bin by bin where the model streams: what an online system has to do. */
async function measureModel(
  loaded: LoadedModel,
  most: number,
  cacheFolder: string,
  context: JobContext,
): Promise<MeasuredModel> {
  const { model, parameters, experiment } = loaded;
  const prepared = await prepareData(experiment, cacheFolder, { signal: context.signal });
  try {
    const clips = prepared.clips.test.slice(0, most);
    const total = emptyCount();
    const times: number[] = [];
    let stateBytes = 0;
    let neuronValues = 0;
    const options = { ...loaderOptions(experiment, clips), batchSize: 1 };
    for await (const { inputs, shape } of batchesInOrder(options)) {
      throwIfAborted(context.signal, loaded.path);
      const bins = shape[1];
      const clip = tf.tensor(inputs, [...shape]);
      const parts = model.streaming ? bins : 1;
      for (const counted of [true, false]) {
        stateBytes = runClip(loaded, clip, parts, (run) => {
          if (counted) {
            const { result, count: one } = countOperations(run, flatten(parameters).values());
            for (const name of Object.keys(total) as (keyof OperationCount)[]) total[name] += one[name]; // prettier-ignore
            return result;
          }
          const startMs = performance.now();
          const result = run();
          times.push(((performance.now() - startMs) * parts) / bins);
          return result;
        });
      }
      neuronValues = neuronsOf(loaded, clip);
      clip.dispose();
      // Lets signals in between.
      await new Promise(setImmediate);
    }
    for (const name of Object.keys(total) as (keyof OperationCount)[]) total[name] /= clips.length;
    const { bins } = model.input;
    const operations = countedOperations(total, model.streaming ? stateBytes : 0, bins);
    return {
      clips: clips.length,
      operations: total,
      energy: energyOf([operations]),
      crossovers:
        operations.synapses === 0
          ? []
          : crossovers(operations, model.streaming ? neuronValues * bins : 0),
      stateBytes: model.streaming ? stateBytes : null,
      latencyMs: median(times),
    };
  } finally {
    await prepared.release();
  }
}

/** Values that a clip's neurons keep from bin to bin. */
function neuronsOf({ model, parameters }: LoadedModel, clip: tf.Tensor): number {
  const recorder = new Recorder();
  try {
    tf.tidy(() => void model.apply(parameters, clip, undefined, { ...inference, recorder }));
    return [...recorder.neuronStates.values()].reduce((sum, values) => sum + values, 0);
  } finally {
    recorder.dispose();
  }
}

function emptyCount(): { -readonly [name in keyof OperationCount]: number } {
  return countOperations(() => undefined).count;
}

/**
 * Runs a clip in parts.
 *
 * @param around is given each part's run.
 * @returns bytes of the state after the last one.
 */
function runClip(
  { model, parameters }: LoadedModel,
  clip: tf.Tensor,
  parts: number,
  around: (run: () => ClipState) => ClipState,
): number {
  const [, bins, ...frame] = clip.shape;
  let state: ClipState | undefined;
  for (let part = 0; part < parts; part++) {
    let next!: ClipState;
    tf.tidy(() => {
      const from = (part * bins!) / parts;
      const frames = tf.slice(clip, [0, from, 0, 0, 0], [1, bins! / parts, ...frame]);
      next = around(() => {
        const { logits, state: after } = model.apply(parameters, frames, state, inference);
        logits.dataSync();
        return after;
      });
      for (const tensor of leaves(next.layers)) tf.keep(tensor);
    });
    const stays = new Set(leaves(next.layers));
    for (const tensor of leaves(state?.layers)) if (!stays.has(tensor)) tensor.dispose();
    state = next;
  }
  const all = leaves(state?.layers);
  const bytes = all.reduce((sum, { size }) => sum + 4 * size, 0);
  tf.dispose(all);
  return bytes;
}

function leaves(state: StateTree | undefined): tf.Tensor[] {
  if (state === undefined) return [];
  return [...flatten(pruned(state)).values()];
}

function pruned(state: StateTree): ParameterTree {
  return Object.fromEntries(
    Object.entries(state).flatMap(([name, child]) =>
      child === undefined ? [] : [[name, child instanceof tf.Tensor ? child : pruned(child)]],
    ),
  );
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return (sorted[Math.floor((sorted.length - 1) / 2)] + sorted[Math.ceil((sorted.length - 1) / 2)]) / 2; // prettier-ignore
}

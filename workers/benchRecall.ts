import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { z } from 'zod';

import { selectBackend } from '../engine/backend.js';
import { writeFileAtomically } from '../engine/support/atomicFile.js';
import { SaccadeError } from '../engine/support/errors.js';
import { parseConfig } from '../engine/support/parseConfig.js';
import { throwIfAborted } from '../ingest/bytes.js';
import { conditioningProbe, mixerLearner } from '../models/analysis/conditioning.js';
import {
  motionRecall,
  recallRun,
  symbolRecall,
  type RecallRunResult,
  type RecallTask,
} from '../models/analysis/recallRun.js';
import { mixerExtents, type MixerExtent } from '../models/blocks/placedMixer.js';
import { meanInterval } from '../models/evaluation/metrics.js';
import { hybridSchedule, type HybridPlan } from '../models/mixers/hybridSchedule.js';
import { mixerSchema, type MixerConfig } from '../models/mixers/registry.js';
import { hybridSchema } from '../models/networks/schema.js';
import { benchRecallTable } from './benchRecallReport.js';
import type { MeasuredMixer, RecallScore } from './benchRecallResult.js';
import { readYaml } from './experiment.js';
import type { JobContext } from './job.js';

const count = z.number().int().positive();
export const seedsSchema = z.array(z.number().int().min(0)).min(1);

export interface NamedMixer {
  /** Its name in tables. */
  readonly label: string;
  readonly config: MixerConfig;
  /** What its sequences are in a network. */
  readonly over: MixerExtent | undefined;
  /** Another mixer in some of the layers. */
  readonly hybrid: Omit<HybridPlan, 'base'> | undefined;
}

type Entry = MixerConfig & {
  readonly label?: string;
  readonly over?: MixerExtent;
  readonly hybrid?: Omit<HybridPlan, 'base'>;
};

/** Mixers by their names, or with settings of their own, what their sequences are, and other names in the table. */
export const mixersSchema = z
  .array(
    z
      .union([
        z.string().transform((name) => ({ name })),
        z.looseObject({
          name: z.string(),
          label: z.string().regex(/^\w+$/, 'expected letters and digits').optional(),
          over: z.enum(mixerExtents).optional(),
          hybrid: hybridSchema.optional(),
        }),
      ])
      .transform((entry, context): NamedMixer => {
        const { label, over, hybrid, ...config } = entry as Entry;
        const { data, error } = mixerSchema.safeParse(config);
        for (const issue of error?.issues ?? []) {
          context.issues.push({ ...issue, input: config } as (typeof context.issues)[number]);
        }
        return { label: label ?? config.name, over, hybrid, config: data ?? config };
      }),
  )
  .min(1)
  .superRefine((all, context) => {
    all.forEach(({ label }, i) => {
      if (all.findIndex((other) => other.label === label) === i) return;
      const message = `${label} is there twice, expected one of its own`;
      context.addIssue({ code: 'custom', path: [i, 'label'], message });
    });
  });

const recallFields = {
  pairs: count,
  length: count,
  powerLaw: z.number().positive().default(0.5),
} as const;

/** Budget of the runs of recall, and both tasks; null leaves one out. */
export const recallSchema = z.strictObject({
  /** Each draws first weights and sequences. */
  seeds: seedsSchema.optional(),
  steps: count.default(400),
  batch: count.default(32),
  learningRate: z.number().positive().default(0.01),
  width: count.default(32),
  heads: count.default(2),
  /** One mixer each. */
  layers: count.default(1),
  symbols: z
    .strictObject({ keys: count, values: count, ...recallFields })
    .nullable()
    .prefault({ keys: 16, values: 16, pairs: 4, length: 32 }),
  motions: z
    .strictObject({
      side: count.describe('pixels'),
      cell: count,
      symbolUs: count,
      bins: count,
      values: count,
      ...recallFields,
    })
    .nullable()
    .prefault({ side: 16, cell: 4, symbolUs: 10_000, bins: 2, values: 8, pairs: 4, length: 32 }),
});

export type RecallSettings = z.infer<typeof recallSchema>;

const benchRecallSchema = z.strictObject({
  name: z.string().min(1).default('recall'),
  mixers: mixersSchema,
  recall: recallSchema.required({ seeds: true }),
});

/** What mixers are asked what they remember, and how. */
export type BenchRecallConfig = z.infer<typeof benchRecallSchema>;

/** @throws SaccadeError of kind `config` that names the first wrong field and what was expected there. */
export function parseBenchRecall(value: unknown, file: string): BenchRecallConfig {
  return parseConfig(benchRecallSchema, value, file);
}

/** Reads a YAML (or JSON) bench of recall; throws as `parseBenchRecall` and `readYaml` do. */
export async function readBenchRecall(path: string): Promise<BenchRecallConfig> {
  return parseBenchRecall(await readYaml(path), path);
}

/** The tasks by name. */
export type RecallTaskName = 'symbols' | 'motions';

export interface BenchRecallJob {
  readonly config: BenchRecallConfig;
  /** Folder of `recall.json`, the table and one file for each mixer; what is there is not done again. */
  readonly folder: string;
  readonly backend?: string;
}

export interface BenchRecallResult {
  readonly recall: RecallSettings;
  readonly mixers: readonly MeasuredMixer[];
}

/**
 * Trains each mixer alone on associative recall, with every seed, and asks it about sequences that it has not seen. Writes
 * `recall.json` and `recall.md`. Interrupted, it goes on with the run that it was in.
 *
 * @throws SaccadeError of kind `config` where a task doesn't fit together.
 */
export async function benchRecallJob(
  { config: { mixers, recall }, folder, backend }: BenchRecallJob,
  context: JobContext = {},
): Promise<BenchRecallResult> {
  await selectBackend(backend);
  const measured: MeasuredMixer[] = [];
  for (const mixer of mixers) measured.push(await recallOf(mixer, recall, folder, context));
  const result = { recall, mixers: measured };
  const write = (file: string, text: string): Promise<void> =>
    writeFileAtomically(join(folder, file), text);
  await write('recall.json', `${JSON.stringify(result, undefined, 2)}\n`);
  await write('recall.md', `${benchRecallTable(result)}\n`);
  return result;
}

/** A run, or why there is none. */
type StoredRun =
  | (Pick<RecallRunResult, 'accuracy' | 'parameters' | 'stateBytes'> & { readonly reason?: never })
  | { readonly reason: string };
type StoredRuns = Record<string, StoredRun>;

/** What a mixer alone remembers; of runs that an earlier start has left, what came of them. */
export async function recallOf(
  { label, config, hybrid }: NamedMixer,
  recall: BenchRecallConfig['recall'],
  folder: string,
  context: JobContext = {},
): Promise<MeasuredMixer> {
  const { seeds, steps, batch, learningRate, width, heads, layers } = recall;
  const learner = mixerLearner(config);
  const blocking = learner === undefined ? null : conditioningProbe(learner).blocking;
  const mixers = hybrid
    ? hybridSchedule(layers, { base: config, ...hybrid })
    : new Array<MixerConfig>(layers).fill(config);
  const file = join(folder, `recall-${label}.json`);
  // A seed more is no other question.
  const asked = JSON.parse(JSON.stringify({ mixers, recall: { ...recall, seeds: null } })) as unknown; // prettier-ignore
  const made = (await readFile(file, 'utf8').then(JSON.parse, () => undefined)) as
    { readonly asked: unknown; readonly runs: StoredRuns } | undefined;
  const runs: StoredRuns = isDeepStrictEqual(made?.asked, asked) ? made!.runs : {};

  let reason: string | undefined;
  const ask = async (name: RecallTaskName): Promise<RecallScore | null> => {
    const task = taskOf(name, recall);
    if (task === undefined) return null;
    const done: Exclude<StoredRun, { reason: string }>[] = [];
    for (const seed of seeds) {
      const key = `${name}-${seed}`;
      if (runs[key] === undefined) {
        const run = { mixers, width, heads, batch, steps, learningRate, seed, task };
        const info = `${label}, ${name}, seed ${seed}`;
        runs[key] = await runOf(run, info, context);
        await writeFileAtomically(file, `${JSON.stringify({ asked, runs }, undefined, 2)}\n`);
      }
      const stored = runs[key];
      if (stored.reason !== undefined) {
        ({ reason } = stored);
        return null;
      }
      done.push(stored);
    }
    return {
      accuracy: meanInterval(done.map(({ accuracy }) => accuracy)),
      seeds: done.map(({ accuracy }, i) => ({ seed: seeds[i], accuracy })),
      parameters: done[0].parameters,
      stateBytes: done[0].stateBytes,
    };
  };
  const symbols = await ask('symbols');
  const motions = await ask('motions');
  return { mixer: label, symbols, motions, blocking, ...(reason !== undefined && { reason }) };
}

function taskOf(
  name: RecallTaskName,
  { symbols, motions }: RecallSettings,
): RecallTask | undefined {
  if (name === 'symbols') return symbols === null ? undefined : symbolRecall(symbols);
  if (motions === null) return undefined;
  const { side, bins, cell, symbolUs, values, ...recall } = motions;
  const sensor = { width: side, height: side };
  return motionRecall({ sensor, cell, symbolUs, values, recall }, bins);
}

async function runOf(
  run: Parameters<typeof recallRun>[0],
  info: string,
  context: JobContext,
): Promise<StoredRun> {
  try {
    const { accuracy, parameters, stateBytes } = await recallRun(run, async (step) => {
      throwIfAborted(context.signal, info);
      context.onProgress?.({ phase: 'recall', done: step + 1, total: run.steps, info });
      if (step % 8 === 0) await new Promise(setImmediate);
    });
    return { accuracy, parameters, stateBytes };
  } catch (error) {
    // Some mixers are for grids of patches alone.
    if (!(error instanceof SaccadeError) || error.kind === 'interrupted') throw error;
    return { reason: error.message };
  }
}

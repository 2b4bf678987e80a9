import { join } from 'node:path';

import { writeFileAtomically } from '../engine/support/atomicFile.js';
import { SaccadeError } from '../engine/support/errors.js';
import { meanInterval, type MeanInterval } from '../models/evaluation/metrics.js';
import type { ModelConfig } from '../models/networks/index.js';
import { evaluateJob, readEvaluation } from './evaluate.js';
import type { Experiment } from './experiment.js';
import type { JobContext } from './job.js';
import { trainJob } from './train.js';

/** Models by the name that a comparison knows them by; one more is one line here. */
export const comparable: Readonly<Record<string, ModelConfig>> = {
  nano: { kind: 'spikmamba', preset: 'nano' },
  small: { kind: 'spikmamba', preset: 'small' },
  base: { kind: 'spikmamba', preset: 'base' },
  published: { kind: 'published', preset: 'published' },
  spikingConvNet: { kind: 'spikingConvNet' },
  spikformer: { kind: 'spikformer' },
  linear: { kind: 'linear' },
  lempelZiv: { kind: 'lempelZiv' },
};

export interface CompareJob {
  /** Everything but the model. Each seed also draws another split, unless `dataset.splitSeed` is set. */
  readonly experiment: Experiment;
  /** Keys of `known`. */
  readonly models: readonly string[];
  /** Models by name; `comparable` where not given. */
  readonly known?: Readonly<Record<string, ModelConfig>>;
  readonly seeds: readonly number[];
  /** Each run gets a folder `<model>-<seed>` in it; runs that are there are gone on with. */
  readonly folder: string;
  readonly cacheFolder: string;
  readonly backend?: string;
}

/** Folder of one run of a comparison. */
export function comparedRun(folder: string, model: string, seed: number): string {
  return join(folder, `${model}-${seed}`);
}

/** How one model did over all seeds, on recordings that it has not seen. */
export interface ComparedModel {
  readonly model: string;
  readonly parameters: number;
  /** Accuracy over clips: of the epoch that was selected on validation, and of the last one. */
  readonly selected: MeanInterval;
  readonly last: MeanInterval;
  /** Accuracy over whole recordings, of the selected epoch. */
  readonly recordings: MeanInterval;
  readonly seeds: readonly {
    readonly seed: number;
    readonly selected: number;
    readonly last: number;
    readonly recordings: number;
    /** Clips and recordings in the test part. */
    readonly testClips: number;
    readonly testRecordings: number;
  }[];
}

/**
 * Trains several models under one protocol, each with several seeds, and evaluates each run once on its
 * test part. Writes `comparison.json` into the folder after each model.
 *
 * @throws SaccadeError of kind `usage` for a model that is not known; see also `trainJob`.
 */
export async function compareJob(
  { experiment, models, known = comparable, seeds, folder, cacheFolder, backend }: CompareJob,
  context: JobContext = {},
): Promise<readonly ComparedModel[]> {
  for (const name of models) {
    if (Object.hasOwn(known, name)) continue;
    const names = Object.keys(known).join(', ');
    throw new SaccadeError('usage', `unknown model '${name}', expected some of ${names}`);
  }
  const compared: ComparedModel[] = [];
  for (const model of models) {
    const runs: ComparedModel['seeds'][number][] = [];
    let parameters = 0;
    for (const seed of seeds) {
      context.onMessage?.(`${model}, seed ${seed}`);
      const run = comparedRun(folder, model, seed);
      const seeded = { ...experiment, seed, model: known[model] };
      const trained = await trainJob(
        { experiment: seeded, folder: run, cacheFolder, backend },
        { ...context, onMessage: undefined },
      );
      ({ parameters } = trained);
      // A run that was finished and evaluated earlier is not looked at again.
      const { selected, last } =
        (await readEvaluation(run, 'test')) ??
        (await evaluateJob(
          { path: run, cacheFolder, part: 'test', backend },
          { signal: context.signal },
        ));
      runs.push({
        seed,
        selected: selected.accuracy.value!,
        last: (last ?? selected).accuracy.value!,
        recordings: selected.recordingAccuracy.value!,
        testClips: selected.accuracy.total,
        testRecordings: selected.recordingAccuracy.total,
      });
    }
    const over = (name: 'selected' | 'last' | 'recordings'): MeanInterval =>
      meanInterval(runs.map((run) => run[name]));
    compared.push({
      model,
      parameters,
      selected: over('selected'),
      last: over('last'),
      recordings: over('recordings'),
      seeds: runs,
    });
    await writeFileAtomically(
      join(folder, 'comparison.json'),
      `${JSON.stringify({ experiment, models: compared }, undefined, 2)}\n`,
    );
  }
  return compared;
}

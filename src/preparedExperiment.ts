import type { Experiment } from '../workers/experiment.js';
import type { PreparedData } from '../workers/prepare.js';
import { cacheFolder } from './cacheFolder.js';
import { changeExperiment, type ExperimentChanges } from './experimentOptions.js';
import type { CommandIo } from './io.js';
import { commandJob } from './jobContext.js';

/** What commands that prepare an experiment are told. */
export interface PrepareOptions extends ExperimentChanges {
  readonly cache?: string;
  readonly json?: boolean;
}

/** Reads an experiment and prepares its clips; the caller releases them. */
export async function prepareExperiment(
  io: CommandIo,
  config: string,
  { cache, json, ...changes }: PrepareOptions,
): Promise<{ experiment: Experiment; prepared: PreparedData }> {
  const [{ readExperiment }, { prepareData }] = await Promise.all([
    import('../workers/experiment.js'),
    import('../workers/prepare.js'),
  ]);
  const experiment = changeExperiment(await readExperiment(config), changes);
  const job = commandJob(io, json);
  const folder = cache ?? cacheFolder(io.env);
  const prepared = await prepareData(experiment, folder, job.context).finally(job.done);
  return { experiment, prepared };
}

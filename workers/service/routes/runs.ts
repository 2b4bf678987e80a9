import { readdir, readFile, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';

import { z } from 'zod';

import type { EpochMetrics } from '../../../models/training/train.js';
import { type EvaluationOutcome, readEvaluation } from '../../evaluate.js';
import { readDescription, type RunDescription } from '../../runs.js';
import { ServiceError } from '../errors.js';
import {
  errorMessage,
  type RunMessage,
  runMessage,
  runsMessage,
  type RunSummary,
} from '../messages.js';
import type { ServiceApp, ServiceParts } from '../parts.js';
import { pathInside } from '../recordings.js';

const tags = ['runs'];
/** A folder directly below that of the runs. */
const params = z.object({
  id: z.string().regex(/^[^/\\\0]{1,255}$/, 'expected the name of a run'),
});
/** Run folders that are listed, and bytes of a history that are read, at most. */
const mostRuns = 500;
const mostHistoryBytes = 16 * 2 ** 20;

/** What training has left behind. */
export function addRunRoutes(app: ServiceApp, { runsFolder }: ServiceParts): void {
  app.get(
    '/api/runs',
    { schema: { tags, summary: 'run folders, the newest first', response: { 200: runsMessage } } },
    async () => {
      if (runsFolder === undefined) return { available: false, runs: [], truncated: false };
      const entries = await readdir(runsFolder, { withFileTypes: true }).catch(() => []);
      const folders = entries.filter((entry) => entry.isDirectory()).slice(0, mostRuns);
      const runs: RunSummary[] = [];
      for (const { name } of folders) {
        const run = await summarise(join(runsFolder, name)).catch(() => undefined);
        if (run !== undefined) runs.push(run);
      }
      runs.sort((a, b) => b.modifiedMs - a.modifiedMs);
      return {
        available: true,
        runs,
        truncated: folders.length < entries.length && folders.length === mostRuns,
      };
    },
  );

  app.get(
    '/api/runs/:id',
    {
      schema: {
        tags,
        summary: 'one run',
        params,
        response: { 200: runMessage, 404: errorMessage },
      },
    },
    async ({ params: { id } }) => {
      if (runsFolder === undefined) throw new ServiceError('missing', 'see --runs');
      const folder = await pathInside(runsFolder, id);
      const description = await readDescription(folder);
      if (description === undefined) throw new ServiceError('missing', `not a run: ${id}`);
      return describeRun(id, folder, description);
    },
  );
}

async function summarise(folder: string): Promise<RunSummary | undefined> {
  const description = await readDescription(folder);
  if (description === undefined) return undefined;
  const { experiment, classes, synthetic } = description;
  const history = await readHistory(folder);
  const { kind } = experiment.model;
  const preset = 'preset' in experiment.model ? ` ${experiment.model.preset}` : '';
  const accuracies = history
    .map(({ validationAccuracy }) => validationAccuracy)
    .filter(Number.isFinite);
  return {
    id: basename(folder),
    name: experiment.name,
    model: `${kind}${preset}`,
    classes: classes.length,
    synthetic,
    epochs: history.length,
    totalEpochs: experiment.training.epochs,
    bestAccuracy: accuracies.length === 0 ? null : Math.max(...accuracies),
    modifiedMs: (await stat(folder)).mtimeMs,
  };
}

async function describeRun(
  id: string,
  folder: string,
  { experiment, classes, synthetic }: RunDescription,
): Promise<RunMessage> {
  const { name, seed, dataset, preprocess, model, training } = experiment;
  const { representation, bins, height, width } = preprocess;
  const history = await readHistory(folder);
  const parts = ['validation', 'test'] as const;
  const evaluations = await Promise.all(
    parts.map((part) => readEvaluation(folder, part).catch(() => undefined)),
  );
  return {
    id,
    config: {
      name,
      seed,
      // Not where it lies.
      dataset: basename(dataset.path),
      representation,
      input: { bins, height, width },
      model,
      training: {
        ...training,
        ...(training.initialise !== undefined && { initialise: basename(training.initialise) }),
      },
    },
    classes: [...classes],
    synthetic,
    history: history.map((epoch) => ({
      ...epoch,
      firingRates: { ...epoch.firingRates },
      validationLoss: finite(epoch.validationLoss),
      validationAccuracy: finite(epoch.validationAccuracy),
    })),
    evaluations: evaluations.flatMap((outcome) =>
      outcome === undefined ? [] : [evaluationOf(outcome)],
    ),
  };
}

function evaluationOf({
  part,
  looks,
  selected,
}: EvaluationOutcome): RunMessage['evaluations'][number] {
  const { loss, accuracy, balancedAccuracy, classes, confusion } = selected;
  const interval = accuracy.interval95;
  return {
    part,
    looks,
    loss,
    accuracy: accuracy.value,
    accuracyInterval: interval && [interval[0], interval[1]],
    balancedAccuracy,
    classes: classes.map((entry) => ({ ...entry })),
    confusion: confusion.map((row) => [...row]),
  };
}

/** The epochs of a run; lines that are cut off or damaged are left out. An epoch that was repeated counts once. */
async function readHistory(folder: string): Promise<EpochMetrics[]> {
  const path = join(folder, 'metrics.jsonl');
  const info = await stat(path).catch(() => undefined);
  if (info === undefined || info.size > mostHistoryBytes) return [];
  const epochs = new Map<number, EpochMetrics>();
  for (const line of (await readFile(path, 'utf8')).split('\n')) {
    try {
      const epoch = JSON.parse(line) as EpochMetrics;
      if (Number.isInteger(epoch.epoch)) epochs.set(epoch.epoch, epoch);
    } catch {
      // The line that is being written.
    }
  }
  return [...epochs.values()].sort((a, b) => a.epoch - b.epoch);
}

function finite(value: number | null): number | null {
  return typeof value === 'number' && Number.isFinite(value) ? value : null;
}

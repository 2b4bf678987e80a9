import { join, resolve } from 'node:path';

import { SaccadeError } from '../../engine/support/errors.js';
import { type Dataset, openDataset, openLabelled } from '../../ingest/datasets/index.js';
import { summarise } from '../../ingest/recording.js';
import { simulateDataset } from '../../ingest/simulator/index.js';
import type { EvaluationOutcome } from '../../workers/evaluate.js';
import type { Experiment } from '../../workers/experiment.js';
import { cacheVariable } from '../cacheFolder.js';
import { backendOption } from '../experimentOptions.js';
import { type CommandIo, note, print, type RegisterCommand } from '../io.js';
import { examples } from '../options.js';
import { packageFile } from '../packageFile.js';
import { createProgress, durationText } from '../progress.js';
import { describeEvaluation, runEvaluation } from './eval.js';
import { runStream } from './stream.js';
import { describeTraining, runTraining } from './train.js';

interface Options {
  readonly data?: string;
  readonly out: string;
  readonly backend?: string;
}

/** The synthetic set: small enough for minutes, with persons enough to hold some out. */
const simulated = {
  subjects: 15,
  repetitions: 2,
  seed: 7,
  gestures: [
    'hand_clapping',
    'right_hand_wave',
    'left_hand_wave',
    'right_arm_clockwise',
    'left_arm_counter_clockwise',
    'arm_roll',
    'air_drums',
    'air_guitar',
  ],
} as const;

/** Windows of other recordings, µs, where these are not shorter. */
const longestWindowUs = 800_000;
/** Training clips that other recordings may take through all epochs, so that a demo stays one. */
const clipBudget = 16_000;

export const registerDemo: RegisterCommand = (program, io) => {
  program
    .command('demo')
    .summary('show the whole pipeline, from recordings to a recognised action')
    .description(
      'Makes a SYNTHETIC set of gestures (or takes a folder of recordings, one sub-folder per class), ' +
        'prepares it, trains the nano SpikMamba, evaluates on what it has not seen, and streams one unseen ' +
        'recording bin by bin. Fails (exit code 7) where the accuracy is not clearly above chance.',
    )
    .option('--data <folder>', 'recordings, one sub-folder per class (default: simulated gestures)')
    .option('--out <folder>', 'folder for everything that is made', 'runs/demo')
    .addOption(backendOption())
    .addHelpText(
      'after',
      examples(
        ['saccade demo', 'simulated gestures'],
        ['saccade demo --data recordings --out runs/mine', 'your own recordings'],
      ),
    )
    .action((options: Options) => demo(io, options));
};

async function demo(io: CommandIo, { data, out, backend }: Options): Promise<void> {
  const startMs = Date.now();
  const step = (number: number, title: string): void => note(io, '', `${number}. ${title}`);

  step(1, data === undefined ? 'Simulate gestures (SYNTHETIC recordings)' : `Open ${data}`);
  const folder = data ?? (await simulateSet(io, join(out, 'recordings')));
  const dataset = await openDataset(folder);
  const experiment = await demoExperiment(dataset, data === undefined);

  step(2, 'Prepare the recordings and train the nano SpikMamba');
  const run = join(out, 'run');
  const options = { backend, json: false, cache: io.env[cacheVariable] || join(out, 'cache') };
  const trained = await runTraining(io, experiment, run, { ...options, fresh: true });
  print(io, ...describeTraining(run, trained));

  step(3, `Evaluate on ${data === undefined ? 'persons' : 'recordings'} that it has not seen`);
  const outcome = await runEvaluation(io, run, { ...options, part: 'test' });
  print(io, ...describeEvaluation(outcome));

  step(4, 'Stream one unseen recording, bin by bin');
  await streamOne(io, run, dataset, experiment);

  note(
    io,
    '',
    `All of it took ${durationText(Date.now() - startMs)}; everything made is in ${out}.`,
  );
  requireAboveChance(outcome, data === undefined ? 2 : 1);
}

async function simulateSet(io: CommandIo, folder: string): Promise<string> {
  const { subjects, repetitions, seed, gestures } = simulated;
  const total = gestures.length * subjects * repetitions;
  const progress = createProgress({ label: 'simulate', total, stream: io.stderr });
  await simulateDataset(
    { folder, subjects, repetitions, seed, gestures },
    { signal: io.signal, onProgress: (done) => progress.update(done) },
  ).finally(() => progress.done());
  return folder;
}

/** The demo's experiment on a data set; for recordings of others, windows and epochs are fitted to them. */
async function demoExperiment(dataset: Dataset, synthetic: boolean): Promise<Experiment> {
  const { readExperiment } = await import('../../workers/experiment.js');
  const experiment = await readExperiment(packageFile('configs/demo.yaml'));
  const changed = {
    ...experiment,
    dataset: { ...experiment.dataset, path: resolve(dataset.root) },
  };
  if (synthetic) return changed;
  const samples = await sampleRecordings(dataset);
  const durationsUs = samples.map(({ durationUs }) => durationUs);
  // Short recordings are clips already, long ones are cut.
  const cut = median(durationsUs) > longestWindowUs;
  const windowUs = cut ? longestWindowUs : Math.max(...durationsUs) + 1;
  const sampledClips = durationsUs.reduce((sum, us) => sum + Math.max(1, us / windowUs), 0);
  const clips = (dataset.recordings.length * sampledClips) / samples.length;
  const epochs = Math.ceil(Math.min(40, Math.max(5, clipBudget / clips)));
  const pixels = Math.max(1, Math.round(median(samples.map(({ width }) => width)) / 16));
  return {
    ...changed,
    name: `demo on ${dataset.name}`,
    preprocess: {
      ...experiment.preprocess,
      window: { kind: 'time', windowUs, incomplete: cut ? 'drop' : 'pad' },
      augmentations: [`translate:${pixels}`, 'dropEvents:0.3'],
    },
    training: { ...experiment.training, epochs },
  };
}

interface Sample {
  readonly durationUs: number;
  /** Of the sensor, in pixels. */
  readonly width: number;
}

/** Up to 24 recordings spread over a data set; those without events are left out. */
async function sampleRecordings({ recordings, root }: Dataset): Promise<Sample[]> {
  const stride = Math.ceil(recordings.length / 24);
  const samples: Sample[] = [];
  for (const recording of recordings.filter((_, i) => i % stride === 0)) {
    const { tFirstUs, tLastUs, width } = await summarise(await openLabelled(recording));
    if (tFirstUs === null || tLastUs === null) continue;
    samples.push({ durationUs: Math.max(0, tLastUs - tFirstUs), width });
  }
  if (samples.length === 0) {
    throw new SaccadeError('input', 'its recordings hold no events', { file: root });
  }
  return samples;
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
}

/** Streams a recording of the test part, so that the carried-state model is seen at work. */
async function streamOne(
  io: CommandIo,
  run: string,
  dataset: Dataset,
  experiment: Experiment,
): Promise<void> {
  const [{ loadModel }, { splitOf }] = await Promise.all([
    import('../../workers/runs.js'),
    import('../../workers/prepare.js'),
  ]);
  const [{ recording }] = splitOf(experiment, dataset).test;
  print(io, `${recording.id} shows ${dataset.classes[recording.label]}:`);
  const loaded = await loadModel(run);
  await runStream(io, loaded, await openLabelled(recording), {});
}

/**
 * @param factor how many times chance the accuracy must be at least, at the lower end of its interval.
 * @throws SaccadeError of kind `result` where it is not.
 */
function requireAboveChance({ selected }: EvaluationOutcome, factor: number): void {
  const { accuracy, classes } = selected;
  const total = classes.reduce((sum, { support }) => sum + support, 0);
  // Whoever always names the most frequent class is right that often.
  const chance = Math.max(...classes.map(({ support }) => support)) / total;
  const low = accuracy.interval95?.[0] ?? 0;
  if (low > factor * chance) return;
  const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
  throw new SaccadeError(
    'result',
    `the accuracy may be as low as ${percent(low)} (95 % interval), and naming one class all the time gives ` +
      `${percent(chance)}: expected more than ${factor === 1 ? '' : `${factor} times `}that`,
  );
}

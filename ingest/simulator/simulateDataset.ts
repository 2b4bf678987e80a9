import { access, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeFileAtomically } from '../../engine/support/atomicFile.js';
import { SaccadeError } from '../../engine/support/errors.js';
import type { EventBatch } from '../eventBatch.js';
import { throwIfAborted } from '../bytes.js';
import { formatByName } from '../formats/index.js';
import { writeRecording } from '../recording.js';
import { gestures } from './gestures.js';
import { resolveScene, type SceneOptions, simulateGesture } from './simulateGesture.js';

/** Raised whenever the same options give other events, so that a half-made set is not continued. */
export const simulatorVersion = 1;

export interface SimulateDatasetOptions extends SceneOptions {
  /** Folder to write to; made where missing. */
  readonly folder: string;
  /** Number of persons, each doing every gesture. */
  readonly subjects: number;
  /** Recordings of each gesture by each person. */
  readonly repetitions: number;
  /** Keys of `gestures`, in the order of the labels; all by default. */
  readonly gestures?: readonly string[];
  /** Default 0. */
  readonly seed?: number;
  /** Name of an event format. Default `es`. */
  readonly format?: string;
}

export interface SimulateDatasetContext {
  readonly signal?: AbortSignal;
  /** Called once at the start and after each recording, with the recordings that are there. */
  readonly onProgress?: (done: number, total: number) => void;
}

/**
 * Writes a labelled action set of synthetic recordings, `<folder>/<gesture>/subject07_2.es`, and
 * `<folder>/dataset.json` with its description. Each recording depends on the scene, the seed, the
 * person, the gesture and the repetition alone. Can be interrupted and called again: recordings that
 * are there are kept.
 *
 * @returns how many recordings the set has and how many of them were written now.
 * @throws SaccadeError (`usage`) for a wrong option, or where the folder holds a set of other options;
 *   (`interrupted`) when the signal fires; (`environment`) where the folder cannot be written.
 */
export async function simulateDataset(
  options: SimulateDatasetOptions,
  context: SimulateDatasetContext = {},
): Promise<{ recordings: number; written: number }> {
  const { folder, seed = 0, format = 'es' } = options;
  const description = describeDataset(options, seed, format);
  const descriptionPath = join(folder, 'dataset.json');
  await checkSameDataset(descriptionPath, description);
  // The description comes first: without it, recordings of other options could get mixed in.
  const text = `${JSON.stringify(description, undefined, 2)}\n`;
  await writeFileAtomically(descriptionPath, text).catch((error: unknown) => {
    throw new SaccadeError('environment', 'cannot be written', { file: descriptionPath }, error);
  });

  const total = description.recordings.length;
  let written = 0;
  context.onProgress?.(0, total);
  for (const [index, recording] of description.recordings.entries()) {
    throwIfAborted(context.signal, folder);
    const path = join(folder, recording.file);
    // Files appear whole or not at all, so one that is there is complete.
    if (!(await exists(path))) {
      const batches = simulateGesture({
        ...options,
        seed,
        gesture: recording.label,
        subjectSeed: recording.subjectSeed,
        repetition: recording.repetition,
      });
      const { sensor } = description;
      await writeRecording(path, asAsync(batches), { sensor, format, signal: context.signal });
      written++;
    }
    context.onProgress?.(index + 1, total);
  }
  return { recordings: total, written };
}

/** What `dataset.json` holds. */
function describeDataset(options: SimulateDatasetOptions, seed: number, format: string) {
  const classes = options.gestures ?? Object.keys(gestures);
  for (const name of classes) {
    if (!Object.hasOwn(gestures, name)) {
      const known = Object.keys(gestures).join(', ');
      throw usage('gestures', `unknown gesture "${name}", known are ${known}`);
    }
  }
  if (classes.length === 0 || new Set(classes).size < classes.length) {
    throw usage('gestures', 'expected one or more names, each once');
  }
  for (const field of ['subjects', 'repetitions'] as const) {
    if (!Number.isInteger(options[field]) || options[field] < 1 || options[field] > 10_000) {
      const message = `expected a whole number from 1 to 10000, got ${options[field]}`;
      throw usage(field, message);
    }
  }
  if (!Number.isSafeInteger(seed)) throw usage('seed', `expected a whole number, got ${seed}`);
  const { extensions } = formatByName(format);
  const digits = Math.max(2, String(options.subjects).length);
  const recordings = [];
  for (let subjectSeed = 1; subjectSeed <= options.subjects; subjectSeed++) {
    const subject = `subject${String(subjectSeed).padStart(digits, '0')}`;
    for (const label of classes) {
      for (let repetition = 1; repetition <= options.repetitions; repetition++) {
        const file = `${label}/${subject}_${repetition}.${extensions[0]}`;
        recordings.push({ file, label, subject, subjectSeed, repetition });
      }
    }
  }
  return {
    name: 'synthetic gestures',
    synthetic: true,
    generator: 'saccade simulator',
    generatorVersion: simulatorVersion,
    seed,
    format,
    subjects: options.subjects,
    repetitions: options.repetitions,
    ...resolveScene(options),
    classes,
    recordings,
  };
}

type Description = ReturnType<typeof describeDataset>;

/** A set that is there already must be this one; all but the list of recordings is compared. */
async function checkSameDataset(path: string, wanted: Description): Promise<void> {
  if (!(await exists(path))) return;
  let found: Record<string, unknown>;
  try {
    found = JSON.parse(await readFile(path, 'utf8')) as Record<string, unknown>;
  } catch (error) {
    const message = 'not readable as JSON, so it is not clear what the folder holds; use another';
    throw new SaccadeError('usage', message, { file: path }, error);
  }
  const different = Object.entries(wanted)
    .filter(([field]) => field !== 'recordings')
    .filter(([field, value]) => JSON.stringify(found[field]) !== JSON.stringify(value))
    .map(
      ([field, value]) =>
        `${field} is ${JSON.stringify(found[field])}, not ${JSON.stringify(value)}`,
    );
  if (different.length > 0) {
    const message = `the folder holds a set of other options (${different.join('; ')}); use another folder`;
    throw new SaccadeError('usage', message, { file: path });
  }
}

function usage(field: string, message: string): SaccadeError {
  return new SaccadeError('usage', message, { field });
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

async function* asAsync(batches: Iterable<EventBatch>): AsyncGenerator<EventBatch> {
  yield* batches;
}

import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';

import * as tf from '@tensorflow/tfjs-core';

import { writeFileAtomically } from '../engine/support/atomicFile.js';
import { SaccadeError } from '../engine/support/errors.js';
import { readCheckpoint } from '../models/checkpoints/checkpoint.js';
import type { InputShape, Model } from '../models/model.js';
import { createModel } from '../models/networks/index.js';
import { flatten, Initialiser, disposeTree, type ParameterTree } from '../models/parameters.js';
import { checkpointNames } from '../models/training/loop.js';
import { parseRepresentation } from '../preprocess/representations/index.js';
import { parseExperiment, type Experiment } from './experiment.js';

/** An experiment together with the classes that its data set had; part of every checkpoint. */
export interface RunDescription {
  readonly experiment: Experiment;
  readonly classes: readonly string[];
  /** Whether the recordings were simulated. */
  readonly synthetic: boolean;
  /** What was learned, where it was not to classify. */
  readonly task?: 'pretraining';
}

/** Name of the description's own copy in a run folder, for people to read. */
export const descriptionName = 'experiment.json';

/** The shape that an experiment's preprocessing gives. */
export function inputShape({ preprocess }: Experiment): InputShape {
  const { representation, bins, height, width } = preprocess;
  return { bins, channels: parseRepresentation(representation).channels, height, width };
}

export async function writeDescription(folder: string, description: RunDescription): Promise<void> {
  await writeFileAtomically(
    join(folder, descriptionName),
    `${JSON.stringify(description, null, 2)}\n`,
  );
}

/** The description that an earlier start left in a run folder, if there is one. */
export async function readDescription(folder: string): Promise<RunDescription | undefined> {
  const path = join(folder, descriptionName);
  const text = await readFile(path, 'utf8').catch(() => undefined);
  if (text === undefined) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new SaccadeError('input', 'is not JSON; remove it to start the run anew', { file: path });
  }
  return checkDescription(value, path);
}

/** A trained model, ready to be applied. */
export interface LoadedModel extends RunDescription {
  readonly path: string;
  readonly model: Model;
  readonly parameters: ParameterTree;
}

/**
 * Loads a model from a checkpoint file, or from a run folder (the epoch selected on validation, otherwise
 * the last).
 *
 * @throws SaccadeError of kind `input` where there is none, it is damaged, or its tensors don't fit its
 *   own description.
 */
export async function loadModel(path: string): Promise<LoadedModel> {
  const file = await findCheckpoint(path);
  const { parameters, metadata } = await readCheckpoint(file);
  const description = checkDescription(metadata.experiment, file);
  const { experiment, classes, task } = description;
  if (task === 'pretraining') {
    disposeTree(parameters);
    throw new SaccadeError(
      'input',
      'is pretrained and cannot classify yet; train from it: saccade train CONFIG --init FOLDER',
      { file },
    );
  }
  const model = createModel(experiment.model, inputShape(experiment), classes.length);
  const expected = model.initialise(new Initialiser(0));
  try {
    const found = flatten(parameters);
    for (const [name, { shape }] of flatten(expected)) {
      const actual = found.get(name)?.shape;
      if (actual === undefined || actual.join() !== shape.join()) {
        throw new SaccadeError(
          'input',
          `expected shape [${shape.join(', ')}], found ${actual === undefined ? 'no such tensor' : `[${actual.join(', ')}]`}`,
          { file, field: name },
        );
      }
    }
  } finally {
    disposeTree(expected);
  }
  return { ...description, path: file, model, parameters };
}

/**
 * The weights that a run starts from: of any run or checkpoint, whatever it has learned.
 *
 * @throws SaccadeError of kind `input` where there are none.
 */
export async function loadLeaves(
  path: string,
): Promise<{ readonly path: string; readonly leaves: ReadonlyMap<string, tf.Tensor> }> {
  const file = await findCheckpoint(path);
  const { parameters, optimiser } = await readCheckpoint(file);
  tf.dispose([...(optimiser?.m.values() ?? []), ...(optimiser?.v.values() ?? [])]);
  return { path: file, leaves: flatten(parameters) };
}

/** The checkpoint that a path means: itself, or the selected or last one of a run folder. */
export async function findCheckpoint(path: string): Promise<string> {
  const info = await stat(path).catch(() => {
    throw new SaccadeError(
      'input',
      'no such file or folder; expected a .safetensors checkpoint or a run folder',
      { file: path },
    );
  });
  if (!info.isDirectory()) return path;
  for (const name of [checkpointNames.best, checkpointNames.last]) {
    const file = join(path, name);
    if (await stat(file).catch(() => undefined)) return file;
  }
  throw new SaccadeError(
    'input',
    `holds neither ${checkpointNames.best} nor ${checkpointNames.last}: not the folder of a run`,
    { file: path },
  );
}

function checkDescription(value: unknown, file: string): RunDescription {
  const { experiment, classes, synthetic, task } = (value ?? {}) as Partial<RunDescription>;
  if (experiment === undefined || !Array.isArray(classes)) {
    throw new SaccadeError('input', 'holds no description of its experiment', { file });
  }
  return {
    experiment: parseExperiment(experiment, file),
    classes,
    synthetic: synthetic === true,
    ...(task === 'pretraining' && { task }),
  };
}

/** The run folder that a checkpoint lies in. */
export async function runFolderOf(path: string): Promise<string> {
  return (await stat(path)).isDirectory() ? path : dirname(path);
}

/** SHA-256 of a checkpoint file: what was made for its weights fits no others. */
export async function checkpointHash(path: string): Promise<string> {
  return createHash('sha256')
    .update(await readFile(path))
    .digest('hex');
}

/** The experiment with another folder of its data set, where one is given. */
export function withData(experiment: Experiment, path?: string): Experiment {
  if (path === undefined) return experiment;
  return { ...experiment, dataset: { ...experiment.dataset, path: resolve(path) } };
}

/** @throws SaccadeError of kind `input` where a data set has other classes than a model knows. */
export function requireSameClasses(
  found: readonly string[],
  expected: readonly string[],
  file: string,
): void {
  if (found.join('/') === expected.join('/')) return;
  throw new SaccadeError(
    'input',
    `has the classes ${found.join(', ')}, but the model knows ${expected.join(', ')}`,
    { file },
  );
}

import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';

import { SaccadeError } from '../../engine/support/errors.js';
import { hashSample } from '../../ingest/contentHash.js';
import type { Experiment } from '../experiment.js';

/** What a job reads: a file, or many of them that are told as one. */
export type JobInput = string | FileSet;

export interface FileSet {
  /** Its folder. */
  readonly path: string;
  readonly files: readonly string[];
  /** What it is besides its files, such as their labels; plain data. */
  readonly about: unknown;
}

/** Content hashes of what a job reads, by path, as it was when the job was submitted. */
export type InputHashes = Readonly<Record<string, string>>;

/** Hashes that were made, by path. */
type KnownHashes = Map<string, Promise<string | undefined>>;

/**
 * Hashes files: their size, and pieces spread over them (`hashSample`). What is not there yet or only where the worker runs
 * is left out.
 *
 * @param paths those of `inputs` to hash (default: all).
 * @param known hashes that need not be made again.
 */
export async function hashInputs(
  inputs: readonly JobInput[],
  paths: readonly string[] = inputs.map(pathOf),
  known: KnownHashes = new Map(),
): Promise<InputHashes> {
  const sets = new Map(inputs.flatMap((input) => (typeof input === 'string' ? [] : [[input.path, input]]))); // prettier-ignore
  const hashes: Record<string, string> = {};
  for (const path of paths) {
    const set = sets.get(path);
    const hash = await (set === undefined ? hashFileOnce(path, known) : hashSet(set, known));
    if (hash !== undefined) hashes[path] = hash;
  }
  return hashes;
}

/** @throws SaccadeError of kind `input` that names the file, or set of them, which is another one by now. */
export async function checkInputs(
  hashes: InputHashes,
  inputs: readonly JobInput[] = [],
): Promise<void> {
  const now = await hashInputs(inputs, Object.keys(hashes));
  for (const [path, wanted] of Object.entries(hashes)) {
    if (now[path] === wanted) continue;
    const change = now[path] === undefined ? 'is no longer there' : 'has changed';
    throw new SaccadeError('input', `${change} since the job was submitted; submit it again`, {
      file: path,
    });
  }
}

export function pathOf(input: JobInput): string {
  return typeof input === 'string' ? input : input.path;
}

/** Characters of paths that a job lists; where a data set has more, it is one input. */
const mostListed = 32_768;
const hashLength = 50;

/** The data set of an experiment: its recordings, and what is said about them. None where it cannot be opened here. */
export async function datasetInputs({
  dataset: { path, layout },
}: Pick<Experiment, 'dataset'>): Promise<readonly JobInput[]> {
  const { openDataset } = await import('../../ingest/datasets/index.js');
  const dataset = await openDataset(path, layout).catch((error: unknown) => {
    if (error instanceof SaccadeError) return undefined;
    throw error;
  });
  if (dataset === undefined) return [];
  const { classes, recordings } = dataset;
  const about = [
    classes,
    recordings.map(({ id, label, subject, split, range }) => [id, label, subject, split, range]),
  ];
  const files = [...new Set(recordings.map((recording) => recording.path))];
  const length = files.reduce((sum, file) => sum + file.length + hashLength, 0);
  return length > mostListed ? [{ path, files, about }] : [{ path, files: [], about }, ...files];
}

/**
 * What a checkpoint, or those of a run folder, are read with: the weights, the run's configuration, and with `data` the
 * data set that it names.
 *
 * @param data folder of the data set in place of the one that is named; false where it is not read.
 */
export async function runInputs(
  path: string,
  data: string | undefined | false,
): Promise<readonly JobInput[]> {
  const { descriptionName, readDescription, withData } = await import('../runs.js');
  const { checkpointNames } = await import('../../models/training/loop.js');
  const isFolder = (await stat(path).catch(() => undefined))?.isDirectory() === true;
  const folder = isFolder ? path : dirname(path);
  const weights = isFolder
    ? Object.values(checkpointNames).map((name) => join(path, name))
    : [path];
  const files = [...weights, join(folder, descriptionName)];
  const description = data === false ? undefined : await readDescription(folder).catch(() => undefined); // prettier-ignore
  if (description === undefined || data === false) return files;
  return [...files, ...(await datasetInputs(withData(description.experiment, data)))];
}

async function hashSet({ files, about }: FileSet, known: KnownHashes): Promise<string> {
  const hash = createHash('sha256').update(JSON.stringify(about));
  for (const file of files) hash.update(`${await hashFileOnce(file, known)}\n`);
  return hash.digest('hex').slice(0, 32);
}

function hashFileOnce(path: string, known: KnownHashes): Promise<string | undefined> {
  let hash = known.get(path);
  if (hash === undefined) known.set(path, (hash = hashInput(path)));
  return hash;
}

async function hashInput(path: string): Promise<string | undefined> {
  const info = await stat(path).catch(() => undefined);
  if (info?.isFile() !== true) return undefined;
  return `${info.size}-${(await hashSample(path, info.size)).slice(0, 32)}`;
}

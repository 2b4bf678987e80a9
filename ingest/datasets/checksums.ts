import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { writeFileAtomically } from '../../engine/support/atomicFile.js';
import { SaccadeError } from '../../engine/support/errors.js';
import { throwIfAborted } from '../bytes.js';
import { compareText, type Dataset } from './dataset.js';
import { openLabelled } from './openLabelled.js';

/** The manifest of a data set, at its root: lines that `sha256sum -c` understands. */
export const checksumFile = 'SHA256SUMS';

export interface CheckContext {
  readonly signal?: AbortSignal;
  /** Called once at the start and after each file. */
  readonly onProgress?: (done: number, total: number) => void;
}

/** What is wrong with a file of a data set. */
export interface DatasetProblem {
  /** Path relative to the data set's root, with `/`. */
  readonly file: string;
  readonly problem: string;
}

/** The files of the recordings, relative to the root, each once. */
function filesOf({ recordings }: Dataset): string[] {
  return [...new Set(recordings.map(({ id }) => id.replace(/#\d+$/, '')))].sort(compareText);
}

async function sha256(path: string, signal?: AbortSignal): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) {
    throwIfAborted(signal, path);
    hash.update(chunk as Buffer);
  }
  return hash.digest('hex');
}

/** Writes the checksums of all recordings to `SHA256SUMS` at the root. Returns how many there are. */
export async function writeChecksums(
  dataset: Dataset,
  { signal, onProgress }: CheckContext = {},
): Promise<number> {
  const files = filesOf(dataset);
  const lines: string[] = [];
  onProgress?.(0, files.length);
  for (const [index, file] of files.entries()) {
    lines.push(`${await sha256(join(dataset.root, file), signal)}  ${file}\n`);
    onProgress?.(index + 1, files.length);
  }
  await writeFileAtomically(join(dataset.root, checksumFile), lines.join(''));
  return files.length;
}

/**
 * Checks each recording: it is there, its checksum is that of `SHA256SUMS` (where there is one), it opens, and it
 * has events, also in the range that is labelled.
 *
 * @returns what is wrong, in the order of the files; nothing where all is well.
 * @throws SaccadeError (`input`) for a damaged `SHA256SUMS`; (`interrupted`) when the signal fires.
 */
export async function checkDataset(
  dataset: Dataset,
  { signal, onProgress }: CheckContext = {},
): Promise<DatasetProblem[]> {
  const expected = await readChecksums(dataset.root);
  const files = [...new Set([...filesOf(dataset), ...expected.keys()])].sort(compareText);
  const problems: DatasetProblem[] = [];
  onProgress?.(0, files.length);
  for (const [index, file] of files.entries()) {
    throwIfAborted(signal, dataset.root);
    const found = await checkFile(dataset, file, expected, signal);
    problems.push(...found.map((problem) => ({ file, problem })));
    onProgress?.(index + 1, files.length);
  }
  return problems;
}

async function readChecksums(root: string): Promise<Map<string, string>> {
  const path = join(root, checksumFile);
  const text = await readFile(path, 'utf8').catch(() => '');
  const sums = new Map<string, string>();
  for (const [index, line] of text.split('\n').entries()) {
    if (line === '') continue;
    const [, sum, file] = /^([0-9a-f]{64}) [ *](.+)$/.exec(line) ?? [];
    if (sum === undefined) {
      const message = `line ${index + 1}: expected a SHA-256 sum, two blanks and a path`;
      throw new SaccadeError('input', message, { file: path });
    }
    sums.set(file, sum);
  }
  return sums;
}

async function checkFile(
  dataset: Dataset,
  file: string,
  expected: ReadonlyMap<string, string>,
  signal?: AbortSignal,
): Promise<string[]> {
  const path = join(dataset.root, file);
  const status = await stat(path).catch(() => undefined);
  if (!status?.isFile()) return ['missing'];
  const sum = expected.get(file);
  if (sum !== undefined && sum !== (await sha256(path, signal))) {
    return [`damaged: its SHA-256 sum is not that of ${checksumFile}`];
  }
  const problems: string[] = [];
  for (const recording of dataset.recordings) {
    if (recording.path !== path && recording.id.replace(/#\d+$/, '') !== file) continue;
    try {
      const opened = await openLabelled(recording, { signal });
      let events = 0;
      for await (const batch of opened.batches({ signal })) events += batch.length;
      const { damageCount, damages } = opened.report;
      if (events === 0) problems.push(`${recording.id} has no events`);
      if (damageCount > 0) {
        const [{ offset, message }] = damages;
        problems.push(`damaged in ${damageCount} places, the first at byte ${offset}: ${message}`);
      }
    } catch (error) {
      if (!(error instanceof SaccadeError) || error.kind === 'interrupted') throw error;
      problems.push(error.message);
    }
  }
  return [...new Set(problems)];
}

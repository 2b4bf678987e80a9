import { stat } from 'node:fs/promises';

import { SaccadeError } from '../../engine/support/errors.js';
import { hashSample } from '../../ingest/contentHash.js';

/** Files that a job reads, by path: size and hash, as they were when it was submitted. */
export type InputHashes = Readonly<Record<string, string>>;

/** Hashes files. Folders, and what is not there yet or only where the worker runs, are left out. */
export async function hashInputs(paths: readonly string[]): Promise<InputHashes> {
  const hashes: Record<string, string> = {};
  for (const path of paths) {
    const hash = await hashInput(path);
    if (hash !== undefined) hashes[path] = hash;
  }
  return hashes;
}

/** @throws SaccadeError of kind `input` that names the file which is another one by now. */
export async function checkInputs(hashes: InputHashes): Promise<void> {
  for (const [path, wanted] of Object.entries(hashes)) {
    const found = await hashInput(path);
    if (found === wanted) continue;
    const change = found === undefined ? 'is no longer there' : 'has changed';
    throw new SaccadeError('input', `${change} since the job was submitted; submit it again`, {
      file: path,
    });
  }
}

async function hashInput(path: string): Promise<string | undefined> {
  const info = await stat(path).catch(() => undefined);
  if (info?.isFile() !== true) return undefined;
  return `${info.size}-${(await hashSample(path, info.size)).slice(0, 32)}`;
}

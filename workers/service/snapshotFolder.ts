import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';

import { removeTemporaries, writeFileAtomically } from '../../engine/support/atomicFile.js';
import { makeFolders } from '../../engine/support/folders.js';
import { streamId } from './messages.js';

const ending = '.safetensors';

/** Where the snapshots of streams stay when the service ends or is killed: a file each, of the stream's name. */
export class SnapshotFolder {
  /** Each write waits for the one before, so that the last word on a stream is the last one written. */
  private work: Promise<void> = Promise.resolve();

  constructor(
    private readonly folder: string,
    private readonly onProblem: (message: string) => void,
  ) {}

  /** What an earlier service left; files of other names are not its. */
  async read(): Promise<Map<string, Uint8Array>> {
    await makeFolders(this.folder);
    await removeTemporaries(this.folder, true);
    const found = new Map<string, Uint8Array>();
    for (const name of (await readdir(this.folder)).sort()) {
      const id = name.slice(0, -ending.length);
      if (!name.endsWith(ending) || !streamId.safeParse(id).success) continue;
      found.set(id, await readFile(join(this.folder, name)));
    }
    return found;
  }

  /** Puts a snapshot there, or takes it away; resolves when that is done. */
  keep(id: string, snapshot: Uint8Array | undefined): Promise<void> {
    const path = join(this.folder, `${id}${ending}`);
    return (this.work = this.work
      .then(() =>
        snapshot === undefined ? rm(path, { force: true }) : writeFileAtomically(path, snapshot),
      )
      .catch((error: Error) => this.onProblem(`${path}: ${error.message}`)));
  }

  /** Resolves when all is written. */
  async close(): Promise<void> {
    await this.work;
  }
}

import { randomBytes } from 'node:crypto';
import { mkdirSync, rmSync } from 'node:fs';
import { link, readdir, rm, stat } from 'node:fs/promises';
import { hostname } from 'node:os';
import { basename, join } from 'node:path';

import { makeFolders } from '../../engine/support/folders.js';

/** The folder in a cache that has one folder for each hold. */
export const holdsName = 'in-use';

/** A hold of another machine counts for so long, since nobody can ask there whether its process lives. */
const foreignHoldMs = 7 * 24 * 3600 * 1000;

/**
 * Keeps files of a cache while they are in use: each gets a second name (a hard link) in a folder of the
 * hold. So they stay readable under that name whatever is evicted meanwhile, and whoever evicts sees by their
 * number of names that they are in use; neither needs a lock.
 */
export interface CacheHold {
  /**
   * Holds a file.
   *
   * @returns the name to read it by; its own where it is not there, or the file system has no hard links.
   */
  keep(path: string): Promise<string>;
  /** Lets go of all files. Happens by itself when the process exits. */
  release(): Promise<void>;
}

/** Begins a hold of this process on a cache. */
export function holdCache(folder: string): CacheHold {
  const name = `${hostname()}-${process.pid}-${randomBytes(4).toString('hex')}`;
  const holder = join(folder, holdsName, name);
  let made = false;
  const onExit = (): void => rmSync(holder, { recursive: true, force: true });
  return {
    async keep(path) {
      if (!made) {
        await makeFolders(join(folder, holdsName));
        mkdirSync(holder, { recursive: true });
        process.once('exit', onExit);
        made = true;
      }
      const held = join(holder, basename(path));
      try {
        await link(path, held);
        return held;
      } catch (error) {
        return (error as NodeJS.ErrnoException).code === 'EEXIST' ? held : path;
      }
    },
    async release() {
      process.off('exit', onExit);
      await rm(holder, { recursive: true, force: true });
      made = false;
    },
  };
}

/** Removes the holds of processes that were killed. */
export async function removeDeadHolds(folder: string): Promise<void> {
  const names = await readdir(join(folder, holdsName)).catch(() => []);
  for (const name of names) {
    const path = join(folder, holdsName, name);
    const [, host, id] = /^(.*)-(\d+)-[0-9a-f]+$/.exec(name) ?? [];
    const alive =
      host === hostname()
        ? isAlive(Number(id))
        : Date.now() - ((await stat(path).catch(() => undefined))?.mtimeMs ?? 0) < foreignHoldMs;
    if (!alive) await rm(path, { recursive: true, force: true });
  }
}

/** Whether a process of this machine is there. */
export function isAlive(processId: number): boolean {
  try {
    process.kill(processId, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

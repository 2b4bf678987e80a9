import { randomBytes } from 'node:crypto';
import { link, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

import { SaccadeError } from './errors.js';
import { makeFolders } from './folders.js';

/** Who holds a lock. A process's number is used again one day, so its start counts as well. */
interface Owner {
  readonly pid: number;
  /** Boot and start of the process where the system tells (Linux), otherwise empty. */
  readonly started: string;
  readonly released?: boolean;
}

export interface ProcessLock {
  /** Lets others have it. The end of the process does so too, whichever way it ends. */
  release(): Promise<void>;
}

/**
 * Takes a lock that one process of this machine holds at a time, and that falls free when its holder dies,
 * `kill -9` included. Files on a disk shared between machines are not protected.
 *
 * The lock is a row of files `path.1`, `path.2` …: the highest number is valid. A new holder makes the next one
 * with `link`, which only one can do, looks whether a higher one has come, and removes the lower ones. The
 * highest is never removed, so a number is never used for two holders.
 *
 * @param path place of the lock; missing folders are made.
 * @returns undefined where another living process (or another lock of this one) holds it.
 */
export async function tryProcessLock(path: string): Promise<ProcessLock | undefined> {
  await makeFolders(dirname(path));
  const temporary = `${path}.${process.pid}-${randomBytes(4).toString('hex')}.tmp`;
  const owner: Owner = { pid: process.pid, started: startOf(process.pid) ?? '' };
  await writeFile(temporary, JSON.stringify(owner));
  try {
    for (;;) {
      const highest = Math.max(0, ...(await generations(path)));
      if (highest > 0 && (await isHeld(`${path}.${highest}`))) return undefined;
      const mine = `${path}.${highest + 1}`;
      try {
        await link(temporary, mine);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'EEXIST') continue;
        throw error;
      }
      const after = await generations(path);
      if (Math.max(...after) > highest + 1) {
        await rm(mine, { force: true });
        continue;
      }
      const lower = after.filter((generation) => generation <= highest);
      await Promise.all(lower.map((generation) => rm(`${path}.${generation}`, { force: true })));
      return {
        release: async () => {
          const text = JSON.stringify({ ...owner, released: true });
          await writeFile(mine, text).catch((error: NodeJS.ErrnoException) => {
            // The folder may be gone by now, and the lock with it.
            if (error.code !== 'ENOENT') throw error;
          });
        },
      };
    }
  } finally {
    await rm(temporary, { force: true });
  }
}

/**
 * Waits for a lock.
 *
 * @param what names the thing in the error.
 * @throws SaccadeError of kind `environment` where it is not free within `patienceMs`.
 */
export async function processLock(
  path: string,
  what: string,
  patienceMs = 0,
): Promise<ProcessLock> {
  const end = Date.now() + patienceMs;
  for (;;) {
    const lock = await tryProcessLock(path);
    if (lock !== undefined) return lock;
    if (Date.now() >= end) {
      throw new SaccadeError('environment', `${what} is in use by another process`, {
        file: dirname(path),
      });
    }
    await new Promise((done) => setTimeout(done, 50));
  }
}

async function generations(path: string): Promise<number[]> {
  const prefix = `${basename(path)}.`;
  return (await readdir(dirname(path)))
    .filter((name) => name.startsWith(prefix) && /^[1-9]\d*$/.test(name.slice(prefix.length)))
    .map((name) => Number(name.slice(prefix.length)));
}

async function isHeld(file: string): Promise<boolean> {
  let owner: Owner;
  try {
    owner = JSON.parse(await readFile(file, 'utf8')) as Owner;
  } catch (error) {
    // Gone: a higher one has come. Half written: it is being released.
    return (error as NodeJS.ErrnoException).code !== 'ENOENT' && !(error instanceof SyntaxError);
  }
  if (owner.released) return false;
  const started = startOf(owner.pid);
  if (started === undefined) return false;
  return owner.started === '' || started === '' || owner.started === started;
}

/** Boot and start of a living process; empty where the system doesn't tell; undefined where it is dead. */
function startOf(pid: number): string | undefined {
  try {
    process.kill(pid, 0);
  } catch (error) {
    // EPERM: it lives, and belongs to someone else.
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return undefined;
  }
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    const stat = readFileSync(join('/proc', String(pid), 'stat'), 'utf8');
    // The name in brackets may hold spaces: state is the first field after it, start the twentieth.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (fields[0] === 'Z' || fields[0] === 'X') return undefined;
    return `${boot} ${fields[19]}`;
  } catch {
    return '';
  }
}

import { rm, utimes } from 'node:fs/promises';

import { SaccadeError } from '../../engine/support/errors.js';
import type { CacheHold } from './hold.js';

/** Between being made and being held, a file may be evicted by another process; so often in a row is no chance. */
const attempts = 3;

/**
 * Opens a file of the cache, or makes it where there is none or a damaged one.
 *
 * @param hold keeps the file while it is in use; it is then opened under a name of its own.
 */
export async function keptOrMade<T>(
  path: string,
  open: (path: string) => T | undefined,
  hold: CacheHold | undefined,
  make: () => Promise<void>,
): Promise<{ kept: T; made: boolean }> {
  for (let attempt = 0; attempt < attempts; attempt++) {
    const kept = await openKept(path, open, hold);
    if (kept !== undefined) return { kept, made: attempt > 0 };
    await make();
  }
  const kept = await openKept(path, open, hold);
  if (kept !== undefined) return { kept, made: true };
  throw new SaccadeError('environment', 'was written but cannot be read back', { file: path });
}

async function openKept<T>(
  path: string,
  open: (path: string) => T | undefined,
  hold: CacheHold | undefined,
): Promise<T | undefined> {
  const held = hold === undefined ? path : await hold.keep(path);
  const kept = open(held);
  if (kept === undefined) {
    // A damaged one must not stay in the way of the one that is made anew.
    if (held !== path) await rm(held, { force: true });
    return undefined;
  }
  // What was used last is evicted last.
  const now = new Date();
  await utimes(path, now, now).catch(() => undefined);
  return kept;
}

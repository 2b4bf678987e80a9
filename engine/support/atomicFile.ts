import { randomBytes } from 'node:crypto';
import { type FileHandle, open, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

import { makeFolders } from './folders.js';

/**
 * Writes a file so that readers see the old content or the whole new content, never a part: the bytes
 * go to a temporary neighbour, which is synced and renamed over the target.
 *
 * @param path target; missing parent folders are made.
 * @param content the bytes at once, or in chunks as they come.
 * @param finish called with the written file before it takes its place, to change what it could not know before.
 */
export async function writeFileAtomically(
  path: string,
  content: string | Uint8Array | AsyncIterable<Uint8Array>,
  finish?: (file: FileHandle) => Promise<void>,
): Promise<void> {
  await makeFolders(dirname(path));
  const temporary = `${path}.${process.pid}-${randomBytes(4).toString('hex')}.tmp`;
  try {
    const file = await open(temporary, 'w');
    try {
      if (typeof content === 'string' || content instanceof Uint8Array) {
        await file.writeFile(content);
      } else {
        for await (const chunk of content) await file.writeFile(chunk);
      }
      await finish?.(file);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

/**
 * Removes what killed processes left of a file that they were writing (or, with a folder, of any file in it). For
 * those who know that nobody writes it now.
 */
export async function removeTemporaries(path: string, isFolder = false): Promise<void> {
  const folder = isFolder ? path : dirname(path);
  const start = isFolder ? '' : `${basename(path)}.`;
  const names = await readdir(folder).catch(() => []);
  await Promise.all(
    names
      .filter((name) => name.startsWith(start) && /\.\d+-[0-9a-f]{8}\.tmp$/.test(name))
      .map((name) => rm(join(folder, name), { force: true })),
  );
}

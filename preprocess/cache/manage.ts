import { readdir, readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';

import { writeFileAtomically } from '../../engine/support/atomicFile.js';
import { holdsName, isAlive, removeDeadHolds } from './hold.js';

const limitName = 'limit.json';

/** A file that is being written belongs to a dead process where nothing has come for so long. */
const abandonedMs = 10 * 60 * 1000;

/** One file of a cache. */
export interface CacheEntry {
  readonly path: string;
  /** Windows of a recording, or their tensors. */
  readonly kind: 'windows' | 'tensors';
  readonly bytes: number;
  /** When it was last opened, ms since 1970. */
  readonly usedMs: number;
  /** Whether a process holds it. */
  readonly inUse: boolean;
}

export interface Eviction {
  /** Files that were removed, and their bytes. */
  readonly removed: number;
  readonly removedBytes: number;
  /** Bytes that are left. */
  readonly bytes: number;
}

/** The files of a cache, the one that was used longest ago first; holds of dead processes do not count. */
export async function listCache(folder: string): Promise<CacheEntry[]> {
  await removeDeadHolds(folder);
  const entries: CacheEntry[] = [];
  for (const path of await files(folder)) {
    const kind = path.endsWith('.shard')
      ? 'windows'
      : path.endsWith('.tensors')
        ? 'tensors'
        : undefined;
    const status = kind === undefined ? undefined : await stat(path).catch(() => undefined);
    if (kind === undefined || status === undefined) continue;
    const { size, mtimeMs, nlink } = status;
    entries.push({ path, kind, bytes: size, usedMs: mtimeMs, inUse: nlink > 1 });
  }
  return entries.sort((a, b) => a.usedMs - b.usedMs);
}

/** Removes everything that no process holds, and what killed processes have left. */
export async function clearCache(folder: string): Promise<Eviction> {
  return evict(folder, 0);
}

/** The most bytes that a cache may have; undefined where there is no limit. */
export async function cacheLimit(folder: string): Promise<number | undefined> {
  try {
    const { bytes } = JSON.parse(await readFile(join(folder, limitName), 'utf8')) as {
      bytes?: unknown;
    };
    return typeof bytes === 'number' ? bytes : undefined;
  } catch {
    return undefined;
  }
}

/** Sets the most bytes that a cache may have, for all processes, and keeps to it. */
export async function setCacheLimit(folder: string, bytes: number | undefined): Promise<Eviction> {
  const path = join(folder, limitName);
  if (bytes === undefined) await rm(path, { force: true });
  else await writeFileAtomically(path, `${JSON.stringify({ bytes })}\n`);
  return evict(folder, bytes ?? Infinity);
}

/**
 * Removes files that no process holds, the one that was used longest ago first, until the cache keeps to its
 * limit. What is in use stays, so the cache may be larger for a while.
 */
export async function enforceLimit(folder: string): Promise<Eviction | undefined> {
  const limit = await cacheLimit(folder);
  return limit === undefined ? undefined : evict(folder, limit);
}

async function evict(folder: string, limit: number): Promise<Eviction> {
  await removeAbandoned(folder);
  const entries = await listCache(folder);
  let bytes = entries.reduce((sum, entry) => sum + entry.bytes, 0);
  let [removed, removedBytes] = [0, 0];
  for (const entry of entries) {
    if (bytes <= limit) break;
    if (entry.inUse) continue;
    await rm(entry.path, { force: true });
    removed++;
    removedBytes += entry.bytes;
    bytes -= entry.bytes;
  }
  return { removed, removedBytes, bytes };
}

/** Removes the unfinished files of processes that were killed. */
async function removeAbandoned(folder: string): Promise<void> {
  for (const path of await files(folder)) {
    const [, id] = /\.(\d+)-[0-9a-f]+\.tmp$/.exec(path) ?? [];
    if (id === undefined || isAlive(Number(id))) continue;
    const status = await stat(path).catch(() => undefined);
    if (status !== undefined && Date.now() - status.mtimeMs > abandonedMs) {
      await rm(path, { force: true });
    }
  }
}

/** All files of the cache itself, without those of holds. */
async function files(folder: string): Promise<string[]> {
  const found: string[] = [];
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  for (const entry of entries) {
    if (!entry.isDirectory() || entry.name === holdsName) continue;
    const names = await readdir(join(folder, entry.name)).catch(() => []);
    found.push(...names.map((name) => join(folder, entry.name, name)));
  }
  return found;
}

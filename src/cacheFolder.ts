import { access, constants } from 'node:fs/promises';
import { resolve } from 'node:path';

import { makeFolders } from '../engine/support/folders.js';

/** The variable that names the folder of prepared clips. */
export const cacheVariable = 'SACCADE_CACHE';

/** Where prepared clips are kept: `SACCADE_CACHE`, otherwise `.saccade/cache` in the working folder. */
export function cacheFolder(env: Readonly<Record<string, string | undefined>>): string {
  return resolve(env[cacheVariable] || '.saccade/cache');
}

/** Why a folder, which is made where missing, cannot be written; undefined where it can. */
export async function whyNotWritable(folder: string): Promise<string | undefined> {
  try {
    await makeFolders(folder);
    await access(folder, constants.W_OK);
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

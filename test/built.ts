import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

// Some tests go to another working folder.
const root = resolve('dist');

/** A module of the build: threads can be started of built code only. */
export function built<Module>(path: string): Promise<Module> {
  return import(/* @vite-ignore */ pathToFileURL(resolve(root, path)).href) as Promise<Module>;
}

import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

/** A module of the build: threads can be started of built code only. */
export function built<Module>(path: string): Promise<Module> {
  return import(/* @vite-ignore */ pathToFileURL(resolve('dist', path)).href) as Promise<Module>;
}

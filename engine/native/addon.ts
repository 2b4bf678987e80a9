import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';

import { packageRoot } from '../support/packageRoot.js';

/** An array that a kernel reads or writes in place. */
export type KernelArray = Float32Array | Int32Array | Uint16Array | Uint8Array | Float64Array;

/** A kernel of the addon: arrays and settings by position, results written into the arrays. */
export type NativeFunction = (...values: (KernelArray | number | boolean)[]) => void;

/** Kernels by name. */
export type Kernels = Readonly<Record<string, NativeFunction>>;

interface AddonServices {
  /** Memory on a cache line's bound, not cleared. */
  allocate(bytes: number): ArrayBuffer;
  setThreads(count: number): void;
  threads(): number;
  /** The instruction set in use, and those that this processor offers. */
  instructionSet(): string;
  instructionSets(): string[];
  limitInstructionSet(name: 'portable' | 'avx2' | 'best'): void;
}

/** The compiled addon (`src/*.cc`): its services, and its kernels under `kernels`. */
export interface Addon extends AddonServices {
  readonly path: string;
  readonly kernels: Kernels;
}

/** The environment variable that sets how many threads compute. */
export const threadsVariable = 'SACCADE_THREADS';

let loaded: Addon | undefined;

/**
 * Loads the addon once per process: one built here, otherwise a prebuilt one.
 *
 * @throws Error saying what is missing.
 */
export function loadAddon(): Addon {
  if (loaded !== undefined) return loaded;
  const folder = join(packageRoot(), 'engine', 'native');
  const candidates = [
    join(folder, 'build', 'Release', 'saccade.node'),
    join(folder, 'prebuilds', `${process.platform}-${process.arch}`, 'saccade.node'),
  ];
  const load = createRequire(import.meta.url);
  const reasons: string[] = [];
  for (const path of candidates.filter((candidate) => existsSync(candidate))) {
    try {
      const module = load(path) as AddonServices & Record<string, NativeFunction>;
      module.setThreads(wantedThreads());
      loaded = Object.assign(Object.create(module) as AddonServices, { path, kernels: module });
      return loaded;
    } catch (error) {
      reasons.push((error as Error).message.split('\n')[0]);
    }
  }
  // What went wrong at install (install.mjs).
  const failure = join(folder, 'build', 'failure.txt');
  if (existsSync(failure)) reasons.push(readFileSync(failure, 'utf8').trim());
  const none = `no addon was built, and none is prebuilt for ${process.platform}-${process.arch}`;
  throw new Error(reasons.length === 0 ? none : reasons.join('; '));
}

/** `SACCADE_THREADS`, otherwise as many as the process may use cores. */
function wantedThreads(): number {
  const wanted = Number(process.env[threadsVariable]);
  return Number.isInteger(wanted) && wanted > 0 ? wanted : availableParallelism();
}

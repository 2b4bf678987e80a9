import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** An array that a kernel reads or writes in place. */
export type KernelArray = Float32Array | Int32Array | Uint8Array | Float64Array;

/** A kernel of the addon: arrays and settings by position, results written into the arrays. */
export type NativeFunction = (...values: (KernelArray | number | boolean)[]) => void;

interface AddonServices {
  /** Memory on a cache line's bound, not cleared. */
  allocate(bytes: number): ArrayBuffer;
  setThreads(count: number): void;
  threads(): number;
  instructionSet(): string;
  limitInstructionSet(name: 'portable' | 'avx2' | 'best'): void;
}

/** The compiled addon (`src/*.cc`): its services, and its kernels under `kernels`. */
export interface Addon extends AddonServices {
  readonly path: string;
  readonly kernels: Readonly<Record<string, NativeFunction>>;
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
  const path = candidates.find((candidate) => existsSync(candidate));
  if (path === undefined) {
    throw new Error(
      `no addon was built, and none is prebuilt for ${process.platform}-${process.arch}`,
    );
  }
  const module = createRequire(import.meta.url)(path) as AddonServices &
    Record<string, NativeFunction>;
  module.setThreads(wantedThreads());
  loaded = Object.assign(Object.create(module) as AddonServices, { path, kernels: module });
  return loaded;
}

/** `SACCADE_THREADS`, otherwise as many as the process may use cores. */
function wantedThreads(): number {
  const wanted = Number(process.env[threadsVariable]);
  return Number.isInteger(wanted) && wanted > 0 ? wanted : availableParallelism();
}

/** The folder of Saccade's package.json: sources lie at different depths before and after a build. */
function packageRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  for (;;) {
    const manifest = join(folder, 'package.json');
    if (existsSync(manifest)) {
      const { name } = JSON.parse(readFileSync(manifest, 'utf8')) as { name?: string };
      if (name === 'saccade') return folder;
    }
    const parent = dirname(folder);
    if (parent === folder) throw new Error('package.json of saccade not found');
    folder = parent;
  }
}

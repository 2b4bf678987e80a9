import { existsSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { delimiter, dirname, join } from 'node:path';

/** A C function, called with numbers, bigints, strings and typed arrays. */
export type ForeignFunction = (...values: unknown[]) => unknown;

/** A shared library and the path under which it was found. */
export interface Library {
  readonly path: string;
  /** Declares a function by its C prototype. */
  func(prototype: string): ForeignFunction;
}

interface Koffi {
  load(path: string): { func(prototype: string): ForeignFunction };
  address(value: unknown): bigint;
  view(address: bigint, bytes: number): ArrayBuffer;
  array(type: string, length: number): unknown;
  struct(name: string, members: Readonly<Record<string, unknown>>): unknown;
}

/** The environment variable that names folders with CUDA's libraries, before all others. */
export const librariesVariable = 'SACCADE_CUDA_LIBRARIES';

let foreign: Koffi | undefined;

/** @throws Error saying how to install it, where `koffi` is not there. */
function koffi(): Koffi {
  try {
    foreign ??= createRequire(import.meta.url)('koffi') as Koffi;
    return foreign;
  } catch (error) {
    throw new Error(`the package koffi cannot be loaded (${(error as Error).message})`, {
      cause: error,
    });
  }
}

let compareMemory: ForeignFunction | undefined;

/** Whether all bytes are 0; as fast as memory is read. */
export function allZero(values: ArrayBufferView): boolean {
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  if (bytes.length < 4096) return bytes.every((byte) => byte === 0);
  // Most arrays show it early.
  for (let i = 0; i < 4096; i += 61) if (bytes[i] !== 0) return false;
  const { load } = koffi();
  const runtime = process.platform === 'win32' ? 'msvcrt.dll' : 'libc.so.6';
  compareMemory ??= load(runtime).func('int memcmp(const uint8_t *a, const uint8_t *b, size_t n)');
  return compareMemory(bytes, bytes.subarray(1), bytes.length - 1) === 0 && bytes[0] === 0;
}

/** Where the bytes of an array lie. They stay there as long as the array lives, if it is no tiny one. */
export function addressOf(bytes: ArrayBufferView): number {
  return Number(koffi().address(bytes));
}

/** Memory of C as an array. It must not be read or written once it is freed. */
export function memoryAt(address: bigint, bytes: number): Uint8Array {
  return new Uint8Array(koffi().view(address, bytes));
}

const structs = new Set<string>();

/** Declares a C structure `name` of that many bytes, for prototypes; its values are `{ bytes }`. */
export function byteStruct(name: string, length: number): void {
  if (structs.has(name)) return;
  koffi().struct(name, { bytes: koffi().array('uint8_t', length) });
  structs.add(name);
}

/** Functions of a library that return a status, 0 where all is well; declared by their C prototypes. */
export class StatusCalls {
  private readonly functions = new Map<string, ForeignFunction>();

  /** @param failure what is thrown for another status than 0. */
  constructor(
    private readonly library: Library,
    private readonly failure: (status: number, name: string) => Error,
  ) {}

  /** The status, whatever it is. */
  status(prototype: string, ...values: unknown[]): number {
    let found = this.functions.get(prototype);
    if (found === undefined) {
      found = this.library.func(prototype);
      this.functions.set(prototype, found);
    }
    return found(...values) as number;
  }

  /** @throws what `failure` makes, where the call fails. */
  call(prototype: string, ...values: unknown[]): void {
    const status = this.status(prototype, ...values);
    if (status !== 0) throw this.failure(status, /(\w+)\(/.exec(prototype)![1]);
  }

  /** Calls a function that puts a handle or an address behind its first argument. */
  make(prototype: string, ...values: unknown[]): bigint {
    const out = new BigUint64Array(16);
    this.call(prototype, out, ...values);
    return out[0];
  }
}

/**
 * Loads the first of `names` that is found.
 *
 * @param names file names, the preferred version first.
 * @param purpose what it is, for the error.
 * @throws Error naming what was looked for and where.
 */
export function openLibrary(names: readonly string[], purpose: string): Library {
  const { load } = koffi();
  const folders = [...libraryFolders()];
  const reasons: string[] = [];
  for (const folder of [...folders, undefined]) {
    for (const name of names) {
      const path = folder === undefined ? name : join(folder, name);
      if (folder !== undefined && !existsSync(path)) continue;
      try {
        const library = load(path);
        return { path, func: (prototype) => library.func(prototype) };
      } catch (error) {
        reasons.push((error as Error).message.split('\n')[0]);
      }
    }
  }
  throw new Error(
    `${purpose} is not found: none of ${names.join(', ')} in the system's folders` +
      `${folders.length > 0 ? `, ${folders.join(', ')}` : ''} (${reasons.at(-1)})`,
  );
}

/** Loads what lies beside a library and belongs to it, but is found only in the system's folders by itself. */
export function openCompanions({ path }: Library, prefix: string): void {
  for (const name of entries(dirname(path)).filter((file) => file.startsWith(prefix))) {
    try {
      koffi().load(join(dirname(path), name));
    } catch {
      // The library itself says what it misses.
    }
  }
}

/** Where users have CUDA: folders that they name, toolkits, and what Python packages bring along. */
function* libraryFolders(): Generator<string> {
  const { env } = process;
  const named = [env[librariesVariable], env.LD_LIBRARY_PATH].flatMap(
    (list) => list?.split(delimiter).filter((folder) => folder !== '') ?? [],
  );
  yield* named;
  const toolkits = [env.CUDA_HOME, env.CUDA_PATH].filter((folder) => folder !== undefined);
  const installed = entries('/usr/local').filter((name) => name.startsWith('cuda'));
  for (const root of [...toolkits, ...installed.map((name) => join('/usr/local', name))]) {
    for (const inner of ['lib64', 'targets/x86_64-linux/lib', 'targets/sbsa-linux/lib', 'bin']) {
      if (existsSync(join(root, inner))) yield join(root, inner);
    }
  }
}

function entries(folder: string): string[] {
  try {
    return readdirSync(folder).sort().reverse();
  } catch {
    return [];
  }
}

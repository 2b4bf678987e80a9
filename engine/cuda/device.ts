import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { packageRoot } from '../support/packageRoot.js';
import type { CudaBackend } from './backend.js';
import type { Compiler } from './compiler.js';
import type { DeviceFunction, DeviceModule } from './driver.js';
import type { DeviceArray } from './memory.js';

type Value = number | DeviceArray;

/** Threads of a block, where a kernel has no wish. */
export const blockThreads = 256;

/** Compiled kernels by file, name and definitions, and how they are started. */
export class Device {
  private readonly modules = new Map<string, DeviceModule>();
  private readonly functions = new Map<string, DeviceFunction>();
  private readonly common = source('common.cuh');
  private readonly sources = new Map<string, string>();

  constructor(
    readonly backend: CudaBackend,
    readonly compiler: Compiler,
  ) {}

  /**
   * A kernel of `source/<file>.cu`.
   *
   * @param types its arguments, a letter each (`Driver.launch`).
   */
  kernel(
    file: string,
    name: string,
    types: string,
    definitions: Readonly<Record<string, number>> = {},
  ): DeviceFunction {
    const settings = Object.entries(definitions).flat().join();
    const key = `${file}/${settings}/${name}`;
    const known = this.functions.get(key);
    if (known !== undefined) return known;
    const moduleKey = `${file}/${settings}`;
    let module = this.modules.get(moduleKey);
    if (module === undefined) {
      let text = this.sources.get(file);
      if (text === undefined) this.sources.set(file, (text = this.common + source(`${file}.cu`)));
      module = this.backend.driver.loadModule(this.compiler.compile(file, text, definitions));
      this.modules.set(moduleKey, module);
    }
    const found = module.function(name, types);
    this.functions.set(key, found);
    return found;
  }

  launch(
    kernel: DeviceFunction,
    grid: readonly [number, number?, number?],
    threads: readonly [number, number?],
    values: readonly Value[],
    sharedBytes?: number,
  ): void {
    this.backend.driver.launch(kernel, grid, threads, values.map(plain), sharedBytes);
  }

  /** Starts a kernel that walks over `count` items with any number of threads. */
  walk(kernel: DeviceFunction, count: number, values: readonly Value[]): void {
    if (count > 0) this.launch(kernel, [this.blocksFor(count)], [blockThreads], values);
  }

  /** Blocks that keep the device busy, and no more than there is work for. */
  blocksFor(count: number, perBlock = blockThreads): number {
    const most = 8 * this.backend.driver.multiprocessors;
    return Math.max(1, Math.min(Math.ceil(count / perBlock), most));
  }
}

/** An address or a number; an empty array, typed or not, is nowhere. */
function plain(value: Value): number {
  return typeof value === 'number' ? value : ((value.pointer as number | undefined) ?? 0);
}

function source(file: string): string {
  return readFileSync(join(packageRoot(), 'engine', 'cuda', 'source', file), 'utf8');
}

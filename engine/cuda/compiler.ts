import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

import { openCompanions, openLibrary, StatusCalls } from './libraries.js';

/** The environment variable that says where compiled kernels are kept. */
export const cacheVariable = 'SACCADE_CUDA_CACHE';

/**
 * Compiles CUDA C++ for one architecture with NVRTC. Results are kept on disk by source, options,
 * architecture and compiler, so that a program compiles once.
 */
export class Compiler {
  readonly version: string;
  readonly path: string;
  private readonly folder: string;
  private readonly calls: StatusCalls;

  /** @throws Error saying what is missing, where there is no NVRTC. */
  constructor(private readonly architecture: number) {
    const library = openLibrary(
      ['libnvrtc.so.13', 'libnvrtc.so.12', 'libnvrtc.so', 'nvrtc64_130_0.dll', 'nvrtc64_120_0.dll'],
      "NVRTC (CUDA's run-time compiler)",
    );
    openCompanions(library, 'libnvrtc-builtins.so');
    this.path = library.path;
    this.calls = new StatusCalls(
      library,
      (code, name) => new Error(`${name} failed (NVRTC error ${code})`),
    );
    const major = new Int32Array(16);
    const minor = new Int32Array(16);
    this.calls.call('int nvrtcVersion(int *major, int *minor)', major, minor);
    this.version = `${major[0]}.${minor[0]}`;
    this.folder =
      process.env[cacheVariable] ??
      join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'saccade', 'cuda');
  }

  /**
   * @param definitions preprocessor definitions.
   * @returns the machine code (cubin).
   * @throws Error with the compiler's messages.
   */
  compile(
    name: string,
    source: string,
    definitions: Readonly<Record<string, number | string>> = {},
  ): Uint8Array {
    const options = [
      `--gpu-architecture=sm_${this.architecture}`,
      '--std=c++17',
      '--extra-device-vectorization',
      ...Object.entries(definitions).map(([key, value]) => `-D${key}=${value}`),
    ];
    const key = createHash('sha256')
      .update(JSON.stringify([this.version, options, source]))
      .digest('hex');
    const path = join(this.folder, `${key}.cubin`);
    try {
      return readFileSync(path);
    } catch {
      // Not compiled yet.
    }
    const image = this.build(name, source, options);
    try {
      mkdirSync(this.folder, { recursive: true });
      const temporary = `${path}.${process.pid}`;
      writeFileSync(temporary, image);
      renameSync(temporary, path);
    } catch {
      // A folder that cannot be written costs time at the next start, nothing else.
    }
    return image;
  }

  private build(name: string, source: string, options: readonly string[]): Uint8Array {
    const out = new BigUint64Array(16);
    this.calls.call(
      'int nvrtcCreateProgram(uint64_t *program, const char *source, const char *name, int count, uint64_t headers, uint64_t names)',
      out,
      source,
      `${name}.cu`,
      0,
      0,
      0,
    );
    const program = out[0];
    try {
      const failed = this.calls.status(
        'int nvrtcCompileProgram(uint64_t program, int count, const char **options)',
        program,
        options.length,
        options,
      );
      if (failed !== 0) throw new Error(`${name}.cu does not compile:\n${this.log(program)}`);
      this.calls.call('int nvrtcGetCUBINSize(uint64_t program, uint64_t *bytes)', program, out);
      const image = new Uint8Array(Number(out[0]));
      this.calls.call('int nvrtcGetCUBIN(uint64_t program, uint8_t *image)', program, image);
      return image;
    } finally {
      out[0] = program;
      this.calls.status('int nvrtcDestroyProgram(uint64_t *program)', out);
    }
  }

  private log(program: bigint): string {
    const size = new BigUint64Array(16);
    this.calls.call('int nvrtcGetProgramLogSize(uint64_t program, uint64_t *bytes)', program, size);
    const text = Buffer.alloc(Number(size[0]));
    this.calls.call('int nvrtcGetProgramLog(uint64_t program, uint8_t *text)', program, text);
    return text.toString('utf8').replace(/\0+$/, '');
  }
}

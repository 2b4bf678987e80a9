import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { createInterface } from 'node:readline';

import { median } from './timing.js';

/** Debian's python3-torch belongs to the system's Python. */
const pythons = ['/usr/bin/python3', 'python3'];

/**
 * Kernels that OpenBLAS may be told to take. Left to itself, an OpenBLAS that is older than the processor falls back
 * to slow ones; the comparison is with the best that it has.
 */
const coreTypes = [undefined, 'Haswell', 'SkylakeX', 'Cooperlake', 'SapphireRapids'];

export interface PyTorch {
  /** Its version, and the kernels that OpenBLAS was told to take. */
  readonly description: string;
  /** Milliseconds of each repeat of a work in eager PyTorch. */
  time(work: string, repeats: number): Promise<number[]>;
  close(): void;
}

/** PyTorch on this machine, with its fastest matrix products; undefined where there is none. */
export async function findPyTorch(threads: number): Promise<PyTorch | undefined> {
  for (const python of pythons) {
    const found: { pytorch: PyTorch; ms: number }[] = [];
    for (const coreType of coreTypes) {
      const pytorch = await start(python, threads, coreType);
      const durations = await pytorch?.time('matMul1024', 8).catch(() => undefined);
      if (pytorch !== undefined && durations !== undefined) {
        found.push({ pytorch, ms: median(durations) });
      }
    }
    found.sort((a, b) => a.ms - b.ms);
    for (const { pytorch } of found.slice(1)) pytorch.close();
    if (found.length > 0) return found[0].pytorch;
  }
  return undefined;
}

/** Undefined where this Python has no PyTorch. */
async function start(
  python: string,
  threads: number,
  coreType: string | undefined,
): Promise<PyTorch | undefined> {
  const script = join('bench', 'torch', 'bench.py');
  if (!existsSync(script)) return undefined;
  const env: NodeJS.ProcessEnv = { ...process.env, OPENBLAS_NUM_THREADS: String(threads) };
  // Settings made for other programs would slow OpenBLAS down.
  delete env.OPENBLAS_CORETYPE;
  delete env.OPENBLAS_L2_SIZE;
  if (coreType !== undefined) env.OPENBLAS_CORETYPE = coreType;
  const child = spawn(python, [script, String(threads)], {
    env,
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  // A missing Python, and a pipe to one that crashed, show in the missing answer.
  child.on('error', () => {});
  child.stdin.on('error', () => {});
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const answer = async (): Promise<unknown> => {
    const { value, done } = await lines.next();
    if (done === true) throw new Error(`${python} ${script} ended`);
    return JSON.parse(value);
  };
  const version = await answer().catch(() => undefined);
  if (version === undefined) return undefined;
  return {
    description: `${version as string}, OpenBLAS's kernels: ${coreType ?? 'its own choice'}`,
    time(work, repeats) {
      child.stdin.write(`${work} ${repeats}\n`);
      return answer() as Promise<number[]>;
    },
    close: () => child.stdin.end(),
  };
}

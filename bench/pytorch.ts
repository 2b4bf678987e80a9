import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';

/** Debian's python3-torch belongs to the system's Python. */
const pythons = ['/usr/bin/python3', 'python3'];

export interface PyTorch {
  readonly version: string;
  /** Milliseconds of a work in eager PyTorch. */
  time(work: string, threads: number, repeats: number): number;
}

/** PyTorch on this machine; undefined where there is none. */
export function findPyTorch(): PyTorch | undefined {
  const script = join('bench', 'torch', 'bench.py');
  if (!existsSync(script)) return undefined;
  // Settings made for other programs would slow OpenBLAS down.
  const env = { ...process.env };
  delete env.OPENBLAS_CORETYPE;
  delete env.OPENBLAS_L2_SIZE;
  for (const python of pythons) {
    const run = (...args: string[]) => spawnSync(python, args, { encoding: 'utf8', env });
    const version = run('-c', 'import torch; print(torch.__version__)');
    if (version.status !== 0) continue;
    return {
      version: version.stdout.trim(),
      time(work, threads, repeats) {
        const { status, stdout, stderr } = run(script, String(threads), String(repeats), work);
        if (status !== 0) throw new Error(`${script} ${work}: ${stderr}`);
        return (JSON.parse(stdout) as { ms: Record<string, number> }).ms[work];
      },
    };
  }
  return undefined;
}

import { execFile, spawnSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { expect, it } from 'vitest';

const exec = promisify(execFile);
const source = join('engine', 'native', 'src');
const compiler = 'aarch64-linux-gnu-g++';
const emulator = 'qemu-aarch64';
const missing = [compiler, emulator].filter((name) => spawnSync(name, ['--version']).status !== 0);
if (missing.length > 0) {
  console.warn(`NEON kernels not tested: ${missing.join(' and ')} missing`);
}

it.skipIf(missing.length > 0)(
  'NEON kernels equal plain loops, in an emulator',
  async () => {
    const folder = await mkdtemp(join(tmpdir(), 'saccade-neon-'));
    try {
      const program = join(folder, 'neon');
      const here = join('test', 'engine', 'native');
      const files = [join(here, 'neon.cc'), join(source, 'parallel.cc'), join(source, 'cpu.cc')];
      const flags = ['-std=gnu++17', '-O2', '-static', '-pthread', '-ffp-contract=fast'];
      await exec(compiler, [...flags, '-I', source, '-I', here, ...files, '-o', program]);
      const { stdout } = await exec(emulator, [program]);
      expect(stdout).toBe('NEON\n');
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  },
  120_000,
);

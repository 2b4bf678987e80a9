import { execFile } from 'node:child_process';
import { readdir, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const sources = ['src', 'workers', 'models', 'preprocess', 'ingest', 'engine'];
const settings = ['package.json', 'tsconfig.json', 'tsconfig.build.json'];
/** `make` touches it after a build as well. */
const stamp = 'dist/.built';

/** Builds `dist` where sources are newer than it. */
export async function setup(): Promise<void> {
  const files = await Promise.all(
    sources.map(async (folder) =>
      (await readdir(folder, { recursive: true }))
        .filter((name) => name.endsWith('.ts'))
        .map((name) => join(folder, name)),
    ),
  );
  const times = await Promise.all([...settings, ...files.flat()].map(modifiedMs));
  if ((await modifiedMs(stamp)) >= Math.max(...times)) return;
  const before = new Date();
  await promisify(execFile)('node', [
    'node_modules/typescript/bin/tsc',
    '-p',
    'tsconfig.build.json',
  ]).catch(({ stdout }: { stdout: string }) => {
    throw new Error(`the build fails:\n${stdout}`);
  });
  await writeFile(stamp, '');
  // A source that was changed while the compiler ran is newer than that.
  await utimes(stamp, before, before);
}

async function modifiedMs(path: string): Promise<number> {
  return (await stat(path).catch(() => undefined))?.mtimeMs ?? 0;
}

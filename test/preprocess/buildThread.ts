import { build } from 'esbuild';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

/** Compiles the loader's thread as it is in the sources now; threads cannot run TypeScript. */
export async function buildLoaderThread(name: string): Promise<URL> {
  const outfile = resolve(`.cache/threads/${name}.mjs`);
  await build({
    entryPoints: [resolve('preprocess/loaderThread.ts')],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'esm',
    packages: 'external',
    logLevel: 'silent',
  });
  return pathToFileURL(outfile);
}

// Packs what a GPU host needs to run all checks (`run.mjs`) into one folder: the scripts as one file each, koffi, the
// kernels' sources. `saccade bundle --add` takes it along.
//
//   node bench/gpu/bundle.mjs FOLDER
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';

import { build } from 'esbuild';

const folder = process.argv[2] ?? '.cache/gpu';
mkdirSync(folder, { recursive: true });
for (const [source, name] of [
  ['bench/gpu/check.ts', 'check.mjs'],
  ['bench/gpu/bench.ts', 'bench.mjs'],
  ['bench/gpu/scanLayouts.ts', 'scanLayouts.mjs'],
  ['bench/gpu/nccl.ts', 'nccl.mjs'],
  // It is looked for beside what starts it.
  ['engine/transport/peersThread.ts', 'peersThread.js'],
]) {
  await build({
    entryPoints: [source],
    outfile: join(folder, name),
    bundle: true,
    format: 'esm',
    platform: 'node',
    external: ['koffi', '@tensorflow/tfjs-node', '@tensorflow/tfjs-node-gpu'],
    banner: {
      js: "import { createRequire as makeRequire } from 'node:module'; const require = makeRequire(import.meta.url);",
    },
    logLevel: 'error',
  });
}
// Streams against the service: with the packages of the bundle that it comes along with.
await build({
  entryPoints: ['bench/serve.ts'],
  outfile: join(folder, 'serve.mjs'),
  bundle: true,
  format: 'esm',
  platform: 'node',
  packages: 'external',
  logLevel: 'error',
});
// TensorFlow.js's own tests.
execFileSync(process.execPath, ['test/conformance/tfjs.mjs', '--bundle']);
for (const path of [
  'test/conformance/tfjs.mjs',
  '.cache/tfjs-suite/suite.mjs',
  'node_modules/jasmine-core',
]) {
  cpSync(path, join(folder, path), { recursive: true });
}
cpSync('bench/gpu/run.mjs', join(folder, 'run.mjs'));
const { version } = JSON.parse(readFileSync('package.json', 'utf8'));
writeFileSync(
  join(folder, 'package.json'),
  JSON.stringify({ name: 'saccade', version, type: 'module' }),
);
cpSync('engine/cuda/source', join(folder, 'engine/cuda/source'), { recursive: true });
for (const name of ['koffi', '@koromix']) {
  cpSync(join('node_modules', name), join(folder, 'node_modules', name), { recursive: true });
}

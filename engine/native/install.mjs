// Builds the native backend at install. Never fails: without a compiler, Saccade runs on `wasm` or `cpu`.
//
//   node engine/native/install.mjs            a prebuilt binary if one fits, otherwise a build
//   node engine/native/install.mjs --build    a build, whatever is there
//   node engine/native/install.mjs --prebuild a build, copied to prebuilds/<platform>-<arch>/
//
// SACCADE_SKIP_NATIVE=1 skips it.
import { spawnSync } from 'node:child_process';
import { error, log } from 'node:console';
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

const folder = dirname(fileURLToPath(import.meta.url));
const binary = join(folder, 'build', 'Release', 'saccade.node');
const stamp = join(folder, 'build', 'Release', 'sources.sha256');
const prebuilt = join(folder, 'prebuilds', `${process.platform}-${process.arch}`, 'saccade.node');
const [option] = process.argv.slice(2);

main();

function main() {
  if (process.env.SACCADE_SKIP_NATIVE === '1') return log('saccade: native backend skipped');
  if (option === undefined) {
    if (existsSync(binary) && existsSync(stamp) && readFileSync(stamp, 'utf8') === hash()) return;
    if (loads(prebuilt)) return log(`saccade: native backend prebuilt for ${process.platform}`);
  }
  const failure = build();
  if (failure !== undefined) {
    const show = option === undefined ? log : error;
    show(`saccade: no native backend (${failure}); Saccade works on wasm and cpu, only slower.`);
    show('saccade: install a C++17 compiler, make and Python 3, then `npm rebuild saccade`');
    show('saccade: (in a clone: `npm run native:build`); `saccade doctor` shows what is live.');
    process.exitCode = option === undefined ? 0 : 1;
    return;
  }
  writeFileSync(stamp, hash());
  if (option === '--prebuild') {
    mkdirSync(dirname(prebuilt), { recursive: true });
    copyFileSync(binary, prebuilt);
    log(`saccade: ${prebuilt}`);
  }
}

/** Builds with node-gyp; gives the reason if that fails. */
function build() {
  const require = createRequire(import.meta.url);
  try {
    require.resolve('node-addon-api');
  } catch {
    return 'node-addon-api is missing';
  }
  // npm names the node-gyp that it brings along.
  const nodeGyp = process.env.npm_config_node_gyp ?? findNodeGyp();
  if (nodeGyp === undefined) return 'node-gyp is missing';
  // Headers that came with Node spare a download.
  const prefix = dirname(dirname(process.execPath));
  const headers = existsSync(join(prefix, 'include', 'node', 'node_api.h'))
    ? [`--nodedir=${prefix}`]
    : [];
  const {
    status,
    error: failed,
    stdout,
    stderr,
  } = spawnSync(
    process.execPath,
    [
      nodeGyp,
      'rebuild',
      '--directory',
      folder,
      '--jobs',
      String(availableParallelism()),
      ...headers,
    ],
    { encoding: 'utf8', env: process.env },
  );
  if (failed !== undefined) return failed.message;
  if (status !== 0) {
    const output = `${stdout}${stderr}`;
    if (option !== undefined) error(output);
    const lines = output.split('\n');
    const reason =
      lines.find((line) => /error:|not found|could not find|ERR! stack Error/i.test(line)) ??
      `node-gyp ended with ${status}`;
    return reason.replace(/^gyp ERR! (stack )?/, '').trim();
  }
  return loads(binary) ? undefined : 'the built addon does not load';
}

function findNodeGyp() {
  const npm = join(dirname(process.execPath), '..', 'lib', 'node_modules', 'npm');
  const inside = join(npm, 'node_modules', 'node-gyp', 'bin', 'node-gyp.js');
  return existsSync(inside) ? inside : undefined;
}

function loads(path) {
  if (!existsSync(path)) return false;
  const { status } = spawnSync(process.execPath, ['-e', 'require(process.argv[1])', path]);
  return status === 0;
}

/** Of all that goes into the binary. */
function hash() {
  const sum = createHash('sha256').update(`${process.arch} ${process.versions.modules}`);
  const sources = readdirSync(join(folder, 'src')).sort();
  for (const path of ['binding.gyp', ...sources.map((name) => join('src', name))]) {
    sum.update(path).update(readFileSync(join(folder, path)));
  }
  return sum.digest('hex');
}

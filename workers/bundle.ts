import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join, relative } from 'node:path';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import { createGzip } from 'node:zlib';

import { writeFileAtomically } from '../engine/support/atomicFile.js';
import { SaccadeError } from '../engine/support/errors.js';
import { packageRoot } from '../engine/support/packageRoot.js';
import type { JobContext } from './job.js';

/** Packages that a bundle can be made without, by what is lost. All the others are needed by everything. */
export const bundleParts = {
  jobs: ['bullmq', 'bullmq-otel', 'ioredis', 'pg', '@electric-sql/pglite'],
  serve: [
    'fastify',
    'fastify-type-provider-zod',
    '@fastify/rate-limit',
    '@fastify/swagger',
    '@fastify/websocket',
    'prom-client',
    'uplot',
  ],
  tracing: [
    '@opentelemetry/exporter-trace-otlp-http',
    '@opentelemetry/resources',
    '@opentelemetry/sdk-trace-node',
  ],
  wasm: ['@tensorflow/tfjs-backend-wasm'],
} as const;

export type BundlePart = keyof typeof bundleParts;

export interface BundleJob {
  /** `.tar.xz` or `.tar.gz`. */
  readonly path: string;
  /** Executable of Node that goes into the bundle. */
  readonly node: string;
  readonly without: readonly BundlePart[];
  /** Folders that are added beside the package's own, as they are. */
  readonly extras?: readonly string[];
}

export interface BundleOutcome {
  readonly path: string;
  /** Of the archive, and of what is in it. */
  readonly bytes: number;
  readonly unpackedBytes: number;
  /** The folder in it. */
  readonly folder: string;
  readonly node: string;
  readonly packages: number;
  readonly without: readonly BundlePart[];
  /** Whether the native backend's addon is in it. */
  readonly native: boolean;
}

/** What lies in the package's folder and is needed at run time, beside `node_modules`. */
const ownFolders = ['dist', 'configs', 'engine/cuda/source', 'workers/dashboard/page'];
const addonFolders = ['engine/native/build/Release', 'engine/native/prebuilds'];

/** Files of packages that nothing needs at run time. */
const idleFile = /\.(map|tsx?|[mc]ts|flow|md|markdown|tsbuildinfo)$|[_.]test\.js$/i;
const idleFolder = /^(tests?|__tests__|examples?|docs|\.github)$/;

/** Large packages of which a few files are used: those that match are kept. */
const usedFiles: readonly (readonly [name: RegExp, files: RegExp])[] = [
  // Not what is for browsers and bundlers.
  [/^@tensorflow\//, /\.node\.js$|\.wasm$/],
  [/^core-js$/, /^$/],
  [/^dejavu-fonts-ttf$/, /DejaVuSans\.ttf$/],
  [/^h5wasm$/, /^dist\/node\//],
];

/** POSIX shell without any program beside it: the host may have an empty PATH. */
const launcher = `#!/bin/sh
case "$0" in */*) here="\${0%/*}" ;; *) here=. ;; esac
exec "$here/node" "$here/lib/dist/src/cli.js" "$@"
`;

/**
 * Packs Node, the built project and the packages that it uses into one archive, for machines of this kind
 * (system, processor, C library) that have neither Node nor a network: unpack it and run `saccade` in it.
 *
 * @throws SaccadeError of kind `usage` for another ending, `environment` where the project is not built or
 *   `tar` cannot pack, `input` where there is no such Node.
 */
export async function bundleJob(job: BundleJob, context: JobContext = {}): Promise<BundleOutcome> {
  const compression = compressionOf(job.path);
  const version = await nodeVersion(job.node);
  const root = packageRoot();
  if (!existsSync(join(root, 'dist/src/cli.js'))) {
    throw new SaccadeError('environment', 'the project is not built; run `npm run build`', {
      file: root,
    });
  }
  const stage = await mkdtemp(join(tmpdir(), 'saccade-bundle-'));
  try {
    const folder = basename(job.path).replace(/\.tar\.\w+$/, '');
    const target = join(stage, folder);
    const lib = join(target, 'lib');
    await mkdir(lib, { recursive: true });
    await cp(job.node, join(target, 'node'), { dereference: true });
    await writeFile(join(target, 'saccade'), launcher, { mode: 0o755 });
    for (const name of ['package.json', 'LICENSE', 'README.md', 'CHANGELOG.md']) {
      await cp(join(root, name), join(lib, name));
    }
    for (const path of ownFolders) await copyUsed(join(root, path), join(lib, path));
    const addon = await copyAddon(root, lib);
    for (const path of job.extras ?? []) {
      await cp(path, join(lib, basename(path)), { recursive: true, dereference: true });
    }
    const wanted = await wantedPackages(root, job.without);
    const packages = await closure(root, wanted);
    for (const [path, name] of packages) {
      await copyUsed(path, join(lib, relative(root, path)), usedFilesOf(name));
      requireGoOn(context);
    }
    const unpackedBytes = await bytesOf(target);
    const mebibytes = Math.round(unpackedBytes / 2 ** 20);
    context.onMessage?.(`packing Node and ${packages.size} packages, ${mebibytes} MiB`);
    await writeFileAtomically(
      job.path,
      packed(stage, { folder, compression, unpackedBytes }, context),
    );
    const { size: bytes } = await stat(job.path);
    return {
      path: job.path,
      bytes,
      unpackedBytes,
      folder,
      node: version,
      packages: packages.size,
      without: job.without,
      native: addon,
    };
  } finally {
    await rm(stage, { recursive: true, force: true });
  }
}

type Compression = 'xz' | 'gz';

function compressionOf(path: string): Compression {
  const ending = /\.tar\.(xz|gz)$/.exec(path)?.[1];
  if (ending !== undefined) return ending as Compression;
  throw new SaccadeError('usage', 'expected a name that ends with .tar.xz or .tar.gz', {
    file: path,
  });
}

async function nodeVersion(node: string): Promise<string> {
  try {
    const { stdout } = await promisify(execFile)(node, ['--version']);
    return stdout.trim().replace(/^v/, '');
  } catch (error) {
    const reason = (error as Error).message.split('\n')[0];
    throw new SaccadeError('input', `is no Node that runs here (${reason})`, { file: node }, error);
  }
}

function usedFilesOf(name: string): RegExp | undefined {
  return usedFiles.find(([names]) => names.test(name))?.[1];
}

/** Copies a folder without what nothing uses; packages inside it are copied by themselves. */
async function copyUsed(from: string, to: string, used?: RegExp): Promise<void> {
  await cp(from, to, {
    recursive: true,
    dereference: true,
    filter: async (path) => {
      const name = basename(path);
      if (path === from) return true;
      if ((await stat(path)).isDirectory())
        return name !== 'node_modules' && !idleFolder.test(name);
      if (name === 'package.json' || /^licen[cs]e/i.test(name)) return true;
      return used === undefined ? !idleFile.test(name) : used.test(relative(from, path));
    },
  });
}

/** The native backend's addon, where there is one: its kernels choose by the processor when they run. */
async function copyAddon(root: string, lib: string): Promise<boolean> {
  let found = false;
  for (const folder of addonFolders) {
    const inner = folder.endsWith('prebuilds') ? `${process.platform}-${process.arch}` : '';
    const path = join(folder, inner, 'saccade.node');
    if (!existsSync(join(root, path))) continue;
    await cp(join(root, path), join(lib, path));
    found = true;
  }
  return found;
}

interface Manifest {
  readonly name: string;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

async function manifestOf(folder: string): Promise<Manifest> {
  return JSON.parse(await readFile(join(folder, 'package.json'), 'utf8')) as Manifest;
}

/** Dependencies that the built code names; types, and what is there to build with, are none. */
async function wantedPackages(root: string, without: readonly BundlePart[]): Promise<string[]> {
  const dropped = new Set<string>(without.flatMap((part) => bundleParts[part]));
  const { dependencies, optionalDependencies } = await manifestOf(root);
  const files = (await readdir(join(root, 'dist'), { recursive: true })).filter((name) =>
    name.endsWith('.js'),
  );
  const texts = await Promise.all(files.map((name) => readFile(join(root, 'dist', name), 'utf8')));
  return Object.keys({ ...dependencies, ...optionalDependencies }).filter(
    (name) =>
      !dropped.has(name) &&
      texts.some((text) =>
        [`'${name}'`, `'${name}/`, `"${name}"`, `"${name}/`].some((quoted) =>
          text.includes(quoted),
        ),
      ),
  );
}

/** Folders of packages and of all that they depend on, with their names. */
async function closure(root: string, names: readonly string[]): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  const add = async (name: string, from: string, optional: boolean): Promise<void> => {
    const path = findPackage(name, from, root);
    if (path === undefined) {
      // Optional ones are for other machines, or were left out here.
      if (optional) return;
      const message = `the package ${name} is missing; install with \`npm ci\``;
      throw new SaccadeError('environment', message, { file: from });
    }
    if (found.has(path)) return;
    found.set(path, name);
    const { dependencies = {}, optionalDependencies = {} } = await manifestOf(path);
    for (const each of Object.keys({ ...dependencies, ...optionalDependencies })) {
      await add(each, path, each in optionalDependencies);
    }
  };
  const { optionalDependencies = {} } = await manifestOf(root);
  for (const name of names) await add(name, root, name in optionalDependencies);
  return found;
}

/** Where Node would find a package from a folder on. */
function findPackage(name: string, from: string, root: string): string | undefined {
  for (let folder = from; ; folder = dirname(folder)) {
    const path = join(folder, 'node_modules', name);
    if (existsSync(join(path, 'package.json'))) return path;
    if (folder === root || folder === dirname(folder)) return undefined;
  }
}

async function bytesOf(folder: string): Promise<number> {
  let bytes = 0;
  for (const name of await readdir(folder, { recursive: true })) {
    const found = await stat(join(folder, name));
    if (found.isFile()) bytes += found.size;
  }
  return bytes;
}

/** The bytes of the archive. */
async function* packed(
  stage: string,
  {
    folder,
    compression,
    unpackedBytes,
  }: { folder: string; compression: Compression; unpackedBytes: number },
  context: JobContext,
): AsyncGenerator<Uint8Array> {
  const tar = spawn('tar', ['-C', stage, '-cf', '-', folder], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const xz =
    compression === 'xz'
      ? spawn('xz', ['-T0', '-6', '-c'], { stdio: ['pipe', 'pipe', 'pipe'] })
      : undefined;
  const gzip = createGzip();
  let done = 0;
  const counted = new Transform({
    transform(chunk: Uint8Array, _, next) {
      done = Math.min(done + chunk.length, unpackedBytes);
      context.onProgress?.({ phase: 'pack', done, total: unpackedBytes });
      next(undefined, chunk);
    },
  });
  // What fails here ends the output as well: it is waited for at the end.
  const work = Promise.all([
    ended(tar, 'tar'),
    xz === undefined ? undefined : ended(xz, 'xz'),
    pipeline(tar.stdout, counted, xz === undefined ? gzip : xz.stdin),
  ]);
  work.catch(() => (xz === undefined ? gzip.destroy() : xz.kill()));
  try {
    for await (const chunk of xz === undefined ? gzip : xz.stdout) {
      requireGoOn(context);
      yield chunk as Uint8Array;
    }
    await work;
  } finally {
    tar.kill();
    xz?.kill();
  }
}

async function ended(child: ChildProcess, name: string): Promise<void> {
  let text = '';
  child.stderr?.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
  const code = await new Promise<number | null>((resolveCode, reject) => {
    child.on('error', (error) => {
      const message = `\`${name}\` cannot be started (${error.message}); it makes the archive`;
      reject(new SaccadeError('environment', message, {}, error));
    });
    child.on('close', resolveCode);
  });
  if (code !== 0) {
    const [reason] = text.trim().split('\n');
    throw new SaccadeError('environment', `\`${name}\` ended with ${code}: ${reason}`);
  }
}

function requireGoOn({ signal }: JobContext): void {
  if (signal?.aborted) throw new SaccadeError('interrupted', 'stopped; nothing was written');
}

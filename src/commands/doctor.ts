import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { arch, cpus, freemem, platform, totalmem } from 'node:os';
import { join, resolve } from 'node:path';

import type { BackendStatus } from '../../engine/backend.js';
import { SaccadeError } from '../../engine/support/errors.js';
import { packageRoot } from '../../engine/support/packageRoot.js';
import { formats } from '../../ingest/formats/index.js';
import { cacheFolder, cacheVariable, whyNotWritable } from '../cacheFolder.js';
import { listing, print, printJson, type CommandIo, type RegisterCommand } from '../io.js';
import { examples, jsonOption } from '../options.js';
import { packageVersion } from '../version.js';

/** What `saccade doctor` finds. */
interface Diagnosis {
  /** Whether at least one backend works. */
  readonly ok: boolean;
  readonly saccade: string;
  readonly node: string;
  readonly tfjs: string;
  /** The picture library; undefined where it does not load. */
  readonly sharp: PartStatus;
  readonly platform: string;
  readonly cpu: { readonly model: string; readonly cores: number };
  readonly memoryBytes: { readonly total: number; readonly free: number };
  readonly backends: readonly BackendStatus[];
  readonly formats: readonly { readonly name: string; readonly extensions: readonly string[] }[];
  readonly cache: PartStatus & { readonly folder: string };
}

interface PartStatus {
  readonly live: boolean;
  /** The version, or why it does not work. */
  readonly detail: string;
  readonly fix?: string;
}

export const registerDoctor: RegisterCommand = (program, io) => {
  program
    .command('doctor')
    .summary('say what works on this machine, and what to do about what does not')
    .description(
      'Looks at versions, processor and memory, tries each backend, and checks that the cache folder ' +
        'can be written. Fails (exit code 5) where no backend works.',
    )
    .option(
      '--gpu-check <file>',
      'run every check and timing that there is for a GPU (minutes), and write one JSON document; fails (exit code 7) ' +
        'where a result is not as it should be',
    )
    .addOption(jsonOption())
    .addHelpText(
      'after',
      examples(
        ['saccade doctor', 'what works here'],
        ['saccade doctor --json', 'for a bug report'],
        ['saccade doctor --gpu-check gpu.json', 'what this GPU and its libraries do'],
      ),
    )
    .action(async ({ json, gpuCheck }: { readonly json?: boolean; readonly gpuCheck?: string }) => {
      if (gpuCheck !== undefined) {
        await checkGpu(io, gpuCheck);
        return;
      }
      const diagnosis = await diagnose(io);
      if (json) printJson(io, diagnosis);
      else print(io, ...describe(diagnosis));
      if (!diagnosis.ok) {
        throw new SaccadeError('environment', 'no backend works, so nothing can be trained or run');
      }
    });
};

/** Runs the checks that `npm run gpu:bundle` has packed. */
async function checkGpu({ signal }: CommandIo, out: string): Promise<void> {
  const root = packageRoot();
  // In a bundle, and in a clone.
  const scripts = ['gpu', '.cache/gpu'].map((folder) => join(root, folder, 'run.mjs'));
  const script = scripts.find((path) => existsSync(path));
  if (script === undefined) {
    throw new SaccadeError(
      'environment',
      'the checks are not here: in a clone, `npm run gpu:bundle -- .cache/gpu` makes them, and ' +
        '`saccade bundle --add .cache/gpu` takes them along',
      { field: '--gpu-check' },
    );
  }
  const child = spawn(process.execPath, [script, resolve(out)], { stdio: 'inherit', signal });
  const code = await new Promise<number | null>((done, reject) => {
    child.once('error', (error) =>
      reject(signal.aborted ? new SaccadeError('interrupted', 'the checks were stopped') : error),
    );
    child.once('close', done);
  });
  if (code === 0) return;
  throw new SaccadeError('result', 'not everything is as it should be', { file: out });
}

async function diagnose({ env }: CommandIo): Promise<Diagnosis> {
  const { inspectBackends, tensorLibraryVersion } = await import('../../engine/backend.js');
  const backends = await inspectBackends();
  const processors = cpus();
  return {
    ok: backends.some(({ live }) => live),
    saccade: packageVersion(),
    node: process.versions.node,
    tfjs: tensorLibraryVersion,
    sharp: await inspectSharp(),
    platform: `${platform()} ${arch()}`,
    cpu: { model: processors[0]?.model ?? 'unknown', cores: processors.length },
    memoryBytes: { total: totalmem(), free: freemem() },
    backends,
    formats: formats.map(({ name, extensions }) => ({ name, extensions })),
    cache: await inspectCache(cacheFolder(env)),
  };
}

async function inspectSharp(): Promise<PartStatus> {
  try {
    const { default: sharp } = await import('sharp');
    return { live: true, detail: sharp.versions.sharp ?? 'unknown version' };
  } catch (error) {
    const [detail] = (error as Error).message.trim().split('\n');
    return { live: false, detail, fix: 'reinstall with `npm ci`; pictures need it' };
  }
}

async function inspectCache(folder: string): Promise<Diagnosis['cache']> {
  const problem = await whyNotWritable(folder);
  if (problem === undefined) return { folder, live: true, detail: 'can be written' };
  const fix = `name a folder that can be written in ${cacheVariable}`;
  return { folder, live: false, detail: problem, fix };
}

function describe(diagnosis: Diagnosis): string[] {
  const { cpu, memoryBytes, backends, cache } = diagnosis;
  const gibibytes = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(1)} GiB`;
  const part = ({ live, detail, fix }: PartStatus): string =>
    `${live ? 'ok' : 'NO'}: ${detail}${fix === undefined ? '' : `; ${fix}`}`;
  return listing([
    ['saccade', diagnosis.saccade],
    ['node', `${diagnosis.node} (${diagnosis.platform})`],
    ['tfjs', diagnosis.tfjs],
    ['processor', `${cpu.model}, ${cpu.cores} core${cpu.cores === 1 ? '' : 's'}`],
    ['memory', `${gibibytes(memoryBytes.total)}, ${gibibytes(memoryBytes.free)} free`],
    ...backends.map((status) => [`backend ${status.name}`, part(status)] as const),
    ['sharp', part(diagnosis.sharp)],
    ['formats', diagnosis.formats.map(({ name }) => name).join(', ')],
    ['cache', `${cache.folder} ${part(cache)}`],
  ]);
}

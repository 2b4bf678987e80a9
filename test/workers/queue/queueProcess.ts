import { type ChildProcess, spawn } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';

import type { JobClient } from '../../../workers/queue/client.js';
import { built } from '../../built.js';
import type { Outcome } from '../../src/callCli.js';
import type { Env } from './stores.js';

const cli = resolve('dist/src/cli.js');

/** A client of the queues that a command in `folder` uses. */
export async function openClient(folder: string, env: Env): Promise<JobClient> {
  const [{ openDatastore }, { createJobClient }] = await Promise.all([
    built<typeof import('../../../workers/queue/datastore.js')>('workers/queue/datastore.js'),
    built<typeof import('../../../workers/queue/client.js')>('workers/queue/client.js'),
  ]);
  const store = await openDatastore({
    env,
    folder: join(folder, '.saccade', 'queue'),
    patienceMs: 60_000,
  });
  const client = createJobClient(store);
  return {
    ...client,
    close: async () => {
      await client.close();
      await store.close();
    },
  };
}

/** A `saccade` process that goes on until it is stopped. */
export function startCli(args: readonly string[], cwd: string, env: Env): ChildProcess {
  return spawn(process.execPath, [cli, ...args], {
    cwd,
    env: environment(cwd, env),
    stdio: ['ignore', 'ignore', 'ignore'],
  });
}

export function runCli(args: readonly string[], cwd: string, env: Env): Promise<Outcome> {
  return new Promise((done, reject) => {
    const child = spawn(process.execPath, [cli, ...args], {
      cwd,
      env: environment(cwd, env),
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    child.on('error', reject);
    child.on('close', (exitCode) => done({ exitCode, stdout, stderr }));
  });
}

function environment(cwd: string, env: Env): NodeJS.ProcessEnv {
  return { PATH: process.env.PATH, PWD: cwd, SACCADE_THREADS: '1', ...env };
}

/** Process numbers of the slots of workers that work in a folder. */
export async function slotsOf(folder: string): Promise<readonly number[]> {
  const found: number[] = [];
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const args = await readFile(`/proc/${name}/cmdline`, 'utf8');
      const environ = await readFile(`/proc/${name}/environ`, 'utf8');
      if (args.includes('slotProcess.js') && environ.includes(`PWD=${folder}\0`)) {
        found.push(Number(name));
      }
    } catch {
      // It has ended meanwhile, or is somebody else's.
    }
  }
  return found;
}

/** `kill -9`, of whatever has not ended meanwhile. */
export function killNow(pid: number | undefined): void {
  if (pid !== undefined) signalNow(pid, 'SIGKILL');
}

/** Sends a signal, unless the process has ended meanwhile. */
export function signalNow(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It has.
  }
}

/** Tensors of a checkpoint only: its metadata may hold the folder. */
export function tensorsOf(file: Buffer): Buffer {
  return file.subarray(8 + Number(file.readBigUInt64LE(0)));
}

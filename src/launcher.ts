import { type ChildProcess, spawn } from 'node:child_process';
import { createServer } from 'node:net';
import { availableParallelism } from 'node:os';

import { InvalidArgumentError, Option } from 'commander';

import { threadsVariable } from '../engine/native/addon.js';
import { type ErrorKind, exitCodes, SaccadeError } from '../engine/support/errors.js';
import type { ProcessPlace } from '../workers/processPlace.js';
import { checkExposure, isLoopback } from '../workers/service/security.js';
import type { CommandIo } from './io.js';
import { integerBetween, numberBetween, parseNames, tokenVariable } from './options.js';

/** Options of commands that several processes can do together. */
export interface LaunchOptions {
  readonly processes?: number;
  readonly devices?: readonly string[];
  readonly nodes?: number;
  readonly nodeRank?: number;
  readonly rank?: number;
  readonly world?: number;
  readonly rendezvous?: Address;
  /** Seconds. */
  readonly rendezvousTimeout: number;
}

interface Address {
  readonly host: string;
  readonly port: number;
}

/** Tells a process that was launched here its place, as JSON; the token is in its own variable. */
const placeVariable = 'SACCADE_PROCESS';
const devicesVariable = 'CUDA_VISIBLE_DEVICES';
/** How long the others may take to end after one has failed, ms. */
const graceMs = 10_000;

const parseAddress = (text: string): Address => {
  const match = /^(.+):(\d{1,5})$/.exec(text);
  if (match === null) {
    throw new InvalidArgumentError('Expected HOST:PORT, for instance 10.0.0.1:29500.');
  }
  return { host: match[1].replace(/^\[(.*)\]$/, '$1'), port: Number(match[2]) };
};

export function launchOptions(): Option[] {
  return [
    new Option(
      '--processes <N>',
      'train with N processes on this machine, each on its part of every batch; with the backend cuda each has a GPU',
    ).argParser(integerBetween(1, 1024)),
    new Option(
      '--devices <a,b>',
      'GPUs for them, by number; one process each (default: the first ones)',
    ).argParser(parseNames),
    new Option(
      '--nodes <N>',
      'number of machines, each with as many processes; the same command on each, but for --node-rank',
    ).argParser(integerBetween(1, 65_536)),
    new Option('--node-rank <N>', 'number of this machine, from 0').argParser(
      integerBetween(0, 65_535),
    ),
    new Option(
      '--rank <N>',
      'in place of --nodes, where machines differ: number of the (first) process here, from 0',
    ).argParser(integerBetween(0, 65_535)),
    new Option(
      '--world <N>',
      'number of processes on all machines (default: those here)',
    ).argParser(integerBetween(1, 65_536)),
    new Option(
      '--rendezvous <HOST:PORT>',
      `where process 0 can be reached, an address of its machine; all need the same ${tokenVariable} where it is not loopback. ` +
        'RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT say the same as these options',
    ).argParser(parseAddress),
    new Option('--rendezvous-timeout <s>', 'how long the others may take to come there')
      .argParser(numberBetween(0.1, 86_400))
      .default(120),
  ];
}

/** What a command has to do of what was asked for: all, its place among others, or to start others and wait. */
export type Launch =
  | { readonly kind: 'alone' }
  | { readonly kind: 'member'; readonly place: ProcessPlace }
  | { readonly kind: 'launcher'; run(): Promise<void> };

/**
 * @throws SaccadeError of kind `usage` where options contradict each other or some are missing.
 */
export function launchOf(io: CommandIo, options: LaunchOptions): Launch {
  const { env } = io;
  const given = env[placeVariable];
  if (given !== undefined) {
    // Without the launcher nobody could end this process.
    process.once('disconnect', () => process.kill(process.pid, 'SIGTERM'));
    const token = env[tokenVariable];
    return { kind: 'member', place: { ...(JSON.parse(given) as ProcessPlace), token } };
  }
  const count = options.processes ?? options.devices?.length;
  if (options.devices !== undefined && options.devices.length !== count) {
    throw usage('--devices', `names ${options.devices.length} GPUs for ${count} processes`);
  }
  const { rank, world, perNode } = rankOf(env, count ?? 1, options);
  const address =
    options.rendezvous ??
    (env.MASTER_ADDR !== undefined && env.MASTER_PORT !== undefined
      ? { host: env.MASTER_ADDR, port: Number(env.MASTER_PORT) }
      : undefined);
  const token = env[tokenVariable] || undefined;
  if (world > (count ?? 1)) {
    if (address === undefined) throw usage('--rendezvous', 'is needed where there are others');
    checkToken(address.host, token);
  }
  const connectTimeoutMs = 1000 * options.rendezvousTimeout;
  const place = { rank, world, perNode, connectTimeoutMs };
  if (count === undefined) {
    if (world === 1) return { kind: 'alone' };
    useOwnDevice(env.LOCAL_RANK);
    return { kind: 'member', place: { ...place, ...address!, token } };
  }
  const devices = options.devices ?? visibleDevices(count, env[devicesVariable]);
  return { kind: 'launcher', run: () => launch(io, devices, place, address) };
}

/**
 * Number of the first process here, of all processes, and of those of each machine.
 *
 * @param count processes here.
 */
function rankOf(
  env: CommandIo['env'],
  count: number,
  { nodes, nodeRank, ...options }: LaunchOptions,
): Pick<ProcessPlace, 'rank' | 'world' | 'perNode'> {
  if (nodes !== undefined || nodeRank !== undefined) {
    if (nodes === undefined) throw usage('--nodes', 'is needed with --node-rank');
    for (const name of ['rank', 'world'] as const) {
      if (options[name] !== undefined) throw usage(`--${name}`, 'is told by --nodes');
    }
    if (nodeRank === undefined && nodes > 1) throw usage('--node-rank', 'is needed with --nodes');
    const node = nodeRank ?? 0;
    if (node >= nodes) {
      throw usage(
        '--node-rank',
        `is ${node}, and there are ${nodes} machines: expected 0 to ${nodes - 1}`,
      );
    }
    return { rank: node * count, world: nodes * count, ...(nodes > 1 && { perNode: count }) };
  }
  const isSpread = env.RANK !== undefined && env.WORLD_SIZE !== undefined;
  const rank = options.rank ?? (isSpread ? Number(env.RANK) : undefined);
  const world = options.world ?? (isSpread ? Number(env.WORLD_SIZE) : count);
  if (world > count) {
    if (rank === undefined) throw usage('--rank', 'is needed with --world');
    if (rank + count > world) {
      throw usage('--rank', `is ${rank}, and there are ${world} processes in all`);
    }
  }
  return { rank: rank ?? 0, world };
}

/** @throws SaccadeError of kind `usage` where anybody could come. */
function checkToken(host: string, token: string | undefined): void {
  if (token !== undefined || isLoopback(host)) {
    checkExposure({ host, token });
    return;
  }
  const fix = `set ${tokenVariable} to the same secret on all of them`;
  throw usage('--rendezvous', `other machines can reach ${host}, so a token is needed: ${fix}`);
}

function usage(field: string, message: string): SaccadeError {
  return new SaccadeError('usage', message, { field });
}

function visibleDevices(count: number, visible: string | undefined): string[] {
  const names = visible?.split(',') ?? Array.from({ length: count }, (_, i) => String(i));
  return Array.from({ length: count }, (_, i) => names[i % names.length]);
}

/** What other launchers leave to the process: of the machine's GPUs, that of its number there. */
function useOwnDevice(localRank: string | undefined): void {
  if (localRank === undefined) return;
  const names = process.env[devicesVariable]?.split(',');
  if (names === undefined || names.length > 1) {
    process.env[devicesVariable] = names?.[Number(localRank)] ?? localRank;
  }
}

interface Ended {
  readonly rank: number;
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** The last line on standard error. */
  readonly line: string;
}

/** Runs this command line once for each device, and waits for all. The first one speaks for all. */
async function launch(
  io: CommandIo,
  devices: readonly string[],
  first: Omit<ProcessPlace, keyof Address>,
  given: Address | undefined,
): Promise<void> {
  const address = given ?? { host: '127.0.0.1', port: await freePort() };
  const threads = Math.max(1, Math.floor(availableParallelism() / devices.length));
  const children = devices.map((device, i) => {
    const rank = first.rank + i;
    const child = spawn(process.execPath, [...process.execArgv, ...process.argv.slice(1)], {
      // Their own group: Ctrl-C comes to them from here, once.
      detached: true,
      stdio: ['ignore', i === 0 ? 'inherit' : 'ignore', 'pipe', 'ipc'],
      env: {
        [threadsVariable]: String(threads),
        ...io.env,
        [placeVariable]: JSON.stringify({ ...first, ...address, rank }),
        [devicesVariable]: device,
      },
    });
    return { rank, child };
  });
  const stop = (signal: NodeJS.Signals): void => {
    for (const { child } of children) if (child.exitCode === null) child.kill(signal);
  };
  const onAbort = (): void => stop('SIGINT');
  io.signal.addEventListener('abort', onAbort);
  const failures: Ended[] = [];
  const timers: NodeJS.Timeout[] = [];
  await Promise.all(
    children.map(async ({ rank, child }, i) => {
      const end = await endOf(rank, child, i === 0 ? io.stderr : undefined);
      if (end.code === 0) return;
      failures.push(end);
      // They notice by themselves, unless they wait for a device.
      if (failures.length > 1) return;
      timers.push(setTimeout(() => stop('SIGTERM'), graceMs));
      timers.push(setTimeout(() => stop('SIGKILL'), 2 * graceMs));
    }),
  ).finally(() => io.signal.removeEventListener('abort', onAbort));
  for (const timer of timers) clearTimeout(timer);
  if (failures.length > 0) throw failureOf(failures[0], first.world);
}

async function endOf(
  rank: number,
  child: ChildProcess,
  stderr: NodeJS.WritableStream | undefined,
): Promise<Ended> {
  let line = '';
  let rest = '';
  child.stderr!.setEncoding('utf8').on('data', (text: string) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop()!;
    for (const each of lines) {
      line = each;
      // What ends the process is said by this one, with the process's number.
      if (!/^(saccade: |\{"error":)/.test(each)) stderr?.write(`${each}\n`);
    }
  });
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve({ rank, code, signal, line: rest || line }));
  });
}

/** The error of the process that failed first. */
function failureOf({ rank, code, signal, line }: Ended, world: number): SaccadeError {
  const kinds = Object.entries(exitCodes) as [ErrorKind, number][];
  const kind = kinds.find(([, exitCode]) => exitCode === code)?.[0] ?? 'environment';
  const text = /^saccade: (.*)/.exec(line)?.[1] ?? errorOf(line);
  if (kind === 'interrupted' && text !== undefined) return new SaccadeError(kind, text);
  const reason =
    text ?? (signal === null ? `ended with exit code ${code}` : `was ended by ${signal}`);
  return new SaccadeError(kind, `process ${rank} of ${world}: ${reason}`);
}

function errorOf(line: string): string | undefined {
  try {
    return (JSON.parse(line) as { error: { message: string } }).error.message;
  } catch {
    return undefined;
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

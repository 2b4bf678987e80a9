import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { createServer } from 'node:net';
import { resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const cli = resolve('dist/src/cli.js');

/** A Redis of the test's own; undefined where none is installed. */
export interface OwnRedis {
  readonly url: string;
  start(): Promise<void>;
  kill(): Promise<void>;
}

export const redisInstalled = spawnSync('redis-server', ['--version']).status === 0;

export async function ownRedis(folder: string): Promise<OwnRedis> {
  const port = await freePort();
  let child: ChildProcess | undefined;
  return {
    url: `redis://127.0.0.1:${port}`,
    async start() {
      child = spawn(
        'redis-server',
        ['--port', `${port}`, '--bind', '127.0.0.1', '--dir', folder, '--save', '']
          // Nothing that Redis has answered for is lost when it is killed.
          .concat(['--appendonly', 'yes', '--appendfsync', 'always']),
        { stdio: 'ignore' },
      );
      for (let i = 0; i < 100; i++) {
        if (
          spawnSync('redis-cli', ['-p', `${port}`, 'ping'])
            .stdout.toString()
            .trim() === 'PONG'
        )
          return;
        await sleep(100);
      }
      throw new Error('redis-server does not answer');
    },
    async kill() {
      if (child === undefined) return;
      const ended = new Promise((done) => child!.once('exit', done));
      child.kill('SIGKILL');
      await ended;
    },
  };
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const { port } = server.address() as { port: number };
  await new Promise((done) => server.close(done));
  return port;
}

export type Env = Readonly<Record<string, string>>;

/** A `saccade` process that goes on until it is stopped. */
export function startCli(args: readonly string[], cwd: string, env: Env): ChildProcess {
  return spawn(process.execPath, [cli, ...args], {
    cwd,
    env: { PATH: process.env.PATH, PWD: cwd, SACCADE_THREADS: '1', ...env },
    stdio: ['ignore', 'ignore', 'ignore'],
  });
}

export interface CliOutcome {
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export function runCli(args: readonly string[], cwd: string, env: Env): Promise<CliOutcome> {
  return new Promise((done, reject) => {
    const child = spawn(process.execPath, [cli, ...args], {
      cwd,
      env: { PATH: process.env.PATH, PWD: cwd, SACCADE_THREADS: '1', ...env },
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

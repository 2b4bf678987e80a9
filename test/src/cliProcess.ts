import { spawn } from 'node:child_process';
import { mkdtemp, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, expect } from 'vitest';

import { type ErrorKind, exitCodes } from '../../engine/support/errors.js';
import { callCli, type Outcome } from './callCli.js';

const root = resolve('.');
const cli = join(root, 'dist/src/cli.js');

export interface RunOptions {
  readonly input?: string | Uint8Array;
  readonly env?: Readonly<Record<string, string>>;
  /** The process interrupts itself as soon as it has said so on standard error. */
  readonly interruptWhen?: RegExp;
  /** Interrupts the process after so long. */
  readonly interruptAfterMs?: number;
  /** It is a process of its own, whatever the rest. */
  readonly process?: true;
}

/**
 * A folder of its own for a test file, in which its commands run. They run in this process, by the build's
 * `run`, where a process of their own would show nothing more: starting one takes longer than most commands.
 */
export class Workplace {
  folder = '';
  private readonly processes: boolean;

  /** @param settings `processes`: each command is a process of its own, as where several run at once. */
  constructor({ processes = false }: { readonly processes?: boolean } = {}) {
    this.processes = processes;
    beforeAll(async () => {
      // What a process would call its working folder.
      this.folder = await realpath(await mkdtemp(join(tmpdir(), 'saccade-cli-')));
      process.chdir(this.folder);
    });
    afterAll(async () => {
      process.chdir(root);
      await rm(this.folder, { recursive: true, force: true });
    });
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  private env(more: RunOptions['env']): Record<string, string | undefined> {
    return { PATH: process.env.PATH, SACCADE_CACHE: this.path('cache'), ...more };
  }

  /** Runs `saccade` and waits for its end. */
  run(args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
    // Standard input, the environment and signals belong to a process.
    const own = Object.keys(options).length > 0 || args.includes('-');
    return this.processes || own ? this.spawn(args, options) : callCli(args, this.env({}));
  }

  private spawn(args: readonly string[], options: RunOptions): Promise<Outcome> {
    const { input = '', env = {}, interruptWhen, interruptAfterMs } = options;
    const before = interruptWhen === undefined ? [] : ['--import', interruption(interruptWhen)];
    return new Promise((done, reject) => {
      const child = spawn(process.execPath, [...before, cli, ...args], {
        cwd: this.folder,
        env: this.env(env),
      });
      let stdout = '';
      let stderr = '';
      if (interruptAfterMs !== undefined) setTimeout(() => child.kill('SIGINT'), interruptAfterMs);
      child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
      child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
      child.on('error', reject);
      child.on('close', (exitCode) => done({ exitCode, stdout, stderr }));
      // A process that fails before it reads leaves a closed pipe.
      child.stdin.on('error', () => undefined).end(input);
    });
  }

  /** Runs a command that must succeed, and gives what it printed. */
  async print(...args: readonly string[]): Promise<string> {
    const { exitCode, stdout, stderr } = await this.run(args);
    expect(exitCode, stderr).toBe(0);
    return stdout;
  }

  /** Runs a command with `--json`, which must succeed and print one document and nothing else. */
  async json(...args: readonly string[]): Promise<Record<string, unknown>> {
    const { exitCode, stdout, stderr } = await this.run([...args, '--json']);
    expect(exitCode, stderr).toBe(0);
    return JSON.parse(stdout) as Record<string, unknown>;
  }

  /**
   * Runs a command that must fail with an error of a kind: its exit code, nothing on standard output, and
   * one line on standard error that holds all of `expected`.
   */
  async fails(
    kind: ErrorKind,
    args: readonly string[],
    expected: readonly (string | RegExp)[],
    options?: RunOptions,
  ): Promise<void> {
    const { exitCode, stdout, stderr } = await this.run(args, options);
    expect(exitCode, stderr).toBe(exitCodes[kind]);
    expect(stdout).toBe('');
    const lines = stderr.trimEnd().split('\n');
    const last = lines[lines.length - 1];
    expect(last).toMatch(/^saccade: /);
    for (const part of expected) expect(last).toMatch(part);
    expect(stderr).not.toMatch(/\n {4}at /);
  }
}

/**
 * A module, loaded before the command line, that interrupts its process when that has said something. Seen from
 * outside, the process might have ended by the time it is interrupted.
 */
function interruption(when: RegExp): string {
  const module = `
    import { isMainThread } from 'node:worker_threads';
    let said = '';
    // Not in the threads and processes that it starts.
    let interrupted = !isMainThread || process.connected === true;
    const { stderr } = process;
    const write = stderr.write.bind(stderr);
    stderr.write = (text, ...more) => {
      const written = write(text, ...more);
      said += text;
      if (!interrupted && ${when}.test(said)) {
        interrupted = true;
        process.kill(process.pid, 'SIGINT');
      }
      return written;
    };`;
  return `data:text/javascript,${encodeURIComponent(module)}`;
}

import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, expect } from 'vitest';

import { type ErrorKind, exitCodes } from '../../engine/support/errors.js';

const cli = resolve('dist/src/cli.js');

/** What a process left behind. */
export interface Outcome {
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly input?: string | Uint8Array;
  readonly env?: Readonly<Record<string, string>>;
  /** Is called with all of standard error so far, and interrupts the process when it says so. */
  readonly interruptWhen?: (stderr: string) => boolean;
  /** Interrupts the process after so long. */
  readonly interruptAfterMs?: number;
}

/** A folder of its own for a test file, in which its processes run. */
export class Workplace {
  folder = '';

  constructor() {
    beforeAll(async () => {
      this.folder = await mkdtemp(join(tmpdir(), 'saccade-cli-'));
    });
    afterAll(async () => {
      await rm(this.folder, { recursive: true, force: true });
    });
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  /** Runs `saccade` and waits for its end. */
  run(args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
    const { input = '', env = {}, interruptWhen, interruptAfterMs } = options;
    return new Promise((done, reject) => {
      const child = spawn(process.execPath, [cli, ...args], {
        cwd: this.folder,
        env: { PATH: process.env.PATH, SACCADE_CACHE: this.path('cache'), ...env },
      });
      let stdout = '';
      let stderr = '';
      let interrupted = false;
      if (interruptAfterMs !== undefined) setTimeout(() => child.kill('SIGINT'), interruptAfterMs);
      child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
      child.stderr.setEncoding('utf8').on('data', (text: string) => {
        stderr += text;
        if (interrupted || interruptWhen?.(stderr) !== true) return;
        interrupted = true;
        child.kill('SIGINT');
      });
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

import { Readable, Writable } from 'node:stream';

import { built } from '../built.js';

/** What a command left behind. */
export interface Outcome {
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command of the build in this process and its working folder, with nothing on standard input. */
export async function callCli(
  args: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): Promise<Outcome> {
  const { run } = await built<typeof import('../../src/program.js')>('src/program.js');
  let stdout = '';
  let stderr = '';
  const sink = (take: (text: string) => void): Writable =>
    new Writable({
      decodeStrings: false,
      write: (text: string | Buffer, _, done) => {
        take(text.toString());
        done();
      },
    });
  const exitCode = await run(args, {
    stdin: Readable.from([]),
    stdout: sink((text) => (stdout += text)),
    stderr: sink((text) => (stderr += text)),
    signal: new AbortController().signal,
    env,
  });
  return { exitCode, stdout, stderr };
}

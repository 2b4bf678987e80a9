import { Command } from 'commander';

import { exitCodes } from '../engine/support/errors.js';
import { commands } from './commands/index.js';
import { debugVariable, describeFailure, unexpectedExitCode } from './failure.js';
import type { CommandIo } from './io.js';
import { packageVersion } from './version.js';

/** The whole command line. Its `parseAsync` throws instead of leaving the process. */
export function createProgram(io: CommandIo): Command {
  const program = new Command('saccade')
    .description('Event-camera action recognition: from a recording to a recognised action.')
    .version(packageVersion(), '-V, --version')
    .helpCommand(false)
    .showSuggestionAfterError()
    .exitOverride()
    .configureOutput({
      writeOut: (text) => io.stdout.write(text),
      writeErr: (text) => io.stderr.write(text),
      // Errors are printed in one place, `run`.
      outputError: () => undefined,
    })
    .addHelpText('after', endOfHelp);
  for (const register of commands) register(program, io);
  return program;
}

/**
 * Runs a command line.
 *
 * @param args without the names of the interpreter and the script.
 * @returns the exit code.
 */
export async function run(args: readonly string[], io: CommandIo): Promise<number> {
  try {
    await createProgram(io).parseAsync(args, { from: 'user' });
    return 0;
  } catch (error) {
    if (isClosedPipe(error) || isClosedPipe(io.signal.reason)) return 0;
    const debug = (io.env[debugVariable] ?? '') !== '';
    const { text, exitCode } = describeFailure(error, { json: args.includes('--json'), debug });
    io.stderr.write(text);
    return exitCode;
  }
}

/** A reader of the output that has seen enough, such as `head`, is no failure. */
function isClosedPipe(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'EPIPE';
}

const endOfHelp = `
Results go to standard output, progress and errors to standard error. With --json, a command prints one
JSON document, and an error is one line {"error": {kind, message, file, offset, field}} on standard error.
Wherever a recording is read or written by \`info\` and \`convert\`, - is standard input or output.

Exit codes:
  0    done
  ${unexpectedExitCode}    unexpected error (${debugVariable}=1 shows where)
  ${exitCodes.usage}    wrong use of the command line
  ${exitCodes.input}    input that is missing, or not what it should be
  ${exitCodes.config}    wrong configuration; the message names the field
  ${exitCodes.environment}    the machine lacks something: a backend, a folder that can be written
  ${exitCodes.diverged}    training diverged
  ${exitCodes.result}    the result is not what was to be shown (demo)
  ${exitCodes.interrupted}  interrupted (Ctrl-C); what can be resumed was saved

\`saccade COMMAND --help\` has the options of a command and examples.`;

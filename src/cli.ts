#!/usr/bin/env node
import { note, type CommandIo } from './io.js';
import { run } from './program.js';

const controller = new AbortController();

const io: CommandIo = {
  // Only a command that reads standard input opens it.
  get stdin() {
    return process.stdin;
  },
  stdout: process.stdout,
  stderr: process.stderr,
  signal: controller.signal,
  env: process.env,
};

for (const name of ['SIGINT', 'SIGTERM'] as const) {
  // Once: the second one ends the process as if there were no handler.
  process.once(name, () => {
    note(io, 'stopping; once more to stop at once');
    controller.abort(new Error(name));
  });
}

// Nobody reads the results any more: `run` ends quietly.
process.stdout.on('error', (error) => controller.abort(error));
// Nobody reads the messages: that is no reason to stop the work.
process.stderr.on('error', () => undefined);

const exitCode = await run(process.argv.slice(2), io);
// Standard input may still be open and would keep the process alive.
process.exit(exitCode);

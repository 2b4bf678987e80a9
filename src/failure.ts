import { CommanderError } from 'commander';

import { exitCodes, SaccadeError } from '../engine/support/errors.js';

/** How a command ended that did not succeed. */
export interface Failure {
  readonly exitCode: number;
  /** What standard error gets, with its line end; empty where all has been said. */
  readonly text: string;
}

/** The variable that asks for stack traces. */
export const debugVariable = 'SACCADE_DEBUG';

/** The exit code of an error that Saccade did not foresee. */
export const unexpectedExitCode = 1;

/**
 * Puts an error into words: one line `saccade: <message>`, or with `json` one line
 * `{"error": {kind, message, file, offset, field}}`, where places that are not known are left out.
 *
 * @param debug adds the stack.
 */
export function describeFailure(
  error: unknown,
  { json = false, debug = false }: { readonly json?: boolean; readonly debug?: boolean } = {},
): Failure {
  if (error instanceof CommanderError) {
    if (isHelp(error)) return { exitCode: error.exitCode === 0 ? 0 : exitCodes.usage, text: '' };
    // Commander puts its suggestion on a line of its own.
    const message = error.message.replace(/^error: /, '').replace(/\s*\n\s*/g, ' ');
    return { exitCode: exitCodes.usage, text: errorLine({ kind: 'usage', message }, json) };
  }
  const missing = missingPackage(error);
  if (missing !== undefined) {
    const message =
      `the package ${missing} is not here: this installation is incomplete (reinstall with \`npm ci\`), ` +
      'or a bundle that was made without it';
    return describeFailure(new SaccadeError('environment', message, {}, error), { json, debug });
  }
  const { name, message, stack } = error instanceof Error ? error : new Error(String(error));
  const trace = debug && stack !== undefined ? `${stack}\n` : '';
  if (error instanceof SaccadeError) {
    const line = errorLine({ kind: error.kind, message, ...error.place }, json);
    return { exitCode: error.exitCode, text: trace + line };
  }
  const hint = debug ? '' : ` (set ${debugVariable}=1 to see where)`;
  const text = `unexpected ${name}: ${message.split('\n')[0]}${hint}`;
  return {
    exitCode: unexpectedExitCode,
    text: trace + errorLine({ kind: 'unexpected', message: text }, json),
  };
}

/** The package that Node has not found, where that is what the error says. */
function missingPackage(error: unknown): string | undefined {
  const { code, message } = (error ?? {}) as Partial<NodeJS.ErrnoException>;
  if (code !== 'ERR_MODULE_NOT_FOUND') return undefined;
  return /Cannot find package '([^']+)'/.exec(message ?? '')?.[1];
}

function isHelp(error: CommanderError): boolean {
  return ['commander.helpDisplayed', 'commander.help', 'commander.version'].includes(error.code);
}

function errorLine(
  error: { readonly kind: string; readonly message: string },
  json: boolean,
): string {
  return json ? `${JSON.stringify({ error })}\n` : `saccade: ${error.message}\n`;
}

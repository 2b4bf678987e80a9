import type { Command } from 'commander';

/** All that a command may touch of the process. Tests hand in their own. */
export interface CommandIo {
  readonly stdin: AsyncIterable<Uint8Array>;
  /** Results only: with `--json`, one JSON document and nothing else. */
  readonly stdout: NodeJS.WritableStream & { readonly isTTY?: boolean; readonly columns?: number };
  /** Progress, warnings and errors. */
  readonly stderr: NodeJS.WritableStream & { readonly isTTY?: boolean };
  /** Aborts on Ctrl-C; the command then cleans up and throws `interrupted`. */
  readonly signal: AbortSignal;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** Adds one command to the program. Its action throws a `SaccadeError` where it fails. */
export type RegisterCommand = (program: Command, io: CommandIo) => void;

/** Prints lines on standard output. */
export function print(io: CommandIo, ...lines: readonly string[]): void {
  io.stdout.write(`${lines.join('\n')}\n`);
}

/** How wide lines on standard output may be, and whether they may be coloured (`NO_COLOR` says no). */
export function terminalOf({ stdout, env }: CommandIo): { width: number; colour: boolean } {
  const width = stdout.columns ?? (Number(env.COLUMNS) || 80);
  return { width, colour: stdout.isTTY === true && !env.NO_COLOR };
}

/** Prints the one JSON document of a command that was asked for `--json`. */
export function printJson(io: CommandIo, document: unknown): void {
  print(io, JSON.stringify(document, undefined, 2));
}

/** Tells the user something that is no result. */
export function note(io: CommandIo, ...lines: readonly string[]): void {
  io.stderr.write(`${lines.join('\n')}\n`);
}

/** Names and values in two aligned columns. */
export function listing(rows: readonly (readonly [name: string, value: string])[]): string[] {
  const width = Math.max(...rows.map(([name]) => name.length)) + 2;
  return rows.map(([name, value]) => `${name.padEnd(width)}${value}`);
}

/** A whole number with thousands separators, "1,234,567". */
export function grouped(value: number): string {
  return value.toLocaleString('en-US');
}

/** What went wrong, in the terms of the command line's exit codes. */
export type ErrorKind =
  'usage' | 'input' | 'config' | 'environment' | 'diverged' | 'result' | 'interrupted';

/** The process exit code of each kind of error (documented in the README). */
export const exitCodes: Readonly<Record<ErrorKind, number>> = {
  usage: 2,
  input: 3,
  config: 4,
  environment: 5,
  diverged: 6,
  result: 7,
  interrupted: 130,
};

/** Where in its input an error was found. */
export interface ErrorPlace {
  /** File path or source name. */
  readonly file?: string;
  /** Byte offset in the file. */
  readonly offset?: number;
  /** Dotted name of a configuration field, or the name of an option. */
  readonly field?: string;
}

/** An error that a user can act on: it names the place, and its message says what was expected. */
export class SaccadeError extends Error {
  readonly kind: ErrorKind;
  readonly place: ErrorPlace;
  /** The message without the place. */
  readonly detail: string;

  constructor(kind: ErrorKind, message: string, place: ErrorPlace = {}, cause?: unknown) {
    const where = [
      place.file,
      place.offset === undefined ? undefined : `byte ${place.offset}`,
      place.field,
    ].filter((part) => part !== undefined);
    super(where.length > 0 ? `${where.join(', ')}: ${message}` : message, { cause });
    this.name = 'SaccadeError';
    this.kind = kind;
    this.place = place;
    this.detail = message;
  }

  get exitCode(): number {
    return exitCodes[this.kind];
  }
}

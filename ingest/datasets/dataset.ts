/** The three parts of a data set: to learn from, to choose models with, and to be touched once. */
export type SplitName = 'train' | 'validation' | 'test';

/** One recording with the action it shows. */
export interface LabelledRecording {
  /** Path relative to the data set's root, with `/` on every system. */
  readonly id: string;
  readonly path: string;
  /** Index into the data set's classes. */
  readonly label: number;
  /** Who is seen, where that is known. */
  readonly subject?: string;
  /** The part it officially belongs to, where the data set says so. */
  readonly split?: SplitName;
  /** The part of the file that shows the action, where files hold several; `openLabelled` reads only that. */
  readonly range?: RecordingRange;
}

/** A part of a file by time, µs, or by number of events; the end is not part of it. */
export type RecordingRange =
  | { readonly fromUs: number; readonly toUs: number }
  | { readonly fromEvent: number; readonly toEvent: number };

/** A set of labelled recordings. */
export interface Dataset {
  readonly name: string;
  readonly root: string;
  /** Whether a simulator made it. Results on it say nothing about real recordings. */
  readonly synthetic: boolean;
  /** Names of the classes by label. */
  readonly classes: readonly string[];
  /** Sorted by id. */
  readonly recordings: readonly LabelledRecording[];
  /** What was passed over, in plain sentences. */
  readonly notes: readonly string[];
}

/** Order of strings by code units: the same on every system, whatever its language. */
export function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Most names in a message. */
const maxNames = 1_000;

/** Says which of the listed recordings are missing. */
export function missingRecordings(names: readonly string[], listed: number): string {
  const more = names.length > maxNames ? ` and ${names.length - maxNames} more` : '';
  const named = names.slice(0, maxNames).join(', ');
  return `${names.length} of ${listed} listed recordings are missing: ${named}${more}`;
}

import { access, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { SaccadeError } from '../../engine/support/errors.js';
import { extensionOf } from '../formats/index.js';
import {
  compareText,
  type Dataset,
  type LabelledRecording,
  type SplitName,
  missingRecordings,
} from './dataset.js';
import { listRecordings, openFolderDataset } from './folder.js';

/** How the authors of a data set lay out its folder. */
export interface DatasetLayout {
  /** Name on the command line, such as `dvs128-gesture`. */
  readonly name: string;
  readonly title: string;
  /** Where it comes from, for whoever wants to get it. */
  readonly source: string;
  /** Whether a folder looks like this one, from the names in it; only where these say so for sure. */
  detect?(root: string): Promise<boolean>;
  /** @throws SaccadeError (`input`) that names what is missing. */
  open(root: string): Promise<Dataset>;
}

type Description = Pick<DatasetLayout, 'name' | 'title' | 'source'>;

export interface ClassFolders extends Description {
  /** Lower-case extensions of the recordings. */
  readonly extensions: readonly string[];
  /** Number of classes that the data set has, where that is known. */
  readonly classCount?: number;
  /** Folder inside the root that holds the class folders, where there is one. */
  readonly inside?: string;
  /** Who is seen, from the file's name. */
  readonly subjectOf?: (fileName: string) => string | undefined;
}

/** One folder per class, perhaps within `train` and `test`: what `openFolderDataset` reads. */
export function classFolderLayout(about: ClassFolders): DatasetLayout {
  const { name, title, source, extensions, classCount, inside, subjectOf } = about;
  return {
    name,
    title,
    source,
    async open(root) {
      const within = inside !== undefined && (await exists(join(root, inside)));
      const dataset = await openFolderDataset(within ? join(root, inside) : root, { extensions });
      const notes = [...dataset.notes, ...missingClasses(dataset.classes.length, classCount)];
      const recordings = dataset.recordings.map((recording) => {
        const subject = subjectOf?.(basename(recording.path));
        return subject === undefined ? recording : { ...recording, subject };
      });
      return { ...dataset, name, recordings, notes };
    },
  };
}

function missingClasses(found: number, expected: number | undefined): string[] {
  return expected === undefined || found === expected
    ? []
    : [`There are ${found} of ${expected} classes.`];
}

export interface Lists extends Description {
  readonly extensions: readonly string[];
  readonly classCount?: number;
  /** Names of the classes in the order of their labels, where they are known. */
  readonly classes?: readonly string[];
  /** Names of the lists of each part; of several, the first that is there counts. */
  readonly lists: Readonly<Partial<Record<SplitName, readonly string[]>>>;
  /** Where else than at the path in a list a recording may be, relative to the root. */
  readonly pathsOf?: (listed: string) => readonly string[];
  /** The label (from 0 on) that a recording's path says, where lists have none and where there are no lists. */
  readonly labelOf?: (id: string) => number | undefined;
  readonly subjectOf?: (id: string) => string | undefined;
  /** The part that a subject officially belongs to, for folders without lists. */
  readonly splitOf?: (subject: string) => SplitName | undefined;
}

/**
 * Lists of recordings for each part of the split, as MMAction has them: a line is `PATH LABEL` or
 * `PATH COUNT LABEL`, separated by blanks, tabs or commas; the label is a whole number from 0 or from 1 on. A line is the path
 * alone where the path says the label. Paths of another machine are found by their end. Without lists, one folder per class,
 * or recordings at any depth where their paths say the label.
 */
export function listLayout(about: Lists): DatasetLayout {
  const { name, title, source, labelOf } = about;
  const folders = classFolderLayout({ ...about, subjectOf: undefined });
  return {
    name,
    title,
    source,
    async open(root) {
      const entries: Entry[] = [];
      for (const split of ['train', 'validation', 'test'] as const) {
        for (const list of about.lists[split] ?? []) {
          if (!(await exists(join(root, list)))) continue;
          entries.push(...(await readList(root, list, split, about)));
          break;
        }
      }
      if (entries.length === 0 && labelOf === undefined) return folders.open(root);
      if (entries.length === 0) entries.push(...(await labelledFiles(root, about)));
      const labels = entries.map(({ label }) => label);
      const first = labelOf !== undefined || Math.min(...labels) === 0 ? 0 : 1;
      const highest = Math.max(...labels) - first;
      const classCount = about.classCount ?? highest + 1;
      if (highest >= classCount) {
        const message = `label ${highest + first}, expected ${classCount} classes from ${first} on`;
        throw new SaccadeError('input', message, { file: root });
      }
      const missing = entries.filter(({ there }) => !there);
      if (missing.length > 0) {
        const names = missing.map(({ id }) => id);
        const message = missingRecordings(names, entries.length);
        throw new SaccadeError('input', message, { file: root });
      }
      const recordings = entries
        .map(({ id, label, split }): LabelledRecording => {
          const subject = about.subjectOf?.(id);
          const recording = { id, path: join(root, id), label: label - first, split };
          return subject === undefined ? recording : { ...recording, subject };
        })
        .sort((a, b) => compareText(a.id, b.id));
      const present = new Set(recordings.map(({ label }) => label));
      return {
        name,
        root,
        synthetic: false,
        classes:
          about.classes ?? Array.from({ length: classCount }, (_, label) => String(label + first)),
        recordings,
        notes: missingClasses(present.size, classCount),
      };
    },
  };
}

interface Entry {
  readonly id: string;
  readonly label: number;
  readonly split?: SplitName;
  readonly there: boolean;
}

/** All recordings below the root whose path says a label. */
async function labelledFiles(
  root: string,
  { extensions, labelOf, subjectOf, splitOf }: Lists,
): Promise<Entry[]> {
  const entries: Entry[] = [];
  for (const id of await listRecordings(root, '', new Set(extensions))) {
    const label = labelOf?.(id);
    const subject = subjectOf?.(id);
    const split = subject === undefined ? undefined : splitOf?.(subject);
    if (label !== undefined) entries.push({ id, label, split, there: true });
  }
  if (entries.length > 0) return entries;
  const message = `found no lists, and no recordings (.${extensions.join(', .')}) with names that say their class`;
  throw new SaccadeError('input', message, { file: root });
}

async function readList(
  root: string,
  list: string,
  split: SplitName,
  { extensions, labelOf, pathsOf }: Lists,
): Promise<Entry[]> {
  const file = join(root, list);
  const entries: Entry[] = [];
  /** Leading folders of the list that are not below the root; the same for all lines. */
  let dropped = 0;
  for (const [index, line] of (await readText(file)).split('\n').entries()) {
    const text = line.trim();
    if (text === '') continue;
    const [, path = text, digits] = /^(.+?)(?:[\s,]+\d+)?[\s,]+(\d+)$/.exec(text) ?? [];
    const named = path.replaceAll('\\', '/').replace(/^\.?\/+/, '');
    const label = labelOf?.(named) ?? (digits === undefined ? NaN : Number(digits));
    if (!Number.isInteger(label) || named.split('/').includes('..')) {
      const message = `line ${index + 1}: expected a path in the folder and a label, got "${text}"`;
      throw new SaccadeError('input', message, { file });
    }
    const find = async (from: number): Promise<string | undefined> => {
      const id = named.split('/').slice(from).join('/');
      const known = extensions.includes(extensionOf(id));
      const listed = known ? [id] : extensions.map((extension) => `${id}.${extension}`);
      for (const one of [...listed, ...(pathsOf?.(id) ?? [])]) {
        if (await exists(join(root, one))) return one;
      }
      return undefined;
    };
    let found = await find(dropped);
    const depth = named.split('/').length;
    for (let from = 0; found === undefined && entries.length === 0 && from < depth; from++) {
      found = await find(from);
      if (found !== undefined) dropped = from;
    }
    entries.push({ id: found ?? named, label, split, there: found !== undefined });
  }
  return entries;
}

/** The text of a file. Throws a `SaccadeError` (`input`) that names it where it cannot be read. */
export async function readText(file: string): Promise<string> {
  return readFile(file, 'utf8').catch((error: unknown) => {
    throw new SaccadeError('input', 'cannot be read', { file }, error);
  });
}

export async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

/** Rows of a CSV file with a header line; quotes and blanks around fields are dropped. */
export async function readRows(file: string): Promise<Record<string, string>[]> {
  const lines = (await readText(file)).split('\n').filter((line) => line.trim() !== '');
  const cells = (line: string): string[] =>
    line.split(/[,;]/).map((cell) => cell.trim().replace(/^"|"$/g, ''));
  const names = cells(lines[0] ?? '');
  return lines.slice(1).map((line) => {
    const values = cells(line);
    return Object.fromEntries(names.map((name, i) => [name, values[i] ?? '']));
  });
}

/** A whole number in a row. Throws a `SaccadeError` (`input`) that names file and field. */
export function wholeNumber(row: Record<string, string>, field: string, file: string): number {
  const value = Number(row[field] === '' ? NaN : row[field]);
  if (Number.isInteger(value)) return value;
  const message = `expected a whole number, got "${row[field] ?? ''}"`;
  throw new SaccadeError('input', message, { file, field });
}

import { access, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { SaccadeError } from '../../engine/support/errors.js';
import { extensionOf } from '../formats/index.js';
import { compareText, type Dataset, type LabelledRecording, type SplitName } from './dataset.js';
import { openFolderDataset } from './folder.js';

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
  /** Names of the lists of each part; of several, the first that is there counts. */
  readonly lists: Readonly<Partial<Record<SplitName, readonly string[]>>>;
  readonly subjectOf?: (fileName: string) => string | undefined;
}

/**
 * Lists of recordings for each part of the split, as MMAction has them: a line is `PATH LABEL` or
 * `PATH COUNT LABEL`, separated by blanks, tabs or commas; the label is a whole number from 0 or from 1 on. Without
 * lists, one folder per class.
 */
export function listLayout(about: Lists): DatasetLayout {
  const { name, title, source } = about;
  const folders = classFolderLayout(about);
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
      if (entries.length === 0) return folders.open(root);
      const labels = entries.map(({ label }) => label);
      const first = Math.min(...labels) === 0 ? 0 : 1;
      const highest = Math.max(...labels) - first;
      const classCount = about.classCount ?? highest + 1;
      if (highest >= classCount) {
        const message = `label ${highest + first}, expected ${classCount} classes from ${first} on`;
        throw new SaccadeError('input', message, { file: root });
      }
      const missing = entries.filter(({ there }) => !there);
      if (missing.length > 0) {
        const message = `${missing.length} of ${entries.length} listed recordings are missing, the first is ${missing[0].id}`;
        throw new SaccadeError('input', message, { file: root });
      }
      const recordings = entries
        .map(({ id, label, split }): LabelledRecording => {
          const subject = about.subjectOf?.(basename(id));
          const recording = { id, path: join(root, id), label: label - first, split };
          return subject === undefined ? recording : { ...recording, subject };
        })
        .sort((a, b) => compareText(a.id, b.id));
      const present = new Set(recordings.map(({ label }) => label));
      return {
        name,
        root,
        synthetic: false,
        classes: Array.from({ length: classCount }, (_, label) => String(label + first)),
        recordings,
        notes: missingClasses(present.size, classCount),
      };
    },
  };
}

interface Entry {
  readonly id: string;
  readonly label: number;
  readonly split: SplitName;
  readonly there: boolean;
}

async function readList(
  root: string,
  list: string,
  split: SplitName,
  { extensions }: Lists,
): Promise<Entry[]> {
  const file = join(root, list);
  const entries: Entry[] = [];
  for (const [index, line] of (await readText(file)).split('\n').entries()) {
    const fields = line.trim().split(/[\s,]+/);
    if (fields[0] === '') continue;
    const label = Number(fields.at(-1));
    const named = fields[0].replaceAll('\\', '/').replace(/^\.?\/+/, '');
    if (fields.length < 2 || !Number.isInteger(label) || label < 0 || named.includes('..')) {
      const message = `line ${index + 1}: expected a path in the folder and a label, got "${line.trim()}"`;
      throw new SaccadeError('input', message, { file });
    }
    const known = extensions.includes(extensionOf(named));
    const candidates = known ? [named] : extensions.map((extension) => `${named}.${extension}`);
    const found: string[] = [];
    for (const id of candidates) if (await exists(join(root, id))) found.push(id);
    entries.push({ id: found[0] ?? named, label, split, there: found.length > 0 });
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

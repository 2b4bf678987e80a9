import type { Dirent } from 'node:fs';
import { readdir, realpath, stat } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { SaccadeError } from '../../engine/support/errors.js';
import { extensionOf, formats } from '../formats/index.js';
import { compareText, type Dataset, type LabelledRecording, type SplitName } from './dataset.js';
import { readDescription } from './description.js';

const layout =
  'one folder per class with its recordings, or train/ and test/ (and validation/) with such folders, or a dataset.json';

/** Names of the folders of an official split. */
const splitFolders: Readonly<Record<string, SplitName>> = {
  train: 'train',
  validation: 'validation',
  val: 'validation',
  test: 'test',
};

/**
 * Opens a folder of labelled recordings in one of these layouts:
 * - a `dataset.json`, as the simulator writes it, names recordings, labels and subjects;
 * - `train/` and `test/` (in any case), perhaps `validation/` or `val/`, with one folder per class each: an official split;
 * - one folder per class.
 *
 * Recordings are the files with the extension of a known event format, at any depth of a class's folder.
 * Hidden files, READMEs (`.txt` is an extension of event tables) and all files beside the class folders are ignored; so are folders without recordings,
 * which `notes` names. Classes are in natural order of their names (9 before 10).
 *
 * @param options.extensions lower-case extensions that recordings have; those of all formats by default.
 * @throws SaccadeError (`input`) for a missing folder or one of no known layout, with fewer than two classes.
 */
export async function openFolderDataset(
  root: string,
  options: { readonly extensions?: readonly string[] } = {},
): Promise<Dataset> {
  const status = await stat(root).catch(() => undefined);
  if (status === undefined) throw unusable(root, 'there is no such folder');
  if (!status.isDirectory()) throw unusable(root, 'this is no folder');

  const described = await readDescription(root);
  if (described !== undefined) return described;

  const extensions = new Set(options.extensions ?? formats.flatMap((format) => format.extensions));
  const folders = await listFolders(root);
  const lower = folders.map((folder) => folder.toLowerCase());
  const official = lower.includes('train') && lower.includes('test');
  const notes: string[] = [];
  const found: { className: string; id: string; split?: SplitName }[] = [];
  const addClasses = async (prefix: string, names: string[], split?: SplitName): Promise<void> => {
    for (const className of names) {
      const ids = await listRecordings(root, `${prefix}${className}`, extensions);
      if (ids.length === 0) notes.push(`The folder ${prefix}${className} holds no recordings.`);
      for (const id of ids) found.push({ className, id, split });
    }
  };
  if (official) {
    for (const folder of folders) {
      const part = folder.toLowerCase();
      const split = Object.hasOwn(splitFolders, part) ? splitFolders[part] : undefined;
      if (split === undefined) notes.push(`The folder ${folder} is no part of the split.`);
      else await addClasses(`${folder}/`, await listFolders(join(root, folder)), split);
    }
  } else {
    await addClasses('', folders);
  }

  const classes = [...new Set(found.map(({ className }) => className))].sort(compareNaturally);
  if (classes.length < 2) {
    const what = classes.length === 0 ? 'no class' : `only the class "${classes[0]}"`;
    throw unusable(root, `found ${what} with recordings (.${[...extensions].join(', .')})`);
  }
  if (official) {
    for (const part of ['train', 'test'] as const) {
      const missing = classes.filter(
        (name) => !found.some(({ className, split }) => className === name && split === part),
      );
      if (missing.length === classes.length) throw unusable(root, `${part}/ holds no recordings`);
      if (missing.length > 0) notes.push(`The part ${part} has none of ${missing.join(', ')}.`);
    }
  }
  const labels = new Map(classes.map((name, label) => [name, label]));
  const recordings = found
    .map(({ className, id, split }): LabelledRecording => {
      const recording = { id, path: join(root, id), label: labels.get(className)! };
      return split === undefined ? recording : { ...recording, split };
    })
    .sort((a, b) => compareText(a.id, b.id));
  return { name: basename(resolve(root)), root, synthetic: false, classes, recordings, notes };
}

function unusable(root: string, problem: string): SaccadeError {
  return new SaccadeError('input', `${problem}; expected ${layout}`, { file: root });
}

const naturally = new Intl.Collator('en', { numeric: true });

function compareNaturally(a: string, b: string): number {
  return naturally.compare(a, b) || compareText(a, b);
}

type EntryKind = 'folder' | 'file' | 'other';

/** What an entry is, links followed; broken links are `other`. */
async function kindOf(folder: string, entry: Dirent): Promise<EntryKind> {
  const status = entry.isSymbolicLink()
    ? await stat(join(folder, entry.name)).catch(() => undefined)
    : entry;
  return status?.isDirectory() ? 'folder' : status?.isFile() ? 'file' : 'other';
}

async function visibleEntries(folder: string): Promise<Dirent[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch((error: unknown) => {
    throw new SaccadeError('input', 'cannot read the folder', { file: folder }, error);
  });
  return entries
    .filter((entry) => !entry.name.startsWith('.'))
    .sort((a, b) => compareText(a.name, b.name));
}

async function listFolders(folder: string): Promise<string[]> {
  const names: string[] = [];
  for (const entry of await visibleEntries(folder)) {
    if ((await kindOf(folder, entry)) === 'folder') names.push(entry.name);
  }
  return names;
}

/** The ids of all recordings below a folder. Links that lead back up are not followed again. */
export async function listRecordings(
  root: string,
  id: string,
  extensions: ReadonlySet<string>,
  above: readonly string[] = [],
): Promise<string[]> {
  const folder = join(root, id);
  const real = await realpath(folder);
  if (above.includes(real)) return [];
  const ids: string[] = [];
  for (const entry of await visibleEntries(folder)) {
    const entryId = id === '' ? entry.name : `${id}/${entry.name}`;
    const kind = await kindOf(folder, entry);
    if (kind === 'folder') {
      ids.push(...(await listRecordings(root, entryId, extensions, [...above, real])));
    } else if (kind === 'file' && isRecordingName(entry.name, extensions)) {
      ids.push(entryId);
    }
  }
  return ids;
}

function isRecordingName(name: string, extensions: ReadonlySet<string>): boolean {
  return extensions.has(extensionOf(name)) && !/^readme\b/i.test(name);
}

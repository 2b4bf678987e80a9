import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openFolderDataset, splitDataset } from '../../ingest/datasets/index.js';

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'saccade-datasets-'));
});
afterEach(async () => {
  await rm(root, { recursive: true, force: true });
});

/** Makes files; what is in them does not matter here. */
async function make(...files: string[]): Promise<void> {
  for (const file of files) {
    const path = join(root, file);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, 'x');
  }
}

async function describeAs(description: unknown): Promise<void> {
  await writeFile(join(root, 'dataset.json'), JSON.stringify(description));
}

describe('openFolderDataset', () => {
  it('takes one folder per class, with nested recordings of any format', async () => {
    await make(
      'wave/b.es',
      'wave/more/a.AEDAT',
      'wave/.hidden.es',
      'wave/notes.md',
      'wave/README.txt',
      'clap/c.raw',
      '.cache/d.es',
      'empty/readme.md',
      'README.md',
      'manifest.csv',
    );
    const dataset = await openFolderDataset(root);
    expect(dataset.synthetic).toBe(false);
    expect(dataset.classes).toEqual(['clap', 'wave']);
    expect(dataset.recordings).toEqual([
      { id: 'clap/c.raw', path: join(root, 'clap/c.raw'), label: 0 },
      { id: 'wave/b.es', path: join(root, 'wave/b.es'), label: 1 },
      { id: 'wave/more/a.AEDAT', path: join(root, 'wave/more/a.AEDAT'), label: 1 },
    ]);
    expect(dataset.notes).toEqual(['The folder empty holds no recordings.']);
  });

  it('orders classes naturally', async () => {
    await make('class10/a.es', 'class9/a.es', 'class1/a.es');
    expect((await openFolderDataset(root)).classes).toEqual(['class1', 'class9', 'class10']);
  });

  it('takes only the extensions it is told', async () => {
    await make('a/1.es', 'a/1.xyz', 'b/2.xyz');
    const dataset = await openFolderDataset(root, { extensions: ['xyz'] });
    expect(dataset.recordings.map(({ id }) => id)).toEqual(['a/1.xyz', 'b/2.xyz']);
  });

  it('follows links, but not round in a circle', async () => {
    await make('a/1.es', 'elsewhere/2.es', 'b/3.es');
    await symlink(join(root, 'elsewhere'), join(root, 'b/linked'));
    await symlink(join(root, 'b'), join(root, 'b/circle'));
    await symlink(join(root, 'gone.es'), join(root, 'b/broken.es'));
    const ids = (await openFolderDataset(root)).recordings.map(({ id }) => id);
    expect(ids).toEqual(['a/1.es', 'b/3.es', 'b/linked/2.es', 'elsewhere/2.es']);
  });

  it('keeps an official split', async () => {
    await make('train/a/1.es', 'train/b/2.es', 'val/a/3.es', 'test/b/4.es', 'other/c/5.es');
    const dataset = await openFolderDataset(root);
    expect(dataset.classes).toEqual(['a', 'b']);
    expect(Object.fromEntries(dataset.recordings.map(({ id, split }) => [id, split]))).toEqual({
      'train/a/1.es': 'train',
      'train/b/2.es': 'train',
      'val/a/3.es': 'validation',
      'test/b/4.es': 'test',
    });
    expect(dataset.notes).toEqual([
      'The folder other is no part of the split.',
      'The part test has none of a.',
    ]);
  });

  it('reads a dataset.json', async () => {
    await make('x/1.es', 'x/2.es');
    await describeAs({
      name: 'two',
      synthetic: true,
      seed: 3,
      classes: ['wave', 'clap'],
      recordings: [
        { file: 'x/2.es', label: 'clap', subject: 'ann' },
        { file: 'x/1.es', label: 'wave', subject: 'bob', split: 'test' },
      ],
    });
    expect(await openFolderDataset(root)).toEqual({
      name: 'two',
      root,
      synthetic: true,
      classes: ['wave', 'clap'],
      recordings: [
        { id: 'x/1.es', path: join(root, 'x/1.es'), label: 0, subject: 'bob', split: 'test' },
        { id: 'x/2.es', path: join(root, 'x/2.es'), label: 1, subject: 'ann', split: undefined },
      ],
      notes: [],
    });
  });

  it.each([
    [{ classes: ['a'], recordings: [] }, /dataset\.json, classes: /],
    [{ classes: ['a', 'b'], recordings: [{ label: 'a' }] }, /recordings\.0\.file/],
    [
      { classes: ['a', 'b'], recordings: [{ file: '../x.es', label: 'a' }] },
      /recordings\.0\.file: expected a path inside/,
    ],
    [
      { classes: ['a', 'b'], recordings: [{ file: 'x.es', label: 'c' }] },
      /recordings\.0\.label: expected one of the classes a, b, got "c"/,
    ],
    [
      { classes: ['a', 'b'], recordings: ['x.es', 'y.es'].map((file) => ({ file, label: 'a' })) },
      /2 of 2 listed recordings are missing: x\.es, y\.es; make/,
    ],
  ])('names what is wrong in a dataset.json: %o', async (description, message) => {
    await describeAs(description);
    await expect(openFolderDataset(root)).rejects.toThrow(message);
  });

  it('says what layout it expected', async () => {
    const missing = join(root, 'missing');
    await expect(openFolderDataset(missing)).rejects.toThrow(`${missing}: there is no such folder`);
    await make('alone/a.es', 'file.es');
    await expect(openFolderDataset(join(root, 'file.es'))).rejects.toThrow(/this is no folder/);
    await expect(openFolderDataset(root)).rejects.toThrow(
      /only the class "alone".*; expected one folder per class/,
    );
    await expect(openFolderDataset(join(root, 'alone'))).rejects.toThrow(/found no class/);
    await expect(openFolderDataset(root)).rejects.toMatchObject({ kind: 'input' });
    await make('train/a/1.es', 'train/b/1.es', 'test/readme.txt');
    await expect(openFolderDataset(root)).rejects.toThrow(/test\/ holds no recordings/);
  });
});

const data = process.env.SACCADE_TEST_DATA ?? '';

describe.skipIf(!existsSync(join(data, 'actions')))(
  'openFolderDataset on real recordings (needs SACCADE_TEST_DATA)',
  () => {
    it('opens human actions and splits them by recording', async () => {
      const dataset = await openFolderDataset(join(data, 'actions'));
      expect(dataset.classes).toEqual(['sit_stand', 'walk_away', 'walk_toward']);
      expect(dataset.recordings).toHaveLength(9);
      const split = splitDataset(dataset, { seed: 1 });
      expect(split.groupedBy).toBe('recording');
      expect(split.test.map(({ recording }) => recording.label)).toEqual([0, 1, 2]);
      expect(split.notes.join(' ')).toContain('walk_away');
    });

    it('opens N-MNIST with its official split', async () => {
      const dataset = await openFolderDataset(join(data, 'nmnist'));
      expect(dataset.classes).toEqual([...'0123456789']);
      expect(dataset.recordings).toHaveLength(1100);
      const split = splitDataset(dataset, { seed: 1 });
      expect(split.groupedBy).toBe('official');
      expect(split.test).toHaveLength(100);
      expect(split.train.length + split.validation.length).toBe(1000);
      expect(split.validation.length).toBeGreaterThan(180);
      expect([...split.train, ...split.validation].map(({ recording }) => recording.split)).toEqual(
        Array.from({ length: 1000 }, () => 'train'),
      );
    });

    it('opens card suits', async () => {
      const dataset = await openFolderDataset(join(data, 'pips', 'aedat'));
      expect(dataset.classes).toEqual(['club', 'diamond', 'heart', 'spade']);
      expect(dataset.recordings.length).toBeGreaterThan(90);
    });
  },
);

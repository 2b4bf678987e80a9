import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  checkDataset,
  type Dataset,
  datasetLayouts,
  openDataset,
  openLabelled,
  splitDataset,
  writeChecksums,
} from '../../ingest/datasets/index.js';
import { concatBatches, type EventBatch } from '../../ingest/eventBatch.js';
import { writeRecording } from '../../ingest/recording.js';
import { simulateGesture } from '../../ingest/simulator/index.js';
import { collect, streamOf } from './streams.js';

let root = '';
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'saccade-test-'));
});
afterEach(async () => {
  await rm(root, { recursive: true });
});

const sensor = { width: 32, height: 32 };

/** A short synthetic recording. */
const simulated: EventBatch = concatBatches([
  ...simulateGesture({ gesture: 'air_drums', subjectSeed: 1, sensor, durationUs: 300_000 }),
]);

async function record(file: string, format: string): Promise<void> {
  const path = join(root, file);
  await mkdir(dirname(path), { recursive: true });
  await writeRecording(path, streamOf([simulated]), { sensor, format });
}

async function text(file: string, content: string): Promise<void> {
  const path = join(root, file);
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, content);
}

async function gestureFolder(): Promise<void> {
  for (const [user, list] of [
    ['user01', 'train'],
    ['user02', 'train'],
    ['user24', 'test'],
  ]) {
    await record(`${user}_led.aedat`, 'aedat3');
    const rows = '1,0,100000\n2,100000,200000\n11,150000,250000\n';
    await text(`${user}_led_labels.csv`, `class,startTime_usec,endTime_usec\n${rows}`);
    const lists = `trials_to_${list}.txt`;
    const before = await readFile(join(root, lists), 'utf8').catch(() => '');
    await text(lists, `${before}${user}_led.aedat\n`);
  }
}

describe('DVS128 Gesture', () => {
  it('is told from its lists, and gives each gesture with its time, subject and part', async () => {
    await gestureFolder();
    const dataset = await openDataset(root);
    expect(dataset).toMatchObject({ name: 'dvs128-gesture', synthetic: false });
    expect(dataset.classes).toHaveLength(11);
    expect(dataset.recordings).toHaveLength(9);
    expect(dataset.recordings[1]).toMatchObject({
      id: 'user01_led.aedat#2',
      label: 1,
      subject: 'user01',
      split: 'train',
      range: { fromUs: 100_000, toUs: 200_000 },
    });
    const opened = await openLabelled(dataset.recordings[1]);
    const [batch] = await collect(opened.batches());
    expect(batch.tUs[0]).toBeGreaterThanOrEqual(100_000);
    expect(batch.tUs[batch.length - 1]).toBeLessThan(200_000);
    const expected = simulated.tUs.filter((t) => t >= 120_000 && t < 200_000);
    const [later] = await collect(opened.batches({ fromUs: 120_000, toUs: 1e9 }));
    expect(later.tUs).toEqual(expected);
  });

  it('keeps validation apart from test, by subject', async () => {
    await gestureFolder();
    const split = splitDataset(await openDataset(root), { seed: 1 });
    const subjects = (part: 'train' | 'validation' | 'test'): (string | undefined)[] => [
      ...new Set(split[part].map(({ recording }) => recording.subject)),
    ];
    expect(subjects('test')).toEqual(['user24']);
    expect(subjects('validation')).toHaveLength(1);
    expect(subjects('validation')).not.toEqual(subjects('train'));
  });

  it('names a recording or a label that is missing or wrong', async () => {
    await gestureFolder();
    await text('user02_led_labels.csv', 'class,startTime_usec,endTime_usec\n12,0,5\n');
    await expect(openDataset(root)).rejects.toThrow(/user02_led_labels\.csv, class: .*1 to 11/);
    await rm(join(root, 'user02_led_labels.csv'));
    await expect(openDataset(root)).rejects.toThrow(/user02_led_labels\.csv: cannot be read/);
    await rm(join(root, 'user01_led.aedat'));
    await expect(openDataset(root)).rejects.toThrow(
      /1 of \d listed recordings are missing: user01_led\.aedat/,
    );
  });
});

describe('SL-Animals-DVS', () => {
  it('gives signs by the numbers of their events', async () => {
    await record('allusers_aedat/user00_indoor.aedat', 'aedat3');
    await text(
      'tags_updated_19_08_2020/user00_indoor.csv',
      'class,startTime_ev,endTime_ev\n1,0,50\n2,50,120\n',
    );
    const { name, recordings, classes } = await openDataset(root);
    expect([name, classes.length]).toEqual(['sl-animals-dvs', 19]);
    expect(classes[1]).toBe('sign2');
    await text('SL-Animals-DVS_gestures_definitions.csv', 'number,name\r\n1,Cat\r\n2,Dog\r\n');
    expect((await openDataset(root)).classes.slice(0, 3)).toEqual(['Cat', 'Dog', 'sign3']);
    expect(recordings.map(({ label, subject }) => [label, subject])).toEqual([
      [0, 'user00'],
      [1, 'user00'],
    ]);
    const opened = await openLabelled(recordings[1]);
    const whole = concatBatches(await collect(opened.batches({ batchLength: 33 })));
    expect(whole.tUs).toEqual(simulated.tUs.slice(50, 120));
    const late = await collect(opened.batches({ fromUs: simulated.tUs[100] }));
    expect(concatBatches(late).tUs[0]).toBe(simulated.tUs[100]);
  });
});

describe('folders of classes', () => {
  it.each([
    ['n-mnist', 'nmnist', ['Train/0/1.bin', 'Train/1/2.bin', 'Test/0/3.bin', 'Test/1/4.bin']],
    [
      'dvs-lip',
      'npy',
      ['train/about/0.npy', 'train/after/1.npy', 'test/about/0.npy', 'test/after/2.npy'],
    ],
    [
      'n-caltech101',
      'nmnist',
      ['Caltech101/airplanes/image_0001.bin', 'Caltech101/ant/image_0001.bin'],
    ],
    ['cifar10-dvs', 'aedat2', ['airplane/cifar10_airplane_0.aedat', 'bird/cifar10_bird_0.aedat']],
    ['asl-dvs', 'mat', ['a/a_0001.mat', 'b/b_0001.mat']],
    ['paf', 'aedat2', ['arm crossing/ann_1.2.aedat', 'get up/bob_2.1.aedat']],
  ])('reads %s', async (name, format, files) => {
    for (const file of files) await record(file, format);
    const dataset = await openDataset(root, name);
    expect(dataset.recordings).toHaveLength(files.length);
    expect(dataset.classes).toHaveLength(2);
    expect(dataset.notes.join()).toMatch(/There are 2 of \d+ classes/);
    const parts = dataset.recordings.map(({ split }) => split);
    const official = files[0].toLowerCase().startsWith('train');
    expect(parts.includes('test')).toBe(official);
    for (const recording of dataset.recordings) {
      const opened = await openLabelled(recording, { sensor });
      expect(concatBatches(await collect(opened.batches())).length).toBe(simulated.length);
    }
  });
});

describe('lists of recordings', () => {
  it.each([
    ['hardvs', 'train_label.txt', 'val_label.txt', 'test_label.txt'],
    ['dailydvs-200', 'train.txt', 'val.txt', 'test.txt'],
    ['e-faction', 'train.txt', 'val.txt', 'test.txt'],
  ])('reads %s', async (name, train, validation, test) => {
    for (const file of ['one/C0P1.aedat4', 'two/C1P2.aedat4', 'two/C1P3.aedat4']) {
      await record(file, 'aedat4');
    }
    await text(train, 'one/C0P1.aedat4 0\n');
    await text(validation, 'two/C1P2 120 1\n');
    await text(test, './two/C1P3.aedat4,1\n');
    const { recordings } = await openDataset(root, name);
    expect(recordings.map(({ id, label, split }) => [id, label, split])).toEqual([
      ['one/C0P1.aedat4', 0, 'train'],
      ['two/C1P2.aedat4', 1, 'validation'],
      ['two/C1P3.aedat4', 1, 'test'],
    ]);
    if (name === 'dailydvs-200') expect(recordings[0].subject).toBe('P1');
  });

  it('HARDVS: finds the compact event files in their folders, also with blanks', async () => {
    const first = 'MINIHARDVS_EVENT_files/action_001/dvSave-1/dvSave-1.npz';
    await record(first, 'npz');
    await record('action_300/dvSave-2 (2).npz', 'npz');
    await text('train_label.txt', 'action_001/dvSave-1 0\naction_300/dvSave-2 (2) 8 299\n');
    const { recordings, classes } = await openDataset(root, 'hardvs');
    expect(recordings.map(({ id, label }) => [id, label])).toEqual([
      [first, 0],
      ['action_300/dvSave-2 (2).npz', 299],
    ]);
    expect(classes).toHaveLength(300);
  });

  it('SeAct: codes in names say the action, folders the subject; lists name files of another machine', async () => {
    const files = [
      'f1-ann/0021-2023_08_19_15.aedat4',
      'm3-xu/xu1020-2023.aedat4',
      'm3-xu/3006-1.aedat4',
    ];
    for (const file of files) await record(file, 'aedat4');
    const labels = (dataset: Dataset): unknown[] =>
      dataset.recordings.map(({ id, label, subject, split }) => [
        id,
        dataset.classes[label],
        subject,
        split,
      ]);
    expect(labels(await openDataset(root, 'seact'))).toEqual([
      [files[0], 'waving hand', 'f1-ann', undefined],
      [files[2], 'handing box', 'm3-xu', undefined],
      [files[1], 'run with a box', 'm3-xu', undefined],
    ]);
    await text('SeAct_train.txt', `/home/data/DVS Semantic Action/${files[0]}\n`);
    await text('SeAct_val.txt', `/home/data/DVS Semantic Action/${files[1]}\n`);
    expect(labels(await openDataset(root, 'seact'))).toEqual([
      [files[0], 'waving hand', 'f1-ann', 'train'],
      [files[1], 'run with a box', 'm3-xu', 'test'],
    ]);
    await text('SeAct_val.txt', 'G:\\SeAct\\m3-xu\\3006-1.aedat4\r\n');
    expect((await openDataset(root, 'seact')).recordings[1].id).toBe(files[2]);
  });

  it('DailyDVS-200: without lists, names say action and participant, and these the part', async () => {
    for (const participant of [0, 3, 4, 45]) {
      await record(`11_11/C199P${participant}M0S1_20231111_09_11_23.aedat4`, 'aedat4');
    }
    const { recordings } = await openDataset(root, 'dailydvs-200');
    expect(recordings.map(({ label, subject, split }) => [label, subject, split])).toEqual([
      [199, 'P0', 'train'],
      [199, 'P3', 'validation'],
      [199, 'P45', 'test'],
      [199, 'P4', 'test'],
    ]);
  });

  it('says what is expected where names say nothing', async () => {
    await record('a/walk.aedat4', 'aedat4');
    await expect(openDataset(root, 'seact')).rejects.toThrow(/no lists.*names that say/);
  });

  it('falls back to folders, and names what is wrong with a list', async () => {
    await record('a/1.npy', 'npy');
    await record('b/1.npy', 'npy');
    expect((await openDataset(root, 'thu-eact-50')).classes).toEqual(['a', 'b']);
    await text('train.txt', 'a/1.npy 1\nc/9.npy 2\n');
    await expect(openDataset(root, 'thu-eact-50')).rejects.toThrow(/1 of 2 .* missing: c\/9\.npy/);
    await text('train.txt', 'a/1.npy 1\nb/1.npy 51\n');
    await expect(openDataset(root, 'thu-eact-50')).rejects.toThrow(/label 51, expected 50 classes/);
    await text('train.txt', 'a/1.npy first\n');
    await expect(openDataset(root, 'thu-eact-50')).rejects.toThrow(/train\.txt: line 1/);
    await expect(openDataset(root, 'imagenet')).rejects.toThrow(/unknown .*dvs128-gesture/);
  });

  it('have distinct names', () => {
    const names = datasetLayouts.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
  });
});

describe('checkDataset', () => {
  it('names files that are missing, changed or damaged', async () => {
    await gestureFolder();
    const dataset = await openDataset(root);
    expect(await checkDataset(dataset)).toEqual([]);
    expect(await writeChecksums(dataset)).toBe(3);
    expect(await checkDataset(dataset)).toEqual([]);
    const path = join(root, 'user02_led.aedat');
    const bytes = await readFile(path);
    bytes[bytes.length - 1] ^= 1;
    await writeFile(path, bytes);
    await rm(join(root, 'user24_led.aedat'));
    expect(await checkDataset(dataset)).toEqual([
      { file: 'user02_led.aedat', problem: expect.stringMatching(/damaged: its SHA-256/) },
      { file: 'user24_led.aedat', problem: 'missing' },
    ]);
    await text('SHA256SUMS', 'nonsense\n');
    await expect(checkDataset(dataset)).rejects.toThrow(/SHA256SUMS: line 1/);
  });

  it('names recordings that are cut off or hold nothing, also without checksums', async () => {
    await gestureFolder();
    const path = join(root, 'user01_led.aedat');
    const bytes = await readFile(path);
    await writeFile(path, bytes.subarray(0, bytes.length - 3));
    await text(
      'user02_led_labels.csv',
      'class,startTime_usec,endTime_usec\n1,900000000,900000001\n',
    );
    const problems = await checkDataset(await openDataset(root));
    expect(problems.map(({ file }) => file)).toEqual(['user01_led.aedat', 'user02_led.aedat']);
    expect(problems[0].problem).toMatch(/damaged in \d places, the first at byte \d+/);
    expect(problems[1].problem).toBe('user02_led.aedat#1 has no events');
  });
});

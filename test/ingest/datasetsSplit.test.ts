import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type Dataset,
  type LabelledRecording,
  type RecordingPart,
  type Split,
  splitDataset,
} from '../../ingest/datasets/index.js';

const datasetOf = (
  recordings: readonly Omit<LabelledRecording, 'path'>[],
  classes: number,
): Dataset => ({
  name: 'made up',
  root: '/data',
  synthetic: false,
  classes: Array.from({ length: classes }, (_, label) => `class${label}`),
  recordings: recordings.map((recording) => ({ ...recording, path: `/data/${recording.id}` })),
  notes: [],
});

/** A data set with that many recordings of each class. */
const withCounts = (counts: readonly number[]): Dataset =>
  datasetOf(
    counts.flatMap((count, label) =>
      Array.from({ length: count }, (_, k) => ({ id: `class${label}/${k}.es`, label })),
    ),
    counts.length,
  );

const withSubjects = (subjects: number, classes: number, recordings = 2): Dataset =>
  datasetOf(
    Array.from({ length: subjects }, (_, s) => s).flatMap((s) =>
      Array.from({ length: classes * recordings }, (_, k) => ({
        id: `class${k % classes}/subject${s}_${k}.es`,
        label: k % classes,
        subject: `subject${s}`,
      })),
    ),
    classes,
  );

const ids = (parts: readonly RecordingPart[]): string[] =>
  parts.map(({ recording }) => recording.id);
const ofLabel = (parts: readonly RecordingPart[], label: number): readonly RecordingPart[] =>
  parts.filter(({ recording }) => recording.label === label);
const timeOf = ({ part = [0, 1] }: RecordingPart): readonly [number, number] => part;

/** Every moment of every recording is in exactly one list. */
function expectPartition(dataset: Dataset, split: Split): void {
  const all = [...split.train, ...split.validation, ...split.test];
  for (const { id } of dataset.recordings) {
    const times = all
      .filter(({ recording }) => recording.id === id)
      .map(timeOf)
      .sort((a, b) => a[0] - b[0]);
    expect(times[0][0]).toBe(0);
    expect(times[times.length - 1][1]).toBe(1);
    for (let k = 1; k < times.length; k++) expect(times[k][0]).toBe(times[k - 1][1]);
  }
  expect(new Set(ids(all)).size).toBe(dataset.recordings.length);
}

describe('splitDataset by recording', () => {
  it('puts every recording into one part, and of every class something into each', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 12 }), { minLength: 2, maxLength: 6 }),
        fc.integer(),
        fc.double({ min: 0.01, max: 0.45, noNaN: true }),
        fc.double({ min: 0.01, max: 0.45, noNaN: true }),
        (counts, seed, validation, test) => {
          const dataset = withCounts(counts);
          const split = splitDataset(dataset, { seed, validation, test });
          expect(split.groupedBy).toBe('recording');
          expectPartition(dataset, split);
          for (const [label, count] of counts.entries()) {
            expect(ofLabel(split.train, label).length).toBeGreaterThan(0);
            expect(ofLabel(split.validation, label).length).toBeGreaterThan(0);
            expect(ofLabel(split.test, label).length).toBeGreaterThan(0);
            const whole = (parts: readonly RecordingPart[]): boolean =>
              ofLabel(parts, label).every(({ part }) => part === undefined);
            expect(whole(split.test)).toBe(count >= 2);
            expect(whole(split.validation)).toBe(count >= 3);
          }
          expect(split.notes.length > 0).toBe(counts.some((count) => count < 3));
        },
      ),
    );
  });

  it('takes the shares it is told where there is enough', () => {
    const split = splitDataset(withCounts([50, 30]), { seed: 1, validation: 0.1, test: 0.3 });
    expect([0, 1].map((label) => ofLabel(split.test, label).length)).toEqual([15, 9]);
    expect([0, 1].map((label) => ofLabel(split.validation, label).length)).toEqual([5, 3]);
    expect(split.notes).toEqual([]);
  });

  it('cuts classes of two recordings and of one in time, and says so', () => {
    const split = splitDataset(withCounts([2, 1, 5]), { seed: 1 });
    const times = (label: number): unknown => ({
      train: ofLabel(split.train, label).map(timeOf),
      validation: ofLabel(split.validation, label).map(timeOf),
      test: ofLabel(split.test, label).map(timeOf),
    });
    expect(times(0)).toEqual({ train: [[0, 0.75]], validation: [[0.75, 1]], test: [[0, 1]] });
    expect(times(1)).toEqual({ train: [[0, 0.6]], validation: [[0.6, 0.75]], test: [[0.75, 1]] });
    expect(split.notes).toHaveLength(2);
    expect(split.notes[0]).toMatch(/class0.*not independent/);
    expect(split.notes[1]).toMatch(/class1.*neither validation nor test is independent/);
  });

  it('leaves out parts whose share is zero', () => {
    const dataset = withCounts([1, 2, 6]);
    const trainOnly = splitDataset(dataset, { seed: 1, validation: 0, test: 0 });
    expect(trainOnly.train).toHaveLength(9);
    expect(trainOnly.notes).toEqual([]);
    const noTest = splitDataset(dataset, { seed: 1, test: 0 });
    expect(noTest.test).toEqual([]);
    expectPartition(dataset, noTest);
    expect(ofLabel(noTest.validation, 1).map(timeOf)).toEqual([[0, 1]]);
  });

  it('depends on the seed and not on the order of the recordings', () => {
    const dataset = withCounts([8, 9, 10]);
    const split = splitDataset(dataset, { seed: 1 });
    const reversed = { ...dataset, recordings: [...dataset.recordings].reverse() };
    expect(splitDataset(reversed, { seed: 1 })).toEqual(split);
    expect(splitDataset(dataset, { seed: 2 })).not.toEqual(split);
    expect(ids(split.train)).toEqual([...ids(split.train)].sort());
  });
});

describe('splitDataset by subject', () => {
  it('never has a subject in two parts', () => {
    fc.assert(
      fc.property(fc.integer({ min: 3, max: 15 }), fc.integer(), (subjects, seed) => {
        const dataset = withSubjects(subjects, 3);
        const split = splitDataset(dataset, { seed });
        expect(split.groupedBy).toBe('subject');
        expectPartition(dataset, split);
        const seen = (['train', 'validation', 'test'] as const).map(
          (part) => new Set(split[part].map(({ recording }) => recording.subject)),
        );
        expect(seen.every(({ size }) => size > 0)).toBe(true);
        expect(seen[0].size + seen[1].size + seen[2].size).toBe(subjects);
        expect(split.notes).toEqual([]);
      }),
    );
  });

  it('draws subjects so that train has every class where that can be', () => {
    // Only two of eight subjects do class 1.
    const recordings = withSubjects(8, 2).recordings.filter(
      ({ label, subject }) => label === 0 || subject === 'subject0' || subject === 'subject5',
    );
    for (const seed of [1, 2, 3, 4, 5]) {
      const split = splitDataset(datasetOf(recordings, 2), { seed });
      const parts = [split.train, split.validation, split.test];
      expect(parts.filter((part) => ofLabel(part, 1).length > 0)).toHaveLength(2);
      expect(split.notes).toHaveLength(1);
      expect(split.notes[0]).toMatch(/^No subject of the part \w+ does class1\.$/);
    }
  });

  it('splits by recording where subjects are too few, and says so', () => {
    const split = splitDataset(withSubjects(2, 2, 3), { seed: 1 });
    expect(split.groupedBy).toBe('recording');
    expect(split.notes[0]).toMatch(/There are 2 subjects, too few/);
  });

  it('splits by recording where not every recording names its subject', () => {
    const { recordings } = withSubjects(6, 2);
    const unnamed = recordings.map((recording, k) =>
      k === 0 ? { ...recording, subject: undefined } : recording,
    );
    expect(splitDataset(datasetOf(unnamed, 2), { seed: 1 }).groupedBy).toBe('recording');
  });
});

describe('splitDataset of an official split', () => {
  const official = (parts: readonly LabelledRecording['split'][], subjects = false): Dataset =>
    datasetOf(
      parts.flatMap((split, k) =>
        [0, 1].map((label) => ({
          id: `${split}/class${label}/${k}.es`,
          label,
          split,
          subject: subjects ? `subject${k}` : undefined,
        })),
      ),
      2,
    );

  it('keeps its parts', () => {
    const dataset = official(['train', 'train', 'validation', 'test']);
    const split = splitDataset(dataset, { seed: 1 });
    expect(split.groupedBy).toBe('official');
    for (const part of ['train', 'validation', 'test'] as const) {
      expect(split[part].every(({ recording }) => recording.split === part)).toBe(true);
    }
    expectPartition(dataset, split);
    expect(split.notes).toEqual([]);
  });

  it.each([true, false])('takes validation out of train only (subjects: %s)', (subjects) => {
    const parts = [...Array.from({ length: 9 }, () => 'train' as const), 'test' as const];
    const dataset = official(parts, subjects);
    const split = splitDataset(dataset, { seed: 3 });
    expect(split.groupedBy).toBe('official');
    expect(ids(split.test)).toEqual(['test/class0/9.es', 'test/class1/9.es']);
    expect(split.validation).toHaveLength(4);
    expect(split.validation.every(({ recording }) => recording.split === 'train')).toBe(true);
    if (subjects) {
      const held = new Set(split.validation.map(({ recording }) => recording.subject));
      expect(split.train.some(({ recording }) => held.has(recording.subject))).toBe(false);
    }
    expectPartition(dataset, split);
    expect(split.notes.join(' ')).toContain('taken out of train');
  });
});

describe('splitDataset options', () => {
  it.each([
    [{ validation: -0.1 }, /^validation: expected a share/],
    [{ test: 1 }, /^test: expected a share/],
    [{ test: Number.NaN }, /^test: expected a share/],
    [{ validation: 0.5, test: 0.5 }, /leave nothing to train on/],
  ])('names a wrong one: %o', (options, message) => {
    expect(() => splitDataset(withCounts([3, 3]), { seed: 1, ...options })).toThrow(message);
  });
});

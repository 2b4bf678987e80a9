import { SaccadeError } from '../../engine/support/errors.js';
import { createRandom, permutation } from '../../engine/support/random.js';
import { compareText, type Dataset, type LabelledRecording, type SplitName } from './dataset.js';

/** A recording, or a part of its time. */
export interface RecordingPart {
  readonly recording: LabelledRecording;
  /** Share of the recording's duration, `[from, to)` in 0 … 1; the whole recording when absent. */
  readonly part?: readonly [from: number, to: number];
}

/** Which recordings are for what; each list is sorted by id. */
export interface Split extends Readonly<Record<SplitName, readonly RecordingPart[]>> {
  /** What never is in two lists; `official`: the data set itself says what is train and test. */
  readonly groupedBy: 'subject' | 'recording' | 'official';
  /** Compromises that make a result less sure, in plain sentences. */
  readonly notes: readonly string[];
}

export interface SplitOptions {
  readonly seed: number;
  /** Share of the recordings (or subjects) for validation, 0 … 1. Default 0.2. */
  readonly validation?: number;
  /** Share for the test, 0 … 1. Default 0.2. */
  readonly test?: number;
}

/** A split being filled. */
interface Draft extends Record<SplitName, RecordingPart[]> {
  readonly notes: string[];
}

/**
 * Splits a data set into train, validation and test. It depends on the seed and the recordings' ids alone.
 *
 * - With an official split, its parts are kept; where it has no validation part, that is taken out of train.
 * - Where every recording names its subject and there are enough of them, whole subjects are drawn.
 * - Otherwise recordings are drawn for each class: at least one for the test where it has two, and one for
 *   validation where it has three. Classes with fewer are cut in time, which `notes` says.
 *
 * @throws SaccadeError (`usage`) for shares outside 0 … 1, or that leave nothing to train on.
 */
export function splitDataset(dataset: Dataset, options: SplitOptions): Split {
  const { seed, validation = 0.2, test = 0.2 } = options;
  for (const [field, share] of Object.entries({ validation, test })) {
    if (!(share >= 0 && share < 1)) {
      throw new SaccadeError('usage', `expected a share from 0 to below 1, got ${share}`, {
        field,
      });
    }
  }
  if (validation + test >= 1) {
    const message = `validation (${validation}) and test (${test}) leave nothing to train on`;
    throw new SaccadeError('usage', message, { field: 'validation' });
  }
  const recordings = [...dataset.recordings].sort((a, b) => compareText(a.id, b.id));
  const { classes } = dataset;
  const draft: Draft = { train: [], validation: [], test: [], notes: [] };
  const groupedBy = recordings.some(({ split }) => split !== undefined)
    ? keepOfficial(recordings, classes, seed, validation, draft)
    : drawGroups(recordings, classes, seed, { validation, test }, draft);
  for (const part of ['train', 'validation', 'test'] as const) {
    draft[part].sort((a, b) => compareText(a.recording.id, b.recording.id));
  }
  return { ...draft, groupedBy };
}

interface Shares {
  readonly validation: number;
  readonly test: number;
}

function keepOfficial(
  recordings: readonly LabelledRecording[],
  classes: readonly string[],
  seed: number,
  validation: number,
  draft: Draft,
): 'official' {
  const of = (part: SplitName): LabelledRecording[] =>
    recordings.filter(({ split = 'train' }) => split === part);
  draft.test.push(...of('test').map((recording) => ({ recording })));
  const official = of('validation');
  if (official.length > 0) {
    draft.validation.push(...official.map((recording) => ({ recording })));
    draft.train.push(...of('train').map((recording) => ({ recording })));
  } else {
    drawGroups(of('train'), classes, seed, { validation, test: 0 }, draft);
    if (validation > 0) {
      draft.notes.push('The official split has no validation part, so it is taken out of train.');
    }
  }
  return 'official';
}

function drawGroups(
  recordings: readonly LabelledRecording[],
  classes: readonly string[],
  seed: number,
  shares: Shares,
  draft: Draft,
): 'subject' | 'recording' {
  const subjects = [...new Set(recordings.map(({ subject }) => subject))];
  const parts = 1 + Number(shares.validation > 0) + Number(shares.test > 0);
  if (recordings.length > 0 && !subjects.includes(undefined)) {
    if (subjects.length >= parts) {
      drawSubjects(recordings, subjects as string[], classes, seed, shares, draft);
      return 'subject';
    }
    const count = subjects.length === 1 ? 'is 1 subject' : `are ${subjects.length} subjects`;
    draft.notes.push(
      `There ${count}, too few for ${parts} parts, so the same subject is in more than one part.`,
    );
  }
  drawRecordings(recordings, classes, seed, shares, draft);
  return 'recording';
}

/** How many of `count` go where: by share, but one at least wherever that leaves one to train on. */
function countParts(count: number, { validation, test }: Shares): Shares {
  const clamp = (value: number, low: number, high: number): number =>
    Math.max(low, Math.min(high, value));
  const wantsValidation = validation > 0 && count >= (test > 0 ? 3 : 2) ? 1 : 0;
  const room = count - 1 - wantsValidation;
  const testCount = test > 0 && room > 0 ? clamp(Math.round(count * test), 1, room) : 0;
  const validationCount = wantsValidation
    ? clamp(Math.round(count * validation), 1, count - 1 - testCount)
    : 0;
  return { validation: validationCount, test: testCount };
}

function drawSubjects(
  recordings: readonly LabelledRecording[],
  subjects: readonly string[],
  classes: readonly string[],
  seed: number,
  shares: Shares,
  draft: Draft,
): void {
  const counts = countParts(subjects.length, shares);
  const sorted = [...subjects].sort(compareText);
  // Not every subject need do every action: of several draws, take the first that misses least.
  let best: { partOf: Map<string, SplitName>; missing: string[] } | undefined;
  for (let attempt = 0; attempt < 64 && best?.missing.length !== 0; attempt++) {
    const random = createRandom(seed, 'split', 'subjects', attempt);
    const partOf = new Map<string, SplitName>();
    permutation(sorted.length, random).forEach((subject, rank) => {
      const part: SplitName =
        rank < counts.test
          ? 'test'
          : rank < counts.test + counts.validation
            ? 'validation'
            : 'train';
      partOf.set(sorted[subject], part);
    });
    const missing = missingClasses(recordings, classes, partOf);
    if (best === undefined || missing.length < best.missing.length) best = { partOf, missing };
  }
  for (const recording of recordings) {
    draft[best!.partOf.get(recording.subject!)!].push({ recording });
  }
  for (const gap of best!.missing) draft.notes.push(`No subject of the part ${gap}.`);
}

/** Gaps such as `train does wave`, for classes that a part has none of. */
function missingClasses(
  recordings: readonly LabelledRecording[],
  classes: readonly string[],
  partOf: ReadonlyMap<string, SplitName>,
): string[] {
  const there = new Set(recordings.map(({ label, subject }) => `${partOf.get(subject!)} ${label}`));
  const present = new Set(recordings.map(({ label }) => label));
  const missing: string[] = [];
  for (const part of new Set(partOf.values())) {
    for (const label of [...present].sort((a, b) => a - b)) {
      if (!there.has(`${part} ${label}`)) missing.push(`${part} does ${classes[label]}`);
    }
  }
  return missing;
}

function drawRecordings(
  recordings: readonly LabelledRecording[],
  classes: readonly string[],
  seed: number,
  shares: Shares,
  draft: Draft,
): void {
  const cutForValidation: string[] = [];
  const cutForAll: string[] = [];
  for (const [label, className] of classes.entries()) {
    const ofClass = recordings.filter((recording) => recording.label === label);
    if (ofClass.length === 0) continue;
    const random = createRandom(seed, 'split', 'recordings', className);
    const drawn = Array.from(permutation(ofClass.length, random), (index) => ofClass[index]);
    const counts = countParts(drawn.length, shares);
    const forTest = drawn.slice(0, counts.test);
    const forValidation = drawn.slice(counts.test, counts.test + counts.validation);
    const forTrain = drawn.slice(counts.test + counts.validation);
    draft.test.push(...forTest.map((recording) => ({ recording })));
    draft.validation.push(...forValidation.map((recording) => ({ recording })));
    const cutsTest = shares.test > 0 && forTest.length === 0;
    const cutsValidation = shares.validation > 0 && forValidation.length === 0;
    if (!cutsTest && !cutsValidation) {
      draft.train.push(...forTrain.map((recording) => ({ recording })));
      continue;
    }
    // Too few recordings for all parts: only one is left to train on, and its end serves the others.
    const [recording] = forTrain;
    const testFrom = cutsTest ? 0.75 : 1;
    const validationFrom = cutsValidation ? (cutsTest ? 0.6 : 0.75) : testFrom;
    draft.train.push({ recording, part: [0, validationFrom] });
    if (cutsValidation) draft.validation.push({ recording, part: [validationFrom, testFrom] });
    if (cutsTest) draft.test.push({ recording, part: [testFrom, 1] });
    (cutsTest ? cutForAll : cutForValidation).push(className);
  }
  if (cutForValidation.length > 0) {
    draft.notes.push(
      `Too few recordings of ${cutForValidation.join(', ')}: the last 25 % of the time of a train recording are for validation, which is not independent of training.`,
    );
  }
  if (cutForAll.length > 0) {
    draft.notes.push(
      `One recording only of ${cutForAll.join(', ')}: it is cut in time, its last 25 % are for the test, so neither validation nor test is independent of training.`,
    );
  }
}

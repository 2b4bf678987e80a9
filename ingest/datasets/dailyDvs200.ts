import type { SplitName } from './dataset.js';
import { listLayout } from './layout.js';

/** Participants of the published parts. Two of them are in two parts; here they are for the test, so that none is seen twice. */
const participants: Readonly<Record<Exclude<SplitName, 'train'>, readonly number[]>> = {
  test: [4, 7, 10, 11, 16, 33, 37, 42, 45],
  validation: [3, 5, 24, 27, 31, 41, 43],
};

function splitOf(subject: string): SplitName {
  const participant = Number(subject.slice(1));
  if (participants.test.includes(participant)) return 'test';
  return participants.validation.includes(participant) ? 'validation' : 'train';
}

/**
 * DailyDVS-200 (Wang et al., ECCV 2024): 200 actions by 47 people, `.aedat4` of a DVXplorer Lite (320x240) at any depth, named
 * `C<action>P<person>M<motion>S<scene>_TIME.aedat4`. `train.txt`, `val.txt` and `test.txt` list relative path and action, split
 * by participants; without them, the published numbers of the participants tell the part. Of these, participant 4 is
 * published as of test and validation, and 45 as of train and test.
 *
 * Verified in the authors' repository QiWang233/DailyDVS-200: `README.md` (names, lists, participants). An assumption: what
 * separates path and action in the lists.
 */
export const dailyDvs200 = listLayout({
  name: 'dailydvs-200',
  title: 'DailyDVS-200',
  source: 'https://github.com/QiWang233/DailyDVS-200',
  extensions: ['aedat4'],
  classCount: 200,
  lists: { train: ['train.txt'], validation: ['val.txt'], test: ['test.txt'] },
  labelOf: (id) => {
    const [, action] = /(?:^|\/)C(\d+)P\d+[^/]*$/.exec(id) ?? [];
    return action === undefined ? undefined : Number(action);
  },
  subjectOf: (id) => /(?:^|\/)C\d+(P\d+)[^/]*$/.exec(id)?.[1],
  splitOf,
});

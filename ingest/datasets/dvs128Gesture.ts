import { join } from 'node:path';
import { SaccadeError } from '../../engine/support/errors.js';
import { compareText, type LabelledRecording, missingRecordings } from './dataset.js';
import { type DatasetLayout, exists, readRows, readText, wholeNumber } from './layout.js';

/** In the order of the labels 1 to 11. */
const classes = [
  'hand_clapping',
  'right_hand_wave',
  'left_hand_wave',
  'right_arm_clockwise',
  'right_arm_counter_clockwise',
  'left_arm_clockwise',
  'left_arm_counter_clockwise',
  'arm_roll',
  'air_drums',
  'air_guitar',
  'other_gestures',
];

const lists = { train: 'trials_to_train.txt', test: 'trials_to_test.txt' } as const;

/**
 * DVS128 Gesture (Amir et al., CVPR 2017): `userNN_LIGHT.aedat` (AEDAT 3.1), each with several gestures, whose class
 * (1 to 11), start and end (µs) stand in `userNN_LIGHT_labels.csv`. `trials_to_train.txt` and `trials_to_test.txt` list
 * the files; users 24 to 29 are for the test.
 *
 * Some gestures overlap in time or occur twice, as published. Layout as loaders of others read it; it was not
 * checked on the published files.
 */
export const dvs128Gesture: DatasetLayout = {
  name: 'dvs128-gesture',
  title: 'DVS128 Gesture',
  source: 'https://research.ibm.com/interactive/dvsgesture/',

  async detect(root) {
    return (await exists(join(root, lists.train))) && (await exists(join(root, lists.test)));
  },

  async open(root) {
    const recordings: LabelledRecording[] = [];
    const notes: string[] = [];
    const listed: { readonly name: string; readonly split: 'train' | 'test' }[] = [];
    const missing: string[] = [];
    for (const split of ['train', 'test'] as const) {
      const names = (await readText(join(root, lists[split]))).split('\n');
      for (const name of names.map((line) => line.trim()).filter((line) => line !== '')) {
        listed.push({ name, split });
        if (!(await exists(join(root, name)))) missing.push(name);
      }
    }
    if (missing.length > 0) {
      const message = missingRecordings(missing, listed.length);
      throw new SaccadeError('input', message, { file: root });
    }
    for (const { name, split } of listed) {
      const path = join(root, name);
      const subject = /^(user\d+)/.exec(name)?.[1];
      const file = join(root, name.replace(/\.aedat$/, '_labels.csv'));
      for (const [index, row] of (await readRows(file)).entries()) {
        const label = wholeNumber(row, 'class', file) - 1;
        const fromUs = wholeNumber(row, 'startTime_usec', file);
        const toUs = wholeNumber(row, 'endTime_usec', file);
        if (label < 0 || label >= classes.length) {
          const message = `expected a class from 1 to ${classes.length}, got ${label + 1}`;
          throw new SaccadeError('input', message, { file, field: 'class' });
        }
        if (toUs <= fromUs) {
          notes.push(`${name}, gesture ${index + 1}: ends before it starts, so it is left out.`);
          continue;
        }
        const id = `${name}#${index + 1}`;
        recordings.push({ id, path, label, subject, split, range: { fromUs, toUs } });
      }
    }
    recordings.sort((a, b) => compareText(a.id, b.id));
    return { name: this.name, root, synthetic: false, classes, recordings, notes };
  },
};

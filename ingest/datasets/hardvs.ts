import { basename } from 'node:path';
import { listLayout } from './layout.js';

/** Folders that the archives of the compact events unpack to. */
const archives = ['', 'MINIHARDVS_EVENT_files/', 'MINI_HARDVS_files/'];

/**
 * HARDVS (Wang et al., AAAI 2024): 300 actions by a DAVIS346, as "compact event files": `action_NNN/dvSave-TIME.npz`, or
 * `action_NNN/dvSave-TIME/dvSave-TIME.npz`, with arrays t, x, y and p. Lines of `train_label.txt`, `val_label.txt` and
 * `test_label.txt` are `action_NNN/dvSave-TIME LABEL`. Files do not say the subject.
 *
 * Verified: names of lists and lines in SpikingJelly's loader `hardvs.py`, folders in the lists of jiazhou-garland/ExACT, the count of
 * classes in Event-AHU/HARDVS. An assumption: the raw `.aedat4` lie in the same places. Its `.npz` with rendered
 * frames are no events and cannot be read.
 */
export const hardvs = listLayout({
  name: 'hardvs',
  title: 'HARDVS',
  source: 'https://github.com/Event-AHU/HARDVS',
  extensions: ['npz', 'aedat4'],
  classCount: 300,
  lists: {
    train: ['train_label.txt', 'train.txt'],
    validation: ['val_label.txt', 'val.txt'],
    test: ['test_label.txt', 'test.txt'],
  },
  pathsOf: (listed) =>
    archives.flatMap((archive) =>
      ['npz', 'aedat4'].flatMap((extension) => [
        `${archive}${listed}.${extension}`,
        `${archive}${listed}/${basename(listed)}.${extension}`,
      ]),
    ),
});

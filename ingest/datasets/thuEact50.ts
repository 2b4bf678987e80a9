import { listLayout } from './layout.js';

/**
 * THU-EACT-50 (Gao et al., TPAMI 2023): 50 actions by a CeleX-V (1280x800), with lists of train and test, split by subject.
 *
 * The names of the lists and the layout of the recordings were not checked on the published set.
 */
export const thuEact50 = listLayout({
  name: 'thu-eact-50',
  title: 'THU-EACT-50',
  source: 'https://github.com/lujiaxuan0520/THU-EACT-50',
  extensions: ['npy', 'npz', 'csv'],
  classCount: 50,
  lists: { train: ['train.txt'], test: ['test.txt'] },
});

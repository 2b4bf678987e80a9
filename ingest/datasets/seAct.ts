import { listLayout } from './layout.js';

/**
 * SeAct (Zhou et al., CVPR 2024): 58 actions with captions, by a DAVIS346, in one folder per action, with lists of train and test.
 *
 * The names of the lists were not checked on the published set; captions are not read.
 */
export const seAct = listLayout({
  name: 'seact',
  title: 'SeAct',
  source: 'https://github.com/jiazhou-garland/ExACT',
  extensions: ['aedat4', 'npy', 'npz'],
  classCount: 58,
  lists: { train: ['train.txt'], validation: ['val.txt'], test: ['test.txt'] },
});

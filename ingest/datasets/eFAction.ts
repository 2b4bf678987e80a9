import { listLayout } from './layout.js';

/**
 * E-FAction, on which the SpikMamba paper reports results. Read as lists of train, validation and test where there are
 * any, else as one folder per action.
 *
 * No repository of its authors was found, so its layout and its number of classes are assumptions.
 */
export const eFAction = listLayout({
  name: 'e-faction',
  title: 'E-FAction',
  source: 'the SpikMamba paper',
  extensions: ['aedat4', 'raw', 'npy', 'npz'],
  lists: { train: ['train.txt'], validation: ['val.txt'], test: ['test.txt'] },
});

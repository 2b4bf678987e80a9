import { listLayout } from './layout.js';

/**
 * HARDVS (Wang et al., AAAI 2024): 300 actions by a DAVIS346, in one folder per action, with lists for train, validation and test as
 * MMAction has them.
 *
 * The names of the lists were not checked on the published set. Its `.npz` files with rendered frames are no events
 * and cannot be read.
 */
export const hardvs = listLayout({
  name: 'hardvs',
  title: 'HARDVS',
  source: 'https://github.com/Event-AHU/HARDVS',
  extensions: ['aedat4', 'npz', 'csv'],
  classCount: 300,
  lists: {
    train: ['train_label.txt', 'train.txt'],
    validation: ['val_label.txt', 'val.txt'],
    test: ['test_label.txt', 'test.txt'],
  },
});

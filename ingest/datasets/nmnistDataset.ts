import { classFolderLayout } from './layout.js';

/**
 * N-MNIST (Orchard et al., 2015): `Train/DIGIT/NNNNN.bin` and `Test/DIGIT/NNNNN.bin`, 34x34, an official split.
 */
export const nmnistDataset = classFolderLayout({
  name: 'n-mnist',
  title: 'N-MNIST',
  source: 'https://www.garrickorchard.com/datasets/n-mnist',
  extensions: ['bin', 'bs2'],
  classCount: 10,
});

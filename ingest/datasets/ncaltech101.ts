import { classFolderLayout } from './layout.js';

/**
 * N-Caltech101 (Orchard et al., 2015): `Caltech101/CLASS/image_NNNN.bin`, 100 objects and `BACKGROUND_Google`. There is no official
 * split.
 */
export const ncaltech101 = classFolderLayout({
  name: 'n-caltech101',
  title: 'N-Caltech101',
  source: 'https://www.garrickorchard.com/datasets/n-caltech101',
  extensions: ['bin'],
  classCount: 101,
  inside: 'Caltech101',
});

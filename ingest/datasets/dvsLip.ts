import { classFolderLayout } from './layout.js';

/**
 * DVS-Lip (Tan et al., CVPR 2022): `train/WORD/N.npy` and `test/WORD/N.npy`, structured arrays with t, x, y, p, 128x128. The official
 * split is by subject.
 */
export const dvsLip = classFolderLayout({
  name: 'dvs-lip',
  title: 'DVS-Lip',
  source: 'https://sites.google.com/view/event-based-lipreading',
  extensions: ['npy'],
  classCount: 100,
});

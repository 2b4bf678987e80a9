import { classFolderLayout } from './layout.js';

/**
 * ASL-DVS (Bi et al., ICCV 2019): `LETTER/LETTER_NNNN.mat`, 24 letters (without j and z), MAT-files with `ts, x, y, pol`, 240x180. There is
 * no official split.
 */
export const aslDvs = classFolderLayout({
  name: 'asl-dvs',
  title: 'ASL-DVS',
  source: 'https://github.com/PIX2NVS/NVS2Graph',
  extensions: ['mat'],
  classCount: 24,
});

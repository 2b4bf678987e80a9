import { classFolderLayout } from './layout.js';

/**
 * PAF, its part for action recognition (Miao et al., 2019): 450 recordings of 10 actions by a DAVIS346. Read as one folder per
 * action; there is no official split.
 *
 * The names of folders and files were not checked on the published set; files do not say the subject for sure.
 */
export const paf = classFolderLayout({
  name: 'paf',
  title: 'PAF, action recognition',
  source: 'https://github.com/CrystalMiaoshu/PAFBenchmark',
  extensions: ['aedat'],
  classCount: 10,
});

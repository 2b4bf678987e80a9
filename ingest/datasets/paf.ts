import { classFolderLayout } from './layout.js';

/**
 * PAF, its part for action recognition (Miao et al., 2019): 10 actions by a DAVIS346, `ACTION/PERSON_N.M.aedat` (AEDAT 2.0), N being the
 * number of the action and M that of the performance. There is no official split; subjects are known, so whole subjects
 * are drawn. (Lists that others publish have the same subjects in both parts.)
 *
 * Verified: names of folders and files in the lists `PAF_*.txt` of jiazhou-garland/ExACT, the layout of addresses in its
 * `PAF_dataset.py`. CrystalMiaoshu/PAFBenchmark itself does not describe the files.
 */
export const paf = classFolderLayout({
  name: 'paf',
  title: 'PAF, action recognition',
  source: 'https://github.com/CrystalMiaoshu/PAFBenchmark',
  extensions: ['aedat'],
  classCount: 10,
  subjectOf: (fileName) => /^(.+)_[\d.]+\.aedat$/.exec(fileName)?.[1],
});

import { listLayout } from './layout.js';

/**
 * DailyDVS-200 (Wang et al., ECCV 2024): 200 actions by 47 people, `.aedat4` of a DVXplorer Lite (320x240), with lists of train,
 * validation and test by subject.
 *
 * The names of the lists and the place of the person in a file's name (`C…P…`) were not checked on the published set.
 */
export const dailyDvs200 = listLayout({
  name: 'dailydvs-200',
  title: 'DailyDVS-200',
  source: 'https://github.com/QiWang233/DailyDVS-200',
  extensions: ['aedat4'],
  classCount: 200,
  lists: { train: ['train.txt'], validation: ['val.txt'], test: ['test.txt'] },
  // C class, P person, M motion, S scene.
  subjectOf: (fileName) => /P(\d+)/.exec(fileName)?.[0],
});

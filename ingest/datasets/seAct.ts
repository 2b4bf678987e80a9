import { basename, dirname } from 'node:path';
import { listLayout } from './layout.js';

/** Four themes of actions, in the order of their labels; theme i begins at the code 1000 i. */
const themes: readonly (readonly string[])[] = [
  [
    ...['clap', 'circle', 'jumping jack', 'squat down', 'jump squat', 'push-up', 'sit down'],
    ...['salute', 'bend forward', 'hurdle start', 'long jump', 'nod head', 'walking', 'running'],
    ...['shake head', 'circle head', 'circle arm', 'raise the arm', 'side kick', 'forward kick'],
    ...['high leg lift', 'waving hand', 'punch straight forward'],
  ],
  [
    ...['catch a ball', 'throw a ball', 'catch and throw a ball', 'walk with a ball'],
    ...['circle the ball around the main body', 'circle the ball around the leg'],
    ...['open and close umbrella', 'open the computer', 'close the computer', 'use the phone'],
    ...['put on glasses', 'put off glasses', 'tie shoelaces', 'take a photo', 'lift the box'],
    ...['put down the box', 'drink water', 'twist the bottle cap', 'walk with an open umbrella'],
    ...['walk with a box', 'run with a box'],
  ],
  [
    ...['falling down', 'vomit', 'staggering', 'walk with stomach pain', 'walk with headache'],
    ...['walk with back pain', 'leg injury walking'],
  ],
  [
    ...['hug', 'fight', 'wave hand to each other', 'handshake', 'shoulder tapping', 'clap hand'],
    'handing box',
  ],
];

/** `xu1020-2023_08_19_15_25_01.aedat4`: action 20 of theme 1. */
function labelOf(id: string): number | undefined {
  const [, theme, action] = /(\d)(\d{3})-[^/]*$/.exec(id) ?? [];
  const actions = themes[Number(theme)];
  if (actions === undefined || !(Number(action) < actions.length)) return undefined;
  const before = themes.slice(0, Number(theme)).flat().length;
  return before + Number(action);
}

/**
 * SeAct (Zhou et al., CVPR 2024): 58 actions by a DAVIS346, `PERSON/CODE-TIME.aedat4`, where the last four digits in front
 * of the `-` are the action's code and the folder is the subject. `SeAct_train.txt` and `SeAct_val.txt` (from the authors' code,
 * to be put into the folder) list the files, 80 % of each action for training and 20 % for the test; both have all subjects.
 * Without the lists, there is no official split, and subjects can be kept apart. Captions are not read.
 *
 * Verified in the authors' repository jiazhou-garland/ExACT: `SeAct_dataset.py`, `SeAct.json`, the lists.
 */
export const seAct = listLayout({
  name: 'seact',
  title: 'SeAct',
  source: 'https://github.com/jiazhou-garland/ExACT',
  extensions: ['aedat4'],
  classCount: 58,
  classes: themes.flat(),
  lists: { train: ['SeAct_train.txt'], test: ['SeAct_val.txt'] },
  labelOf,
  subjectOf: (id) => (id.includes('/') ? basename(dirname(id)) : undefined),
});

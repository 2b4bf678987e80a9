import { listLayout } from './layout.js';

/**
 * THU-EACT-50 (Gao et al., TPAMI 2023): 50 actions by a CeleX-V (1280x800), tables with the columns y, x, brightness, polarity
 * (0 = no event), time; and its CHL part by a DAVIS346, `.npy` of shape [N, 4] with the columns x, y, t, p. `train.txt` and `test.txt` list
 * path and label, `,` or a blank between them; they have no subject in common, but files do not say the subject.
 *
 * Verified in the authors' repository lujiaxuan0520/THU-EACT-50: `dataset.py` (lists, columns), `README.md`. Lists of single views
 * (`train_view_….txt`) are not read. An assumption: times are µs.
 */
export const thuEact50 = listLayout({
  name: 'thu-eact-50',
  title: 'THU-EACT-50',
  source: 'https://github.com/lujiaxuan0520/THU-EACT-50',
  extensions: ['csv', 'npy'],
  classCount: 50,
  lists: { train: ['train.txt'], test: ['test.txt'] },
});

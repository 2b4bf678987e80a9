import { SaccadeError } from '../../engine/support/errors.js';
import { aslDvs } from './aslDvs.js';
import { cifar10Dvs } from './cifar10Dvs.js';
import { dailyDvs200 } from './dailyDvs200.js';
import type { Dataset } from './dataset.js';
import { dvs128Gesture } from './dvs128Gesture.js';
import { dvsLip } from './dvsLip.js';
import { eFAction } from './eFAction.js';
import { openFolderDataset } from './folder.js';
import { hardvs } from './hardvs.js';
import type { DatasetLayout } from './layout.js';
import { ncaltech101 } from './ncaltech101.js';
import { nmnistDataset } from './nmnistDataset.js';
import { paf } from './paf.js';
import { seAct } from './seAct.js';
import { slAnimals } from './slAnimals.js';
import { thuEact50 } from './thuEact50.js';

/** Every data set whose layout is known. One more is one line here. */
export const datasetLayouts: readonly DatasetLayout[] = [
  dvs128Gesture,
  paf,
  hardvs,
  seAct,
  dailyDvs200,
  thuEact50,
  eFAction,
  aslDvs,
  slAnimals,
  dvsLip,
  nmnistDataset,
  ncaltech101,
  cifar10Dvs,
];

/**
 * Opens the folder of a data set.
 *
 * @param name of a layout, or `folder` for one folder per class; where not given, the layout that the folder's content
 *   tells for sure, else `folder`.
 * @throws SaccadeError (`usage`) for an unknown name, (`input`) for a folder that is not laid out so.
 */
export async function openDataset(root: string, name?: string): Promise<Dataset> {
  if (name === undefined) {
    for (const layout of datasetLayouts) {
      if ((await layout.detect?.(root)) === true) return layout.open(root);
    }
    return openFolderDataset(root);
  }
  if (name === 'folder') return openFolderDataset(root);
  const layout = datasetLayouts.find((known) => known.name === name);
  if (layout === undefined) {
    const known = ['folder', ...datasetLayouts.map((one) => one.name)].join(', ');
    throw new SaccadeError('usage', `unknown data set layout "${name}", known are ${known}`);
  }
  return layout.open(root);
}

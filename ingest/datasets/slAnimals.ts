import { readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { SaccadeError } from '../../engine/support/errors.js';
import { compareText, type LabelledRecording } from './dataset.js';
import { type DatasetLayout, exists, readRows, readText, wholeNumber } from './layout.js';

const classCount = 19;
const recordingFolder = 'allusers_aedat';
const tagFolder = 'tags_updated_19_08_2020';
const definitions = 'SL-Animals-DVS_gestures_definitions.csv';

/**
 * SL-Animals-DVS (Vasudevan et al., 2021): signs for 19 animals. `allusers_aedat/userNN_PLACE.aedat` holds all signs of a
 * person, `tags_updated_19_08_2020/userNN_PLACE.csv` their class (from 0 or 1 on) and the numbers of their first and last
 * events (`startTime_ev`, `endTime_ev`). PLACE is `indoor`, `sunlight`, `imse` or `dc`. There is no official split; subjects are known.
 * Names of the signs come from `SL-Animals-DVS_gestures_definitions.csv` (number, name) where that is there.
 *
 * Verified in several loaders of others (folders, columns, that these count events from 0 and the end is not part of the
 * sign, classes from 1 on); the authors' own page is not in any repository. An assumption: that the numbers
 * count events of change alone.
 */
export const slAnimals: DatasetLayout = {
  name: 'sl-animals-dvs',
  title: 'SL-Animals-DVS',
  source: 'http://www2.imse-cnm.csic.es/neuromorphs/index.php/SL-ANIMALS-DVS-Database',

  detect: (root) => exists(join(root, recordingFolder)),

  async open(root) {
    const folder = join(root, recordingFolder);
    const files = await readdir(folder).catch((error: unknown) => {
      throw new SaccadeError('input', 'cannot be read', { file: folder }, error);
    });
    const found: LabelledRecording[] = [];
    const notes: string[] = [];
    for (const name of files.filter((one) => one.endsWith('.aedat')).sort(compareText)) {
      const file = join(root, tagFolder, name.replace(/\.aedat$/, '.csv'));
      if (!(await exists(file))) {
        notes.push(`${name} has no tags (${basename(file)}), so it is left out.`);
        continue;
      }
      for (const [index, row] of (await readRows(file)).entries()) {
        const start = wholeNumber(row, 'startTime_ev', file);
        const end = wholeNumber(row, 'endTime_ev', file);
        found.push({
          id: `${recordingFolder}/${name}#${index + 1}`,
          path: join(folder, name),
          label: wholeNumber(row, 'class', file),
          subject: /^(user\d+)/.exec(name)?.[1],
          range: { fromEvent: start, toEvent: end },
        });
      }
    }
    if (found.length === 0) {
      const message = `no recordings with tags, expected ${recordingFolder}/userNN_PLACE.aedat and ${tagFolder}/userNN_PLACE.csv`;
      throw new SaccadeError('input', message, { file: root });
    }
    const first = Math.min(...found.map(({ label }) => label)) === 0 ? 0 : 1;
    const wrong = found.find(({ label }) => label < first || label - first >= classCount);
    if (wrong !== undefined) {
      const message = `${wrong.id}: class ${wrong.label}, expected ${classCount} classes from ${first} on`;
      throw new SaccadeError('input', message, { file: root });
    }
    const recordings = found
      .map((recording) => ({ ...recording, label: recording.label - first }))
      .sort((a, b) => compareText(a.id, b.id));
    const names = await signNames(root);
    const classes = Array.from(
      { length: classCount },
      (_, label) => names.get(label + first) ?? `sign${label + first}`,
    );
    return { name: this.name, root, synthetic: false, classes, recordings, notes };
  },
};

/** Names by the numbers in the file of definitions: its first two columns, behind a line of names. */
async function signNames(root: string): Promise<ReadonlyMap<number, string>> {
  const file = join(root, definitions);
  if (!(await exists(file))) return new Map();
  const lines = (await readText(file)).split('\n').slice(1);
  return new Map(
    lines
      .map((line) => line.split(',').map((cell) => cell.trim()))
      .filter(([number, name]) => /^\d+$/.test(number) && name !== undefined && name !== '')
      .map(([number, name]) => [Number(number), name]),
  );
}

import { SaccadeError } from '../engine/support/errors.js';
import type { SplitName } from '../ingest/datasets/index.js';
import { parseAugmentation } from '../preprocess/augmentations/index.js';
import { loadAugmented } from '../preprocess/loader.js';
import { colourScale, contactSheet, drawBin } from '../preprocess/preview/index.js';
import type { Experiment } from './experiment.js';
import { loaderOptions, type PreparedData } from './prepare.js';

export interface ClipSheetOptions {
  readonly part: SplitName;
  /** Most clips; they are spread evenly over the part. */
  readonly clips: number;
  /** Whether clips are augmented, as they are in the first epoch of training. */
  readonly augmented: boolean;
}

export interface ClipSheet {
  readonly png: Buffer;
  /** Clips that are shown. */
  readonly clips: number;
}

/** Pictures of usual clips come out at about this width. */
const pictureWidth = 128;
/** More bins do not stand in one row. */
const mostColumns = 16;

/**
 * A contact sheet of clips as a model reads them: a row for each, bin by bin.
 *
 * @throws SaccadeError of kind `input` where the part has no clips.
 */
export async function clipSheet(
  experiment: Experiment,
  { classes, clips }: Pick<PreparedData, 'classes' | 'clips'>,
  { part, clips: most, augmented }: ClipSheetOptions,
): Promise<ClipSheet> {
  const all = clips[part];
  if (all.length === 0) {
    throw new SaccadeError('input', `the part '${part}' has no clips`, {
      file: experiment.dataset.path,
    });
  }
  const count = Math.min(most, all.length);
  const chosen = Uint32Array.from({ length: count }, (_, i) =>
    Math.floor((i * all.length) / count),
  );
  const { augmentations } = experiment.preprocess;
  const options = {
    ...loaderOptions(experiment, all),
    augmentations: augmented ? augmentations.map((text) => parseAugmentation(text)) : [],
    seed: experiment.seed,
    classes: classes.length,
  };
  const { inputs, shape } = loadAugmented(options, 0, chosen);
  const [, bins, channels, height, width] = shape;
  const binLength = channels * height * width;
  const scale = colourScale([inputs], { channels });
  const enlarge = Math.max(1, Math.round(pictureWidth / width));
  const tiles = Array.from({ length: count * bins }, (_, i) => {
    const { recording, label, position } = all[chosen[Math.floor(i / bins)]];
    const values = inputs.subarray(i * binLength, (i + 1) * binLength);
    return {
      picture: drawBin(values, { channels, height, width }, scale, { enlarge }),
      caption:
        i % bins === 0 ? `${classes[label]} · ${recording}, clip ${position}` : `${i % bins}`,
    };
  });
  const { name, preprocess } = experiment;
  const call = preprocess.representation.split(':', 1)[0];
  const title = `${name} · ${part}${augmented ? ', augmented' : ''} · ${call} in ${bins} bins`;
  const columns = bins > 1 && bins <= mostColumns ? bins : undefined;
  return { png: await contactSheet(tiles, { title, columns, scale }), clips: count };
}

import type { Random } from '../../engine/support/random.js';
import { parseCall } from '../arguments.js';
import type { EventWindow } from '../windows/window.js';
import type { Augmentation, AugmentationDefinition } from './augmentation.js';
import { crop } from './crop.js';
import { dropArea } from './dropArea.js';
import { dropEvents } from './dropEvents.js';
import { dropTime } from './dropTime.js';
import { flipPolarity } from './flipPolarity.js';
import { flipX } from './flipX.js';
import { flipY } from './flipY.js';
import { spatialJitter } from './spatialJitter.js';
import { timeJitter } from './timeJitter.js';
import { timeSkew } from './timeSkew.js';
import { translate } from './translate.js';

export type { Augmentation, AugmentationDefinition, WindowChange } from './augmentation.js';

/** Every augmentation that is known. One more is one line here. */
export const augmentations: readonly AugmentationDefinition[] = [
  flipX,
  flipY,
  flipPolarity,
  crop,
  translate,
  spatialJitter,
  timeJitter,
  timeSkew,
  dropEvents,
  dropTime,
  dropArea,
];

/**
 * The augmentation that a call like `crop:0.8` means.
 *
 * @throws SaccadeError of kind `usage` that says what was expected.
 */
export function parseAugmentation(text: string): Augmentation {
  const { description, value } = parseCall('augmentation', augmentations, text);
  return { description, apply: value };
}

/** The window after all augmentations, in order. The given one stays as it is. */
export function augment(
  window: EventWindow,
  chain: readonly Augmentation[],
  random: Random,
): EventWindow {
  return chain.reduce((changed, augmentation) => augmentation.apply(changed, random), window);
}

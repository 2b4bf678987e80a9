import type { Random } from '../../engine/support/random.js';
import { parseCall } from '../arguments.js';
import type { EventWindow } from '../windows/window.js';
import type { Augmentation, AugmentationDefinition } from './augmentation.js';
import { crop } from './crop.js';
import { dropArea } from './dropArea.js';
import { dropEvents } from './dropEvents.js';
import { dropTime } from './dropTime.js';
import { eventMix } from './eventMix.js';
import { flipPolarity } from './flipPolarity.js';
import { flipX } from './flipX.js';
import { flipY } from './flipY.js';
import { noise } from './noise.js';
import { randAugment } from './randAugment.js';
import { reverseTime } from './reverseTime.js';
import { rotate } from './rotate.js';
import { spatialJitter } from './spatialJitter.js';
import { timeJitter } from './timeJitter.js';
import { timeSkew } from './timeSkew.js';
import { translate } from './translate.js';

export type {
  Augmentation,
  AugmentationDefinition,
  WindowChange,
  WindowMix,
} from './augmentation.js';

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
  reverseTime,
  rotate,
  noise,
  eventMix,
  randAugment,
];

/**
 * The augmentation that a call like `crop:0.8` means.
 *
 * @throws SaccadeError of kind `usage` that says what was expected.
 */
export function parseAugmentation(text: string): Augmentation {
  const { description, value } = parseCall('augmentation', augmentations, text);
  return typeof value === 'function'
    ? { description, apply: value }
    : { description, apply: (window) => window, mix: value.mix };
}

/**
 * The window after all augmentations, in order; those that take two windows leave it alone. The given one
 * stays as it is.
 */
export function augment(
  window: EventWindow,
  chain: readonly Augmentation[],
  random: Random,
): EventWindow {
  return chain.reduce((changed, augmentation) => augmentation.apply(changed, random), window);
}

/** A window and the classes that it shows. */
export interface AugmentedSample {
  readonly window: EventWindow;
  /** Share of each class, by label; they sum to 1. */
  readonly shares: ReadonlyMap<number, number>;
}

/** A window of one class. */
export interface LabelledWindow {
  readonly window: EventWindow;
  readonly label: number;
}

/**
 * A labelled window after all augmentations, in order, those that take two windows included. A partner goes
 * through the augmentations that come before the mix, each time with draws of its own.
 *
 * @param partner draws another labelled window; called only where one is mixed in.
 */
export function augmentSample(
  { window, label }: LabelledWindow,
  chain: readonly Augmentation[],
  random: Random,
  partner: (random: Random) => LabelledWindow,
): AugmentedSample {
  let sample: AugmentedSample = { window, shares: new Map([[label, 1]]) };
  for (const [i, { apply, mix }] of chain.entries()) {
    if (mix === undefined) {
      sample = { ...sample, window: apply(sample.window, random) };
      continue;
    }
    let other: AugmentedSample | undefined;
    const readPartner = (): EventWindow => {
      other ??= augmentSample(partner(random), chain.slice(0, i), random, partner);
      return other.window;
    };
    const mixed = mix(sample.window, readPartner, random);
    sample = { window: mixed.window, shares: blend(sample, other, mixed.ownShare) };
  }
  return sample;
}

function blend(
  own: AugmentedSample,
  other: AugmentedSample | undefined,
  ownShare: number,
): ReadonlyMap<number, number> {
  if (other === undefined || ownShare === 1) return own.shares;
  const shares = new Map<number, number>();
  for (const [label, share] of own.shares) shares.set(label, ownShare * share);
  for (const [label, share] of other.shares) {
    shares.set(label, (shares.get(label) ?? 0) + (1 - ownShare) * share);
  }
  return shares;
}

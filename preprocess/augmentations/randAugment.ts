import type { SensorSize } from '../../ingest/eventBatch.js';
import { defineAugmentation, type WindowChange } from './augmentation.js';
import { crop } from './crop.js';
import { dropArea } from './dropArea.js';
import { dropEvents } from './dropEvents.js';
import { dropTime } from './dropTime.js';
import { noise } from './noise.js';
import { rotate } from './rotate.js';
import { spatialJitter } from './spatialJitter.js';
import { timeJitter } from './timeJitter.js';
import { timeSkew } from './timeSkew.js';
import { translate } from './translate.js';

const greatest = 10;

/**
 * What is drawn from, by strength 0 … 1: each does little at 0, and at 1 as much as a label can bear. None
 * of them mirrors, reverses or swaps anything, since classes may differ by that.
 */
const operations: readonly ((
  strength: number,
  sensor: SensorSize,
  durationUs: number,
) => WindowChange)[] = [
  () => (window) => window,
  (strength, { width, height }) =>
    translate.create({ pixels: Math.round(0.3 * strength * Math.min(width, height)) }, {}),
  (strength) => rotate.create({ degrees: 30 * strength }, {}),
  (strength) => crop.create({ minimum: 1 - 0.4 * strength }, {}),
  (strength) => spatialJitter.create({ deviation: 2 * strength }, {}),
  (strength, _, durationUs) => timeJitter.create({ deviationUs: 0.02 * strength * durationUs }, {}),
  (strength) => timeSkew.create({ range: 0.4 * strength }, {}),
  (strength) => dropEvents.create({ maximum: 0.6 * strength }, {}),
  (strength) => dropTime.create({ maximum: 0.4 * strength }, {}),
  (strength) => dropArea.create({ maximum: 0.4 * strength }, {}),
  (strength) => noise.create({ maximum: 0.4 * strength }, {}),
];

/**
 * RandAugment (Cubuk et al., CVPR Workshops 2020) with operations on events: `operations` of them are drawn
 * for each window, with repetition, and applied one after the other, all with the same `magnitude`, which
 * sets their greatest effect. They are: none, translate (up to 30 % of the shorter side), rotate (30°), crop
 * (to 60 %), spatialJitter (2 pixels), timeJitter (2 % of the window), timeSkew (40 %), dropEvents (60 %),
 * dropTime, dropArea (40 %) and noise (40 %), each at magnitude 10 and in proportion below.
 */
export const randAugment = defineAugmentation({
  name: 'randAugment',
  summary: 'apply a few operations that are drawn at random',
  arguments: [
    { name: 'operations', minimum: 1, maximum: 10, integer: true, what: 'how many are drawn' },
    { name: 'magnitude', minimum: 0, maximum: greatest, what: 'strength of all' },
  ],
  create:
    ({ operations: count, magnitude }) =>
    (window, random) => {
      let changed = window;
      for (let i = 0; i < count; i++) {
        const operation = operations[random.integer(operations.length)];
        const { events, startUs, endUs } = changed;
        const change = operation(magnitude / greatest, events.sensor, endUs - startUs);
        changed = change(changed, random);
      }
      return changed;
    },
});

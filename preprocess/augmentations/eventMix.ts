import type { Random } from '../../engine/support/random.js';
import { BatchBuilder, type EventBatch } from '../../ingest/eventBatch.js';
import type { EventWindow } from '../windows/window.js';
import { type AugmentationDefinition, probabilityArgument, sortByTime } from './augmentation.js';

/** Points by which the share of the volume above a density is told. */
const probes = 512;

/**
 * EventMix (Shen et al., EventMix: an efficient data augmentation strategy for event-based learning,
 * Information Sciences 2023): two windows are mixed by a mask over column, row and time, each scaled to
 * 0 … 1. The mask is where a sum of `components` Gaussians, with random middles and widths, is above a
 * threshold: there the partner's events are taken, elsewhere the window's own. The threshold is such that
 * the mask fills a share of the volume that is drawn from 0 to 1. The label is shared like the events:
 * own events kept / all events kept. Where none would be left, nothing is mixed.
 *
 * The partner's pixels are scaled to the window's sensor, its times to the window's duration.
 */
export const eventMix: AugmentationDefinition = {
  name: 'eventMix',
  summary:
    'mix with another clip by a random mask over space and time; the label is shared likewise',
  arguments: [
    probabilityArgument,
    {
      name: 'components',
      minimum: 1,
      maximum: 16,
      integer: true,
      default: 3,
      what: 'Gaussians that the mask is made of',
    },
  ],
  create: ({ probability, components }) => ({
    mix(own, partner, random) {
      const unmixed = { window: own, ownShare: 1 };
      if (random.uniform() >= probability) return unmixed;
      const isPartners = drawMask(components, random);
      const kept = new BatchBuilder(own.events.sensor, own.events.length);
      take(kept, own, own, (...place) => !isPartners(...place));
      const ownEvents = kept.length;
      take(kept, partner(), own, isPartners);
      if (kept.length === 0) return unmixed;
      const ownShare = ownEvents / kept.length;
      return { window: { ...own, events: sortByTime(kept.take()) }, ownShare };
    },
  }),
};

type Mask = (u: number, v: number, w: number) => boolean;

/** A mask over the unit cube that fills a random share of it. */
function drawMask(components: number, random: Random): Mask {
  const gaussians = Array.from({ length: components }, () => ({
    u: random.uniform(),
    v: random.uniform(),
    w: random.uniform(),
    // 1 / (2 σ²) for σ from 0.1 to 0.5.
    sharpness: 0.5 / (0.1 + 0.4 * random.uniform()) ** 2,
  }));
  const density = (u: number, v: number, w: number): number => {
    let sum = 0;
    for (const middle of gaussians) {
      const square = (u - middle.u) ** 2 + (v - middle.v) ** 2 + (w - middle.w) ** 2;
      sum += Math.exp(-square * middle.sharpness);
    }
    return sum;
  };
  const sampled = Float64Array.from({ length: probes }, () =>
    density(random.uniform(), random.uniform(), random.uniform()),
  ).sort();
  const threshold = sampled[random.integer(probes)];
  return (u, v, w) => density(u, v, w) > threshold;
}

/** Adds those events of `from` that the mask takes, scaled to sensor and duration of `to`. */
function take(kept: BatchBuilder, from: EventWindow, to: EventWindow, mask: Mask): void {
  const { length, sensor, tUs, x, y, polarity }: EventBatch = from.events;
  const durationUs = from.endUs - from.startUs;
  const { width, height } = to.events.sensor;
  for (let i = 0; i < length; i++) {
    const u = (x[i] + 0.5) / sensor.width;
    const v = (y[i] + 0.5) / sensor.height;
    const w = (tUs[i] - from.startUs) / durationUs;
    if (!mask(u, v, w)) continue;
    if (from === to) kept.push(tUs[i], x[i], y[i], polarity[i]);
    else {
      const time = to.startUs + Math.floor(w * (to.endUs - to.startUs));
      kept.push(time, Math.floor(u * width), Math.floor(v * height), polarity[i]);
    }
  }
}

import { z } from 'zod';

import { SaccadeError } from '../../engine/support/errors.js';
import type { EventBatch, SensorSize } from '../../ingest/eventBatch.js';
import { binOf } from '../../engine/ops/eventLoops.js';
import { dataDefinition, dataOf, dataText, parseCall } from '../arguments.js';
import {
  type ClipGrid,
  createRepresentation,
  defineRepresentation,
  type Representation,
  type RepresentationRule,
} from './representation.js';

/** How events become the time surfaces that are compared. */
export interface HotsSurface {
  /** Pixels on each side of the event's own, R. */
  readonly radius: number;
  /** Time constant, µs. */
  readonly tauUs: number;
}

/** Prototypes of time surfaces: what `fitHots` learns; plain data. */
export type HotsDictionary = z.infer<typeof hotsDictionarySchema>;

export const hotsDictionarySchema = z
  .strictObject({
    /** Pixels on each side of the event's own, R. */
    radius: z.number().int().min(0).max(16),
    /** Time constant, µs. */
    tauUs: z.number().positive(),
    /** Each has 2 · (2R + 1)² values: OFF, then ON, row by row. */
    prototypes: z.array(z.array(z.number()).readonly()).min(1).readonly(),
  })
  .superRefine((dictionary, context) => {
    const expected = surfaceLength(dictionary);
    if (dictionary.prototypes.every(({ length }) => length === expected)) return;
    const message = `expected at least one prototype, of ${expected} values each`;
    context.addIssue({ code: 'custom', path: ['prototypes'], message });
  });

/** Last time of each polarity and pixel of the sensor, µs; -Infinity before the first event. */
function startTimes({ width, height }: SensorSize): Float64Array {
  return new Float64Array(2 * width * height).fill(-Infinity);
}

/**
 * Takes in an event and writes its time surface, exp(-(t - last time) / τ) around it by polarity; pixels
 * that lie outside the sensor count as without events.
 */
function surfaceOf(
  surface: Float64Array,
  lastUs: Float64Array,
  { width, height }: SensorSize,
  { radius, tauUs }: HotsSurface,
  tUs: number,
  x: number,
  y: number,
  polarity: number,
): void {
  lastUs[(polarity * height + y) * width + x] = tUs;
  let next = 0;
  for (let channel = 0; channel < 2; channel++) {
    for (let row = y - radius; row <= y + radius; row++) {
      for (let column = x - radius; column <= x + radius; column++) {
        const inside = row >= 0 && row < height && column >= 0 && column < width;
        const last = inside ? lastUs[(channel * height + row) * width + column] : -Infinity;
        // Where time steps back, an event may be younger than the one that looks at it.
        surface[next++] = Math.exp(-Math.max(0, tUs - last) / tauUs);
      }
    }
  }
}

/** Prototypes while they are learned. */
interface Learner {
  /** Prototypes that are wanted; the first surfaces become them. */
  readonly wanted: number;
  readonly prototypes: Float64Array[];
  /** How often each was the nearest. */
  readonly uses: number[];
}

/** The prototype nearest to a surface, by Euclidean distance; the first of equals. */
function nearest(prototypes: readonly ArrayLike<number>[], surface: Float64Array): number {
  let best = 0;
  let least = Infinity;
  for (let k = 0; k < prototypes.length; k++) {
    let distance = 0;
    for (let i = 0; i < surface.length; i++) distance += (prototypes[k][i] - surface[i]) ** 2;
    if (distance < least) {
      least = distance;
      best = k;
    }
  }
  return best;
}

/** One step of the paper's clustering (algorithm 1): C += α (S - β C), α = 0.01 / (1 + uses / 20000), β the cosine. */
function learn({ wanted, prototypes, uses }: Learner, surface: Float64Array): number {
  if (prototypes.length < wanted) {
    uses.push(1);
    return prototypes.push(surface.slice()) - 1;
  }
  const chosen = nearest(prototypes, surface);
  const centre = prototypes[chosen];
  let dot = 0;
  let ofCentre = 0;
  let ofSurface = 0;
  for (let i = 0; i < surface.length; i++) {
    dot += centre[i] * surface[i];
    ofCentre += centre[i] ** 2;
    ofSurface += surface[i] ** 2;
  }
  const alpha = 0.01 / (1 + uses[chosen] / 20_000);
  const beta = dot / Math.sqrt(ofCentre * ofSurface);
  for (let i = 0; i < surface.length; i++) centre[i] += alpha * (surface[i] - beta * centre[i]);
  uses[chosen]++;
  return chosen;
}

interface HotsState {
  readonly grid: ClipGrid;
  readonly out: Float32Array;
  readonly lastUs: Float64Array;
  readonly surface: Float64Array;
  readonly learner: Learner;
}

/** Number of values of a surface. */
const surfaceLength = ({ radius }: HotsSurface): number => 2 * (2 * radius + 1) ** 2;

function rule(
  surface: HotsSurface,
  channels: number,
  startLearner: () => Learner,
  choose: (learner: Learner, surface: Float64Array) => number,
): RepresentationRule<HotsState> {
  return {
    channels,
    values: 'count',
    binwise: false,
    start: (grid, out) => ({
      grid,
      out,
      lastUs: startTimes(grid.sensor),
      surface: new Float64Array(surfaceLength(surface)),
      learner: startLearner(),
    }),
    add(state, { length, tUs, x, y, polarity }) {
      const { grid, out, lastUs, learner } = state;
      for (let i = 0; i < length; i++) {
        surfaceOf(state.surface, lastUs, grid.sensor, surface, tUs[i], x[i], y[i], polarity[i]);
        const chosen = choose(learner, state.surface);
        const row = (binOf(grid, tUs[i]) * channels + chosen) * grid.height + grid.rows[y[i]];
        out[row * grid.width + grid.columns[x[i]]]++;
      }
    },
    finish() {
      // Nothing is left to do.
    },
  };
}

/**
 * HOTS, one layer (Lagorce et al., TPAMI 2017): each event's time surface counts for the prototype that is
 * nearest to it, one channel each; at a size of 1 × 1 these are the paper's histograms. Prototypes are
 * learned as events come, from the clip itself; `hotsFitted` takes those of a training set.
 */
export const hots = defineRepresentation({
  name: 'hots',
  summary: 'counts of time surface prototypes, learned online (Lagorce et al., TPAMI 2017)',
  arguments: [
    { name: 'prototypes', minimum: 1, maximum: 1024, integer: true, default: 8, what: 'channels' },
    { name: 'radius', minimum: 0, maximum: 16, integer: true, default: 2, what: 'R, pixels' },
    { name: 'tauUs', minimum: 1, maximum: 1e12, default: 20_000, what: 'time constant, µs' },
  ],
  create: ({ prototypes, radius, tauUs }) =>
    rule(
      { radius, tauUs },
      prototypes,
      () => ({ wanted: prototypes, prototypes: [], uses: [] }),
      learn,
    ),
});

/** HOTS with the prototypes of a dictionary (`fitHots`, `saccade fit-hots`), which stay as they are. */
export const hotsFitted = defineRepresentation({
  name: 'hotsFitted',
  summary: 'counts of the time surface prototypes of a dictionary (saccade fit-hots)',
  arguments: [],
  texts: [dataDefinition('dictionary', 'what saccade fit-hots wrote', hotsDictionarySchema)],
  create(_values, texts) {
    const dictionary = dataOf(texts.dictionary) as HotsDictionary;
    const { prototypes } = dictionary;
    const none = (): Learner => ({ wanted: 0, prototypes: [], uses: [] });
    return rule(dictionary, prototypes.length, none, (_, surface) => nearest(prototypes, surface));
  },
});

/**
 * `hotsFitted` of a dictionary.
 *
 * @throws SaccadeError of kind `config` where a prototype has not 2 · (2R + 1)² values, or there is none.
 */
export function hotsWith(dictionary: HotsDictionary): Representation {
  const call = `${hotsFitted.name}:dictionary=${dataText(dictionary)}`;
  return createRepresentation(parseCall('representation', [hotsFitted], call));
}

/**
 * Learns a dictionary from recordings, each a stream of batches whose times begin anew. Memory holds the
 * prototypes and one batch.
 *
 * @throws SaccadeError of kind `input` where there are fewer events than prototypes.
 */
export async function fitHots(
  recordings: Iterable<AsyncIterable<EventBatch>>,
  { prototypes, ...surface }: HotsSurface & { readonly prototypes: number },
): Promise<HotsDictionary> {
  const learner: Learner = { wanted: prototypes, prototypes: [], uses: [] };
  const values = new Float64Array(surfaceLength(surface));
  for (const batches of recordings) {
    let lastUs: Float64Array | undefined;
    for await (const { length, sensor, tUs, x, y, polarity } of batches) {
      lastUs ??= startTimes(sensor);
      for (let i = 0; i < length; i++) {
        surfaceOf(values, lastUs, sensor, surface, tUs[i], x[i], y[i], polarity[i]);
        learn(learner, values);
      }
    }
  }
  if (learner.prototypes.length < prototypes) {
    const message = `${learner.prototypes.length} events, expected at least one for each of ${prototypes} prototypes`;
    throw new SaccadeError('input', message);
  }
  return { ...surface, prototypes: learner.prototypes.map((centre) => Array.from(centre)) };
}

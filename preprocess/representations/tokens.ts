import type { EventBatch, SensorSize } from '../../ingest/eventBatch.js';
import type { CallDefinition } from '../arguments.js';
import { checkBatch } from './clip.js';

/** Settings of spiking patches. */
export interface SpikingPatches {
  /** Rows and columns of a patch, pixels. */
  readonly patch: number;
  /** Potential from which a patch fires. */
  readonly threshold: number;
  /** Time after a token in which the patch takes in no events, µs. */
  readonly refractoryUs: number;
  /** Potential that is lost each second. */
  readonly decayPerSecond: number;
}

/** State of the patches; plain data. */
export interface TokenState {
  readonly settings: SpikingPatches;
  readonly sensor: SensorSize;
  readonly potentials: Float64Array;
  /** Time of each patch's last event since it fired, µs; -Infinity where none. */
  readonly lastUs: Float64Array;
  /** Time at which each patch last fired, µs; -Infinity where never. */
  readonly firedUs: Float64Array;
  /** `[patches, 2, patch, patch]`: events since the patch last fired or fell to 0. */
  readonly counts: Float32Array;
  /** Time of the first event, to which those of tokens are relative, µs. */
  originUs: number | undefined;
}

/** Spiking patches as they are called: `tokens:patch=8,threshold=32`. */
export const tokens: CallDefinition<SpikingPatches, keyof SpikingPatches> = {
  name: 'tokens',
  summary: 'sparse tokens of spiking patches (Øhrstrøm et al., 2025)',
  arguments: [
    { name: 'patch', minimum: 1, maximum: 256, integer: true, default: 8, what: 'side, pixels' },
    { name: 'threshold', minimum: 1, maximum: 1e9, default: 32, what: 'events that make a token' },
    { name: 'refractoryUs', minimum: 0, maximum: 1e9, default: 0, what: 'rest after one, µs' },
    {
      name: 'decayPerSecond',
      minimum: 0,
      maximum: 1e9,
      default: 0,
      what: 'potential lost a second',
    },
  ],
  create: (settings) => settings,
};

/** Features of a token: time since the first event in µs, column and row of the patch, and its 2 · patch² counts. */
export function tokenFeatures({ patch }: SpikingPatches): number {
  return 3 + 2 * patch * patch;
}

/** The patches before the first event. At the right and below, patches may reach beyond the sensor. */
export function startTokens(settings: SpikingPatches, sensor: SensorSize): TokenState {
  const across = Math.ceil(sensor.width / settings.patch);
  const patches = across * Math.ceil(sensor.height / settings.patch);
  return {
    settings,
    sensor,
    potentials: new Float64Array(patches),
    lastUs: new Float64Array(patches).fill(-Infinity),
    firedUs: new Float64Array(patches).fill(-Infinity),
    counts: new Float32Array(patches * 2 * settings.patch ** 2),
    originUs: undefined,
  };
}

/**
 * Spiking patches (Øhrstrøm et al., 2025): the sensor is cut into patches, each a neuron. An event adds 1
 * to the potential of its patch, after a linear decay for the time since the event before; where it falls
 * to 0, the events so far are forgotten. At the threshold the patch fires a token and begins anew; for a
 * while after that it takes in nothing.
 *
 * A token is `tokenFeatures` numbers: the time since the first event in µs, column and row of its patch,
 * and the counts of its events by polarity, row and column in the patch. The sequence does not depend on
 * how the stream is cut; the state is changed in place.
 *
 * @returns the tokens that the batch sets off, `[n, features]`, row by row.
 * @throws SaccadeError of kind `input` as `addToClip` does.
 */
export function addToTokens(state: TokenState, events: EventBatch): Float32Array {
  checkBatch(events, state.sensor);
  const { settings, sensor, potentials, lastUs, firedUs, counts } = state;
  const { patch, threshold, refractoryUs, decayPerSecond } = settings;
  const { length, tUs, x, y, polarity } = events;
  const across = Math.ceil(sensor.width / patch);
  const perPatch = 2 * patch * patch;
  const fired: number[] = [];
  for (let i = 0; i < length; i++) {
    const t = tUs[i];
    state.originUs ??= t;
    const column = Math.floor(x[i] / patch);
    const row = Math.floor(y[i] / patch);
    const p = row * across + column;
    if (t - firedUs[p] < refractoryUs) continue;
    const own = counts.subarray(p * perPatch, (p + 1) * perPatch);
    const sinceUs = lastUs[p] === -Infinity ? 0 : Math.max(0, t - lastUs[p]);
    potentials[p] += 1 - (decayPerSecond * sinceUs) / 1e6;
    lastUs[p] = t;
    own[(polarity[i] * patch + (y[i] % patch)) * patch + (x[i] % patch)]++;
    if (potentials[p] <= 0) {
      potentials[p] = 0;
      own.fill(0);
    } else if (potentials[p] >= threshold) {
      fired.push(t - state.originUs, column, row, ...own);
      potentials[p] = 0;
      lastUs[p] = -Infinity;
      firedUs[p] = t;
      own.fill(0);
    }
  }
  return Float32Array.from(fired);
}

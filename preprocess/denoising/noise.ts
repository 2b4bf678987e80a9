import { createRandom, permutation, type Random } from '../../engine/support/random.js';
import { blankBatch, type EventBatch } from '../../ingest/eventBatch.js';

/** What an event is: of the recording, of shot noise, of a hot pixel. */
export const eventKinds = { signal: 0, shot: 1, hot: 2 } as const;

export interface NoiseOptions {
  /** Mean rate of shot noise of each pixel, Hz. */
  readonly shotHz: number;
  /** Number of hot pixels, and the mean rate of each, Hz. */
  readonly hotPixels: number;
  readonly hotHz: number;
  readonly seed: number;
}

export interface NoisyEvents {
  readonly events: EventBatch;
  /** One of `eventKinds` for each event. */
  readonly kinds: Uint8Array;
}

interface NoiseEvent {
  readonly tUs: number;
  readonly pixel: number;
  readonly polarity: number;
  readonly kind: number;
}

/**
 * The events with noise among them, from the first time to the last, in order of time (signal first where
 * times are equal). Shot noise is a Poisson process of one rate over all pixels, ON and OFF alike (Guo and
 * Delbruck, IEEE TPAMI, 2022); a hot pixel is one that gives ON events, a Poisson process too. Times are cut to
 * whole µs.
 *
 * @param signal in order of time, at least one event.
 */
export function addNoise(signal: EventBatch, options: NoiseOptions): NoisyEvents {
  const { shotHz, hotPixels, hotHz, seed } = options;
  const { sensor, length, tUs } = signal;
  const pixels = sensor.width * sensor.height;
  const [fromUs, toUs] = [tUs[0], tUs[length - 1]];
  const noise: NoiseEvent[] = [];

  const shot = createRandom(seed, 'shot');
  for (const time of poisson(shotHz * pixels, fromUs, toUs, shot)) {
    const [pixel, polarity] = [shot.integer(pixels), shot.integer(2)];
    noise.push({ tUs: time, pixel, polarity, kind: eventKinds.shot });
  }
  const hot = createRandom(seed, 'hot');
  for (const pixel of permutation(pixels, hot).subarray(0, hotPixels)) {
    for (const time of poisson(hotHz, fromUs, toUs, hot)) {
      noise.push({ tUs: time, pixel, polarity: 1, kind: eventKinds.hot });
    }
  }
  noise.sort((a, b) => a.tUs - b.tUs);
  return merge(signal, noise);
}

/** The times of a Poisson process, whole µs. */
function* poisson(hz: number, fromUs: number, toUs: number, random: Random): Generator<number> {
  if (hz <= 0) return;
  for (let time = fromUs; ;) {
    time += (random.exponential() * 1e6) / hz;
    if (time > toUs) return;
    yield Math.floor(time);
  }
}

function merge(signal: EventBatch, noise: readonly NoiseEvent[]): NoisyEvents {
  const { sensor } = signal;
  const length = signal.length + noise.length;
  const events = blankBatch(sensor, length);
  const kinds = new Uint8Array(length);
  let [own, other] = [0, 0];
  for (let i = 0; i < length; i++) {
    const next = noise[other] as NoiseEvent | undefined;
    if (own < signal.length && (next === undefined || signal.tUs[own] <= next.tUs)) {
      events.tUs[i] = signal.tUs[own];
      events.x[i] = signal.x[own];
      events.y[i] = signal.y[own];
      events.polarity[i] = signal.polarity[own++];
    } else if (next !== undefined) {
      events.tUs[i] = next.tUs;
      events.x[i] = next.pixel % sensor.width;
      events.y[i] = Math.floor(next.pixel / sensor.width);
      events.polarity[i] = next.polarity;
      kinds[i] = next.kind;
      other++;
    }
  }
  return { events, kinds };
}

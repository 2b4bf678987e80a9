import type { EventBatch } from '../../ingest/eventBatch.js';
import { eventKinds } from './noise.js';

/** Shares of the events that a filter keeps, by kind, 0 … 1; null where there are none of a kind. */
export interface KeptShares {
  readonly signal: number | null;
  readonly shot: number | null;
  readonly hot: number | null;
  /** Shot noise and hot pixels together. */
  readonly noise: number | null;
}

/** Shares of each kind whose flag in `keep` is not zero. */
export function keptShares(kinds: Uint8Array, keep: Uint8Array): KeptShares {
  const all = [0, 0, 0];
  const kept = [0, 0, 0];
  kinds.forEach((kind, i) => {
    all[kind]++;
    if (keep[i] !== 0) kept[kind]++;
  });
  const share = (...of: readonly number[]): number | null => {
    const sum = (counts: readonly number[]): number => of.reduce((s, kind) => s + counts[kind], 0);
    return sum(all) === 0 ? null : sum(kept) / sum(all);
  };
  const { signal, shot, hot } = eventKinds;
  return { signal: share(signal), shot: share(shot), hot: share(hot), noise: share(shot, hot) };
}

/** A point of a ROC curve: shares of noise and of signal that are kept. */
export interface RocPoint {
  readonly noise: number;
  readonly signal: number;
}

/**
 * The area under the ROC curve by the trapezoidal rule, points in order of noise kept, then of signal, from
 * (0, 0) to (1, 1). A filter that guesses has 0.5, a perfect one 1.
 */
export function areaUnderRoc(points: readonly RocPoint[]): number {
  const curve = rocCurve(points);
  return curve.slice(1).reduce((area, { noise, signal }, i) => {
    const before = curve[i];
    return area + ((noise - before.noise) * (signal + before.signal)) / 2;
  }, 0);
}

/** The points in order, with the ends. */
export function rocCurve(points: readonly RocPoint[]): RocPoint[] {
  const inner = [...points].sort((a, b) => a.noise - b.noise || a.signal - b.signal);
  return [{ noise: 0, signal: 0 }, ...inner, { noise: 1, signal: 1 }];
}

/**
 * The mean event structural ratio (MESR; Ding et al., E-MLB: Multilevel Benchmark for Event-Based Camera
 * Denoising, IEEE Transactions on Multimedia, 2023), which needs no ground truth: the mean over packets of
 * `packet` events, one after the other, of
 *
 *     ESR = √(NTSS · L)
 *     NTSS = Σ_i n_i (n_i - 1) / (N (N - 1)),  L = K - Σ_i (1 - M / N)^n_i
 *
 * with n_i the events of pixel i of K, N = `packet`, and M = 2 N / 3 (20,000 of 30,000). NTSS is high where
 * events come together in pixels, L where they spread over many. Events of an incomplete last packet do not
 * count.
 *
 * @param keep which events are there, all where not given.
 * @param packet events, at least 2.
 * @returns null where there are fewer events than a packet has.
 */
export function meanStructuralRatio(
  { sensor, length, x, y }: EventBatch,
  packet: number,
  keep?: Uint8Array,
): number | null {
  const counts = new Uint32Array(sensor.width * sensor.height);
  let inPacket = 0;
  let packets = 0;
  let sum = 0;
  for (let i = 0; i < length; i++) {
    if (keep !== undefined && keep[i] === 0) continue;
    counts[y[i] * sensor.width + x[i]]++;
    if (++inPacket < packet) continue;
    sum += structuralRatio(counts, packet);
    packets++;
    inPacket = 0;
    counts.fill(0);
  }
  return packets === 0 ? null : sum / packets;
}

function structuralRatio(counts: Uint32Array, events: number): number {
  let pairs = 0;
  let spread = 0;
  for (const count of counts) {
    pairs += count * (count - 1);
    spread += 1 - (1 / 3) ** count;
  }
  return Math.sqrt((pairs / (events * (events - 1))) * spread);
}

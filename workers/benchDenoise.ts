import { throwIfAborted } from '../ingest/bytes.js';
import {
  concatBatches,
  type EventBatch,
  type SensorSize,
  sliceBatch,
} from '../ingest/eventBatch.js';
import { openRecording } from '../ingest/recording.js';
import { simulateGesture } from '../ingest/simulator/index.js';
import { SaccadeError } from '../engine/support/errors.js';
import {
  areaUnderRoc,
  keptShares,
  type KeptShares,
  meanStructuralRatio,
} from '../preprocess/denoising/metrics.js';
import { addNoise, eventKinds, type NoiseOptions } from '../preprocess/denoising/noise.js';
import { type Sweep, sweeps } from '../preprocess/denoising/sweeps.js';
import { keptFlags } from '../preprocess/filters/index.js';
import type { JobContext } from './job.js';

export interface BenchDenoiseJob extends NoiseOptions {
  /** Recordings; the simulator's `arm_roll` where there are none. */
  readonly files: readonly string[];
  readonly sensor?: SensorSize;
  /** Events at most that are taken of each recording, from its beginning. */
  readonly maxEvents: number;
  /** Events in a packet of the structural ratio. */
  readonly packet: number;
}

/** One setting of a filter. */
export interface DenoisePoint {
  readonly call: string;
  readonly kept: KeptShares;
  /** Mean event structural ratio of what is kept; null where that is less than a packet. */
  readonly mesr: number | null;
}

/** A filter over its settings. */
export interface DenoiseCurve extends Pick<Sweep, 'filter' | 'swept'> {
  readonly auc: number;
  readonly points: readonly DenoisePoint[];
  /** The point with the greatest difference of signal and noise kept (Youden's index). */
  readonly best: DenoisePoint;
}

export interface DenoiseResult {
  /** Path of the recording, or `synthetic`. */
  readonly source: string;
  /** What is taken for the truth. */
  readonly assumed: string;
  readonly sensor: SensorSize;
  readonly events: { readonly signal: number; readonly shot: number; readonly hot: number };
  readonly mesr: { readonly signal: number | null; readonly noisy: number | null };
  readonly curves: readonly DenoiseCurve[];
}

/**
 * Puts known noise among the events of each recording and measures what every denoising filter keeps of
 * both, over a sweep of its threshold.
 *
 * @throws SaccadeError of kind `usage` where no noise is asked for or there are more hot than pixels, `input`
 *   where a recording cannot be read or has no events over time.
 */
export async function benchDenoise(
  { files, sensor, maxEvents, packet, ...noise }: BenchDenoiseJob,
  context: JobContext = {},
): Promise<DenoiseResult[]> {
  const sources = files.length > 0 ? files : [undefined];
  const total = sources.length * sweeps.reduce((sum, { calls }) => sum + calls.length, 0);
  let done = 0;
  const results: DenoiseResult[] = [];
  for (const file of sources) {
    const source = file ?? 'synthetic';
    const signal =
      file === undefined
        ? simulated(maxEvents)
        : await readSignal(file, maxEvents, sensor, context);
    requireNoise(signal, noise, source);
    const { events, kinds } = addNoise(signal, noise);
    const curves: DenoiseCurve[] = [];
    for (const { filter, swept, calls } of sweeps) {
      const points: DenoisePoint[] = [];
      for (const call of calls) {
        throwIfAborted(context.signal, source);
        const keep = keptFlags(call, events);
        const mesr = meanStructuralRatio(events, packet, keep);
        points.push({ call, kept: keptShares(kinds, keep), mesr });
        context.onProgress?.({ phase: 'denoise', done: ++done, total, info: call });
        // Lets signals in between.
        await new Promise(setImmediate);
      }
      curves.push({ filter, swept, ...summary(points), points });
    }
    const count = (wanted: number): number => kinds.filter((kind) => kind === wanted).length;
    results.push({
      source,
      assumed:
        file === undefined
          ? 'signal is simulated without noise'
          : "all events of the recording count as signal, the sensor's own noise too",
      sensor: events.sensor,
      events: { signal: signal.length, shot: count(eventKinds.shot), hot: count(eventKinds.hot) },
      mesr: {
        signal: meanStructuralRatio(signal, packet),
        noisy: meanStructuralRatio(events, packet),
      },
      curves,
    });
  }
  return results;
}

function summary(points: readonly DenoisePoint[]): Pick<DenoiseCurve, 'auc' | 'best'> {
  const rocPoints = points.map(({ kept }) => ({ noise: kept.noise!, signal: kept.signal! }));
  const gain = ({ kept }: DenoisePoint): number => kept.signal! - kept.noise!;
  const best = points.reduce((a, b) => (gain(b) > gain(a) ? b : a));
  return { auc: areaUnderRoc(rocPoints), best };
}

/** A person who rolls the arms, filmed by a camera without any noise. */
function simulated(maxEvents: number): EventBatch {
  const noise = { shotNoiseHz: 0, leakHz: 0 };
  const batches = [...simulateGesture({ gesture: 'arm_roll', subjectSeed: 1, noise })];
  const events = concatBatches(batches);
  return sliceBatch(events, 0, Math.min(maxEvents, events.length));
}

async function readSignal(
  file: string,
  maxEvents: number,
  sensor: SensorSize | undefined,
  { signal }: JobContext,
): Promise<EventBatch> {
  const recording = await openRecording(file, { sensor, signal });
  const batches: EventBatch[] = [];
  let length = 0;
  for await (const batch of recording.batches({ order: 'sort', signal })) {
    batches.push(batch);
    length += batch.length;
    if (length >= maxEvents) break;
  }
  const events = concatBatches(batches, recording.sensor);
  return sliceBatch(events, 0, Math.min(maxEvents, length));
}

function requireNoise(
  { sensor, length, tUs }: EventBatch,
  noise: NoiseOptions,
  file: string,
): void {
  const { shotHz, hotPixels, hotHz } = noise;
  const pixels = sensor.width * sensor.height;
  if (length < 2 || tUs[length - 1] <= tUs[0]) {
    const message = 'has no events at different times, expected some time for noise to fill';
    throw new SaccadeError('input', message, { file });
  }
  if (hotPixels > pixels) {
    const message = `${hotPixels} hot pixels are more than the ${pixels} pixels of the sensor`;
    throw new SaccadeError('usage', message, { file, field: '--hot-pixels' });
  }
  const expected = ((shotHz * pixels + hotHz * hotPixels) * (tUs[length - 1] - tUs[0])) / 1e6;
  if (expected < 1 || expected > maxNoise) {
    const message =
      `this rate of noise gives about ${Math.round(expected)} events over the recording, expected 1 to ` +
      `${maxNoise}`;
    throw new SaccadeError('usage', message, { file, field: '--shot-hz' });
  }
}

/** Noise events at most, which bounds memory. */
const maxNoise = 10_000_000;

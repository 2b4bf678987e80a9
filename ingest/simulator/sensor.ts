import { createRandom, type Random } from '../../engine/support/random.js';
import { SaccadeError } from '../../engine/support/errors.js';
import { createBatch, type EventBatch, type SensorSize } from '../eventBatch.js';

/** What makes the simulated pixels unlike ideal ones. */
export interface SensorModel {
  /** Mean change of log intensity that makes an ON or OFF event. */
  readonly onThreshold: number;
  readonly offThreshold: number;
  /** Standard deviation of the thresholds from pixel to pixel, log intensity. */
  readonly thresholdMismatch: number;
  /** After an event a pixel is silent for this time, µs. */
  readonly refractoryUs: number;
  /** Rate of random events of either polarity, Hz per pixel. */
  readonly shotNoiseHz: number;
  /** Rate of ON events of a pixel in constant light, by leakage, Hz per pixel. */
  readonly leakHz: number;
  /** Corner frequency of the pixel's first-order low-pass, Hz; none where 0. */
  readonly bandwidthHz: number;
}

/** Like a DVS128 in indoor light; the thresholds are those of v2e, its noise a moderate one. */
export const defaultSensorModel: SensorModel = {
  onThreshold: 0.2,
  offThreshold: 0.2,
  thresholdMismatch: 0.03,
  refractoryUs: 500,
  shotNoiseHz: 0.1,
  leakHz: 0.1,
  bandwidthHz: 0,
};

/** Least and greatest value of each parameter. */
export const sensorModelRanges: Readonly<Record<keyof SensorModel, readonly [number, number]>> = {
  onThreshold: [0.01, 10],
  offThreshold: [0.01, 10],
  thresholdMismatch: [0, 1],
  refractoryUs: [0, 1e7],
  shotNoiseHz: [0, 1000],
  leakHz: [0, 1000],
  bandwidthHz: [0, 1e6],
};

/** Fills in the defaults. Throws a `SaccadeError` (`usage`) that names a parameter out of its range. */
export function checkSensorModel(given: Partial<SensorModel> = {}): SensorModel {
  const model = { ...defaultSensorModel, ...given };
  for (const [name, [low, high]] of Object.entries(sensorModelRanges)) {
    const value = model[name as keyof SensorModel];
    if (value >= low && value <= high) continue;
    const message = `expected a number from ${low} to ${high}, got ${value}`;
    throw new SaccadeError('usage', message, { field: `noise.${name}` });
  }
  return model;
}

/** All that a sensor remembers between two frames. */
export interface SensorState {
  readonly sensor: SensorSize;
  readonly model: SensorModel;
  readonly seed: number;
  readonly path: readonly (string | number)[];
  /** Time of the last frame, whole µs, and how many there were. */
  readonly tUs: number;
  readonly frames: number;
  readonly onThresholds: Float32Array;
  readonly offThresholds: Float32Array;
  /** The last frame, its log, and that after the low-pass. */
  readonly luminance: Float32Array;
  readonly logLuminance: Float32Array;
  readonly level: Float32Array;
  /** Level above the one at the pixel's last event: what the thresholds are compared with. */
  readonly difference: Float32Array;
  readonly lastEventUs: Float64Array;
}

/** Added to luminance 0 … 1: the dark current, which bounds the contrast in the dark. */
const darkLuminance = 0.01;

/**
 * The sensor at its first frame, which makes no events.
 *
 * @param luminance `[height, width]`, 0 … 1.
 * @param seed with `path`, decides the noise; the pixels' thresholds depend on the seed alone: one camera.
 */
export function createSensor(
  sensor: SensorSize,
  model: SensorModel,
  luminance: Float32Array,
  tUs: number,
  seed: number,
  ...path: readonly (string | number)[]
): SensorState {
  const pixels = sensor.width * sensor.height;
  const camera = createRandom(seed, 'thresholds');
  const spread = (mean: number): Float32Array =>
    Float32Array.from({ length: pixels }, () =>
      Math.max(0.25 * mean, mean + model.thresholdMismatch * camera.normal()),
    );
  const onThresholds = spread(model.onThreshold);
  const offThresholds = spread(model.offThreshold);
  const start = createRandom(seed, ...path, 'start');
  const logLuminance = Float32Array.from(luminance, (value) => Math.log(value + darkLuminance));
  return {
    sensor,
    model,
    seed,
    path,
    tUs,
    frames: 1,
    onThresholds,
    offThresholds,
    luminance: luminance.slice(),
    logLuminance,
    level: logLuminance.slice(),
    // Pixels have seen light before, so they are anywhere between their thresholds.
    difference: Float32Array.from(onThresholds, (on, i) => {
      const share = start.uniform();
      return on * share - offThresholds[i] * (1 - share);
    }),
    lastEventUs: new Float64Array(pixels).fill(-Infinity),
  };
}

/**
 * Light to events, as ESIM (Rebecq et al., CoRL 2018) and v2e (Hu et al., CVPRW 2021) do: between two
 * frames each pixel's log intensity is a straight line, and an event happens where that has moved by
 * a threshold since the pixel's last event. The events have µs times between the frames and are sorted.
 * Leakage lifts the difference evenly; shot noise adds events that leave it as it is.
 *
 * @param state is used up: its arrays go over into the new state.
 * @param luminance the next frame, `[height, width]`, 0 … 1.
 * @param tUs its time, whole µs after the last frame's.
 */
export function stepSensor(
  state: SensorState,
  luminance: Float32Array,
  tUs: number,
): { events: EventBatch; state: SensorState } {
  const { sensor, model, difference, level, logLuminance, onThresholds, offThresholds } = state;
  const seen = state.luminance;
  const stepUs = tUs - state.tUs;
  const pixels = luminance.length;
  const leak = (model.leakHz * stepUs) / 1e6;
  const follow =
    model.bandwidthHz > 0 ? 1 - Math.exp((-2 * Math.PI * model.bandwidthHz * stepUs) / 1e6) : 1;
  const candidates: number[] = [];
  for (let i = 0; i < pixels; i++) {
    if (luminance[i] === seen[i]) {
      // Most pixels see no change: without a low-pass, leakage is all that can reach a threshold.
      const leaked = difference[i] + leak * onThresholds[i];
      if (follow === 1 && leaked < onThresholds[i]) {
        difference[i] = leaked;
        continue;
      }
    } else {
      seen[i] = luminance[i];
      logLuminance[i] = Math.log(luminance[i] + darkLuminance);
    }
    const before = level[i];
    const after = before + follow * (logLuminance[i] - before);
    const start = difference[i];
    let end = start + (after - before) + leak * onThresholds[i];
    level[i] = after;
    if (end >= onThresholds[i]) {
      const perLevel = stepUs / (end - start);
      const threshold = onThresholds[i];
      let crossed = threshold - start;
      while (end >= threshold) {
        candidates.push((Math.max(0, Math.round(crossed * perLevel)) * pixels + i) * 2 + 1);
        crossed += threshold;
        end -= threshold;
      }
    } else if (end <= -offThresholds[i]) {
      const perLevel = stepUs / (start - end);
      const threshold = offThresholds[i];
      let crossed = threshold + start;
      while (end <= -threshold) {
        candidates.push((Math.max(0, Math.round(crossed * perLevel)) * pixels + i) * 2);
        crossed += threshold;
        end += threshold;
      }
    }
    difference[i] = end;
  }
  addShotNoise(candidates, state, stepUs, pixels);
  const next = { ...state, tUs, frames: state.frames + 1 };
  return { events: collect(candidates, state), state: next };

  /** Sorts by time, then pixel, and drops what falls into a pixel's refractory time. */
  function collect(keys: readonly number[], { lastEventUs, tUs: fromUs }: SensorState): EventBatch {
    // A key is (time since the last frame, pixel, polarity) as one integer.
    const sorted = Float64Array.from(keys).sort();
    const times = new Float64Array(sorted.length);
    const x = new Uint16Array(sorted.length);
    const y = new Uint16Array(sorted.length);
    const polarity = new Uint8Array(sorted.length);
    let length = 0;
    for (const key of sorted) {
      const half = Math.floor(key / 2);
      const offsetUs = Math.floor(half / pixels);
      const pixel = half - offsetUs * pixels;
      const eventUs = fromUs + offsetUs;
      if (eventUs - lastEventUs[pixel] < model.refractoryUs) continue;
      lastEventUs[pixel] = eventUs;
      times[length] = eventUs;
      y[length] = Math.floor(pixel / sensor.width);
      x[length] = pixel - y[length] * sensor.width;
      polarity[length] = key - 2 * half;
      length++;
    }
    return createBatch(
      sensor,
      times.subarray(0, length),
      x.subarray(0, length),
      y.subarray(0, length),
      polarity.subarray(0, length),
    );
  }
}

/** Random events, spread evenly over pixels and time. */
function addShotNoise(
  candidates: number[],
  state: SensorState,
  stepUs: number,
  pixels: number,
): void {
  if (state.model.shotNoiseHz <= 0) return;
  const random = createRandom(state.seed, ...state.path, 'noise', state.frames);
  const count = poisson((state.model.shotNoiseHz * pixels * stepUs) / 1e6, random);
  for (let k = 0; k < count; k++) {
    const offsetUs = random.integer(stepUs);
    candidates.push((offsetUs * pixels + random.integer(pixels)) * 2 + random.integer(2));
  }
}

/** Number of events of a Poisson process in a time in which `mean` are expected. */
function poisson(mean: number, random: Random): number {
  let count = 0;
  for (let passed = random.exponential(); passed < mean; passed += random.exponential()) count++;
  return count;
}

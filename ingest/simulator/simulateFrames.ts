import { SaccadeError } from '../../engine/support/errors.js';
import { throwIfAborted } from '../bytes.js';
import type { EventBatch, SensorSize } from '../eventBatch.js';
import { type FrameSource, openFrames } from './frames/index.js';
import {
  checkSensorModel,
  createSensor,
  type SensorModel,
  type SensorState,
  stepSensor,
} from './sensor.js';

export interface FrameOptions {
  /** Folder of pictures, animation or video (see `openFrames`), or one that is open. */
  readonly frames: string | FrameSource;
  /** Frames per second, in place of what the source says; must be given where it says nothing. */
  readonly framesPerSecond?: number;
  /** Default: the size of the first picture. Others are scaled to it. */
  readonly sensor?: SensorSize;
  /** Where it differs from `defaultSensorModel`. */
  readonly noise?: Partial<SensorModel>;
  /** Decides thresholds and noise. Default 0. */
  readonly seed?: number;
  readonly signal?: AbortSignal;
  /** Called after each frame with how many there were and when the next one comes, µs. */
  readonly onFrame?: (frames: number, tUs: number) => void;
}

/** Light of an sRGB value, 0 … 1. */
const lightOf = Float32Array.from({ length: 256 }, (_, value) =>
  value <= 10 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4,
);

/**
 * SYNTHETIC events of a sequence of pictures, one batch per step between two of them: the sensor model of
 * `stepSensor` on their grey values in linear light. Between frames light changes evenly, so frames that are far
 * apart give events that no camera would (more frames per second help). Times rise from 0.
 *
 * @throws SaccadeError (`usage`) for a frame rate that is missing or not above zero, (`input`) for a source or
 *   picture that cannot be read or fewer than two frames, (`interrupted`) when the signal fires.
 */
export async function* simulateFrames(options: FrameOptions): AsyncGenerator<EventBatch> {
  const { framesPerSecond, seed = 0, signal } = options;
  if (framesPerSecond !== undefined && !(framesPerSecond > 0 && framesPerSecond <= 1e6)) {
    const message = `expected a number above 0 to 1000000, got ${framesPerSecond}`;
    throw new SaccadeError('usage', message, { field: 'framesPerSecond' });
  }
  const model = checkSensorModel(options.noise);
  const source =
    typeof options.frames === 'string'
      ? await openFrames(options.frames, { signal })
      : options.frames;
  const { file } = source;
  const sensor = options.sensor ?? source.size;
  let state: SensorState | undefined;
  let frames = 0;
  let nextUs = 0;
  for await (const { grey, durationUs } of source.frames(sensor)) {
    throwIfAborted(signal, file);
    const light = Float32Array.from(grey, (value) => lightOf[value]);
    if (state === undefined) {
      state = createSensor(sensor, model, light, 0, seed, 'frames');
    } else {
      const tUs = Math.round(nextUs);
      // Two frames at one time: the later one is seen with the next.
      if (tUs > state.tUs) {
        const step = stepSensor(state, light, tUs);
        state = step.state;
        if (step.events.length > 0) yield step.events;
      }
    }
    frames++;
    const shownUs = framesPerSecond === undefined ? durationUs : 1e6 / framesPerSecond;
    if (shownUs === undefined) {
      const message = 'does not say how many frames there are a second, so it must be given';
      throw new SaccadeError('usage', message, { file, field: 'framesPerSecond' });
    }
    nextUs += shownUs;
    options.onFrame?.(frames, nextUs);
  }
  if (frames < 2) {
    throw new SaccadeError('input', `has ${frames} frames, expected two or more`, { file });
  }
}

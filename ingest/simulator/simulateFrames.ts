import { readdir } from 'node:fs/promises';
import { extname, join } from 'node:path';
import sharp from 'sharp';
import { SaccadeError } from '../../engine/support/errors.js';
import { throwIfAborted } from '../bytes.js';
import type { EventBatch, SensorSize } from '../eventBatch.js';
import { createSensor, defaultSensorModel, type SensorModel, stepSensor } from './sensor.js';

const extensions = ['.png', '.jpg', '.jpeg', '.webp', '.tif', '.tiff', '.avif', '.gif'];
const naturally = new Intl.Collator('en', { numeric: true });

export interface FrameOptions {
  /** Folder of pictures, one per frame, in natural order of their names. */
  readonly folder: string;
  readonly framesPerSecond: number;
  /** Default: the size of the first picture. Others are scaled to it. */
  readonly sensor?: SensorSize;
  /** Where it differs from `defaultSensorModel`. */
  readonly noise?: Partial<SensorModel>;
  /** Decides thresholds and noise. Default 0. */
  readonly seed?: number;
  readonly signal?: AbortSignal;
}

/** Light of an sRGB value, 0 … 1. */
const lightOf = Float32Array.from({ length: 256 }, (_, value) =>
  value <= 10 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4,
);

/** The pictures of a folder, in natural order of their names. Throws a `SaccadeError` (`input`) for fewer than two. */
export async function listFrames(folder: string): Promise<string[]> {
  const names = await readdir(folder).catch((error: unknown) => {
    throw new SaccadeError('input', 'cannot read the folder', { file: folder }, error);
  });
  const frames = names
    .filter((name) => extensions.includes(extname(name).toLowerCase()))
    .sort(naturally.compare);
  if (frames.length < 2) {
    const message = `${frames.length} pictures (${extensions.join(', ')}), expected two or more`;
    throw new SaccadeError('input', message, { file: folder });
  }
  return frames.map((name) => join(folder, name));
}

/**
 * SYNTHETIC events of a sequence of pictures, one batch per step between two of them: the sensor model of
 * `stepSensor` on their grey values in linear light. Between frames light changes evenly, so frames that are far
 * apart give events that no camera would (more frames per second help). Times rise from 0.
 *
 * @throws SaccadeError (`usage`) for a frame rate that is not above zero, (`input`) for a folder or
 *   picture that cannot be read, (`interrupted`) when the signal fires.
 */
export async function* simulateFrames(options: FrameOptions): AsyncGenerator<EventBatch> {
  const { folder, framesPerSecond, seed = 0, signal } = options;
  if (!(framesPerSecond > 0 && framesPerSecond <= 1e6)) {
    const message = `expected a number above 0 to 1000000, got ${framesPerSecond}`;
    throw new SaccadeError('usage', message, { field: 'framesPerSecond' });
  }
  const frames = await listFrames(folder);
  const sensor = options.sensor ?? (await sizeOf(frames[0]));
  const model = { ...defaultSensorModel, ...options.noise };
  let state = createSensor(sensor, model, await lightOfFrame(frames[0], sensor), 0, seed, 'frames');
  for (const [index, frame] of frames.entries()) {
    if (index === 0) continue;
    throwIfAborted(signal, folder);
    const tUs = Math.round((index * 1e6) / framesPerSecond);
    const step = stepSensor(state, await lightOfFrame(frame, sensor), tUs);
    state = step.state;
    if (step.events.length > 0) yield step.events;
  }
}

async function sizeOf(frame: string): Promise<SensorSize> {
  const { width, height } = await sharp(frame)
    .metadata()
    .catch((error: unknown) => {
      throw new SaccadeError('input', 'cannot be read as a picture', { file: frame }, error);
    });
  return { width, height };
}

async function lightOfFrame(frame: string, { width, height }: SensorSize): Promise<Float32Array> {
  const grey = await sharp(frame)
    .flatten()
    .resize(width, height, { fit: 'fill' })
    .greyscale()
    .raw()
    .toBuffer()
    .catch((error: unknown) => {
      throw new SaccadeError('input', 'cannot be read as a picture', { file: frame }, error);
    });
  return Float32Array.from({ length: width * height }, (_, i) => lightOf[grey[i]]);
}

import { createRandom } from '../../engine/support/random.js';
import { SaccadeError } from '../../engine/support/errors.js';
import { BatchBuilder, type EventBatch, type SensorSize } from '../eventBatch.js';
import { type Capsule, poseFigure } from './figure.js';
import { gestures } from './gestures.js';
import { paintBackground, paintCapsules } from './render.js';
import { checkSensorModel, createSensor, type SensorModel, stepSensor } from './sensor.js';
import { createSubject, type Subject, varySubject } from './subject.js';

/** What is filmed and how; the same for all recordings of a set. */
export interface SceneOptions {
  /** Default 128x128. */
  readonly sensor?: SensorSize;
  /** Default 1,500,000. */
  readonly durationUs?: number;
  /** Rendered frames per second, between which events are interpolated. Default 200. */
  readonly framesPerSecond?: number;
  /** Where it differs from `defaultSensorModel`. */
  readonly noise?: Partial<SensorModel>;
  /** Strength of the background's static texture, 0 … 1. Default 0.3. */
  readonly texture?: number;
  /** Number of static boxes in the background. Default 2. */
  readonly boxes?: number;
  /** Whether a blob that has nothing to do with the gesture moves about. Default false. */
  readonly distractor?: boolean;
}

export interface GestureOptions extends SceneOptions {
  /** A key of `gestures`. */
  readonly gesture: string;
  /** Whole number that names the person. */
  readonly subjectSeed: number;
  /** Whole number that names the performance. Default 0. */
  readonly repetition?: number;
  /** Seed of the whole set. Default 0. */
  readonly seed?: number;
}

export type ResolvedScene = Required<Omit<SceneOptions, 'noise'>> & { readonly noise: SensorModel };

/** Fills in the defaults. Throws a `SaccadeError` of kind `usage` that names a wrong option. */
export function resolveScene(options: SceneOptions): ResolvedScene {
  const scene = {
    sensor: options.sensor ?? { width: 128, height: 128 },
    durationUs: options.durationUs ?? 1_500_000,
    framesPerSecond: options.framesPerSecond ?? 200,
    noise: checkSensorModel(options.noise),
    texture: options.texture ?? 0.3,
    boxes: options.boxes ?? 2,
    distractor: options.distractor ?? false,
  };
  const whole = (field: string, value: number, low: number, high: number): void => {
    if (!Number.isInteger(value) || value < low || value > high) {
      const message = `expected a whole number from ${low} to ${high}, got ${value}`;
      throw new SaccadeError('usage', message, { field });
    }
  };
  const range = (field: string, value: number, low: number, high: number): void => {
    if (!(value >= low && value <= high)) {
      const message = `expected a number from ${low} to ${high}, got ${value}`;
      throw new SaccadeError('usage', message, { field });
    }
  };
  whole('sensor.width', scene.sensor.width, 8, 4096);
  whole('sensor.height', scene.sensor.height, 8, 4096);
  whole('durationUs', scene.durationUs, 1000, 1e10);
  range('framesPerSecond', scene.framesPerSecond, 10, 10_000);
  range('texture', scene.texture, 0, 1);
  whole('boxes', scene.boxes, 0, 100);
  return scene;
}

/**
 * A synthetic recording of one gesture, in batches as time goes on (at most 50 ms each). It depends on
 * the options alone: `(seed, subjectSeed, gesture, repetition)` name the performance.
 * Times rise from 0 to `durationUs`. Throws a `SaccadeError` of kind `usage` for a wrong option.
 */
export function* simulateGesture(options: GestureOptions): Generator<EventBatch, void> {
  const { gesture, subjectSeed, repetition = 0, seed = 0 } = options;
  const scene = resolveScene(options);
  const { sensor, durationUs, framesPerSecond } = scene;
  const paint = createScene(gesture, subjectSeed, repetition, seed, scene);

  const picture = new Float32Array(sensor.width * sensor.height);
  paint(picture, 0);
  const path = [subjectSeed, gesture, repetition] as const;
  let state = createSensor(sensor, scene.noise, picture, 0, seed, ...path);
  const frames = Math.max(1, Math.ceil((durationUs * framesPerSecond) / 1e6));
  const framesPerBatch = Math.max(1, Math.floor(framesPerSecond / 20));
  const collected = new BatchBuilder(sensor, 4096);
  for (let frame = 1; frame <= frames; frame++) {
    const tUs = Math.min(durationUs, Math.round((frame * 1e6) / framesPerSecond));
    paint(picture, tUs);
    const step = stepSensor(state, picture, tUs);
    state = step.state;
    collected.append(step.events);
    if (frame % framesPerBatch === 0 && collected.length > 0) yield collected.take();
  }
  if (collected.length > 0) yield collected.take();
}

/** Prepares one performance; the result paints how it looks at a time, `[height, width]`. */
export function createScene(
  gesture: string,
  subjectSeed: number,
  repetition: number,
  seed: number,
  scene: ResolvedScene,
): (picture: Float32Array, tUs: number) => void {
  const begin = Object.hasOwn(gestures, gesture) ? gestures[gesture] : undefined;
  if (begin === undefined) {
    const known = Object.keys(gestures).join(', ');
    throw new SaccadeError('usage', `unknown gesture "${gesture}", known are ${known}`, {
      field: 'gesture',
    });
  }
  const { sensor } = scene;
  const random = createRandom(seed, 'performance', subjectSeed, gesture, repetition);
  const subject = varySubject(createSubject(seed, subjectSeed), random);
  const motion = begin(subject.style, random);
  const startPhase = random.uniform();
  const hurry = { size: 0.03 * random.uniform(), start: 2 * Math.PI * random.uniform() };
  // The room belongs to the subject, as in a set where each one is filmed in one place.
  const room = { luminance: subject.background, texture: scene.texture, boxes: scene.boxes };
  const background = paintBackground(sensor, room, seed, 'subject', subjectSeed);
  const blob = scene.distractor
    ? createDistractor(subject, sensor, random.integer(2 ** 31))
    : undefined;

  return (picture, tUs) => {
    const timeS = tUs / 1e6;
    const cycles = subject.tempoHz * timeS;
    const phase =
      startPhase + cycles + hurry.size * Math.sin(2 * Math.PI * 0.4 * timeS + hurry.start);
    picture.set(background);
    if (blob !== undefined) paintCapsules(picture, sensor, [blob(timeS)]);
    paintCapsules(picture, sensor, poseFigure(subject, motion(phase), timeS, sensor));
  };
}

/** A blob that crosses the room to and fro behind the figure. */
function createDistractor(
  subject: Subject,
  { width, height }: SensorSize,
  seed: number,
): (timeS: number) => Capsule {
  const random = createRandom(seed, 'distractor');
  const radius = (0.04 + 0.05 * random.uniform()) * height;
  const frequency = 0.15 + 0.3 * random.uniform();
  const start = random.uniform();
  const level = (0.1 + 0.8 * random.uniform()) * height;
  const bob = 0.1 * random.uniform() * height;
  const luminance = Math.min(0.95, subject.background * (random.uniform() < 0.5 ? 0.4 : 2.2));
  return (timeS) => {
    const angle = 2 * Math.PI * (frequency * timeS + start);
    const x = width * (0.5 + 0.5 * Math.sin(angle));
    const y = level + bob * Math.sin(2.7 * angle);
    return {
      x0: x,
      y0: y,
      radius0: radius,
      x1: x,
      y1: y,
      radius1: radius,
      nearness: -10,
      luminance,
      rimShade: 0.2,
    };
  };
}

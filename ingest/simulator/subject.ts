import { createRandom, type Random } from '../../engine/support/random.js';
import type { ArmVector, Style } from './gestures.js';

/** One person and the place where they are filmed. Lengths are in parts of the body's height. */
export interface Subject {
  /** Height of the body in parts of the picture's height, below 1.3: the feet may be outside. */
  readonly scale: number;
  /** The body's middle in parts of the picture's width, about 0.5. */
  readonly centreX: number;
  /** Height of the chest in parts of the picture's height from the top, about 0.47. */
  readonly chestY: number;
  /** Half the width of the shoulders, arm and leg lengths, and limb thickness. */
  readonly shoulderWidth: number;
  readonly armLength: number;
  readonly legLength: number;
  readonly thickness: number;
  readonly headRadius: number;
  /** Tilt to the side and turn of the body towards one side, radians. */
  readonly lean: number;
  readonly yaw: number;
  /** Reflectance 0 … 1. */
  readonly skin: number;
  readonly hair: number;
  readonly shirt: number;
  readonly sleeves: number;
  readonly trousers: number;
  readonly longSleeves: boolean;
  readonly background: number;
  /** Repetitions of a gesture per second. */
  readonly tempoHz: number;
  readonly style: Style;
  /** Slow movement of the whole body, and fast trembling of the hands; frequencies in Hz. */
  readonly sway: number;
  readonly swayHz: number;
  readonly tremor: number;
  readonly tremorHz: number;
}

/** The subject of a seed. Speed, size and habits of motion belong to the person as much as the looks. */
export function createSubject(seed: number, subjectSeed: number): Subject {
  const random = createRandom(seed, 'subject', subjectSeed);
  const between = (low: number, high: number): number => low + (high - low) * random.uniform();
  const background = logUniform(random, 0.12, 0.8);
  const skin = distinct(random, background, 0.12, 0.75);
  const shirt = distinct(random, background, 0.06, 0.9);
  return {
    scale: between(0.92, 1.15),
    centreX: 0.5 + between(-0.05, 0.05),
    chestY: 0.47 + between(-0.04, 0.04),
    shoulderWidth: between(0.105, 0.13),
    armLength: between(0.36, 0.41),
    legLength: between(0.46, 0.53),
    thickness: between(0.85, 1.2),
    headRadius: between(0.056, 0.068),
    lean: between(-0.07, 0.07),
    yaw: between(-0.42, 0.42),
    skin,
    hair: logUniform(random, 0.04, 0.4),
    shirt,
    sleeves: random.uniform() < 0.75 ? shirt : distinct(random, background, 0.06, 0.9),
    trousers: distinct(random, background, 0.05, 0.6),
    longSleeves: random.uniform() < 0.5,
    background,
    tempoHz: between(0.85, 1.5),
    style: {
      amplitude: between(0.85, 1.12),
      shift: [between(-0.05, 0.05), between(-0.06, 0.06), between(-0.04, 0.04)] as ArmVector,
    },
    sway: between(0.002, 0.012),
    swayHz: between(0.2, 0.6),
    tremor: between(0.0005, 0.003),
    tremorHz: between(5, 9),
  };
}

/** One performance of one subject: nobody stands and moves twice in the same way. */
export function varySubject(subject: Subject, random: Random): Subject {
  const about = (value: number, spread: number): number =>
    value + spread * (2 * random.uniform() - 1);
  return {
    ...subject,
    centreX: about(subject.centreX, 0.015),
    chestY: about(subject.chestY, 0.01),
    yaw: about(subject.yaw, 0.05),
    lean: about(subject.lean, 0.015),
    tempoHz: subject.tempoHz * about(1, 0.08),
    style: { ...subject.style, amplitude: subject.style.amplitude * about(1, 0.05) },
  };
}

function logUniform(random: Random, low: number, high: number): number {
  return low * (high / low) ** random.uniform();
}

/** A reflectance that stands out from the background by a factor of 1.5 or more. */
function distinct(random: Random, background: number, low: number, high: number): number {
  for (let attempt = 0; attempt < 20; attempt++) {
    const value = logUniform(random, low, high);
    if (Math.abs(Math.log(value / background)) >= Math.log(1.5)) return value;
  }
  return background > Math.sqrt(low * high) ? low : high;
}

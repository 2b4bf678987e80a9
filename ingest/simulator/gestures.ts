import type { Random } from '../../engine/support/random.js';

/**
 * A place seen from a shoulder, in lengths of the outstretched arm: `[outward, up, forward]`, outward
 * being away from the body's middle. So one description serves both arms, mirrored.
 */
export type ArmVector = readonly [outward: number, up: number, forward: number];

/** Where one hand is, and to which side the elbow bends. The joint angles follow (`figure.ts`). */
export interface ArmPose {
  readonly hand: ArmVector;
  readonly elbow: ArmVector;
}

/** Right and left are the performer's own. */
export interface ArmsPose {
  readonly right: ArmPose;
  readonly left: ArmPose;
}

/** The arms at a phase, in cycles: most motions repeat with period 1. */
export type Motion = (phase: number) => ArmsPose;

/** How one person does every gesture. */
export interface Style {
  /** Size of the motion, about 1. */
  readonly amplitude: number;
  /** Where the motion is centred, added to the hand's place; a few hundredths of an arm length. */
  readonly shift: ArmVector;
}

/** One kind of motion. `random` varies details of one performance. */
export type Gesture = (style: Style, random: Random) => Motion;

const turn = 2 * Math.PI;

function shifted(hand: ArmVector, { shift }: Style): ArmVector {
  return [hand[0] + shift[0], hand[1] + shift[1], hand[2] + shift[2]];
}

/** An arm that hangs and swings a little. */
function hangingArm(phase: number): ArmPose {
  return {
    hand: [0.14, -0.95, 0.08 + 0.015 * Math.sin(turn * phase)],
    elbow: [0.5, 0, -1],
  };
}

type OneArm = (style: Style, random: Random) => (phase: number) => ArmPose;

const rightArm =
  (arm: OneArm): Gesture =>
  (style, random) => {
    const move = arm(style, random);
    return (phase) => ({ right: move(phase), left: hangingArm(phase) });
  };

const leftArm =
  (arm: OneArm): Gesture =>
  (style, random) => {
    const move = arm(style, random);
    return (phase) => ({ right: hangingArm(phase), left: move(phase) });
  };

/** Hand beside the head, the forearm swinging about the elbow. */
const wave: OneArm = (style, random) => {
  const reach = 0.46 + 0.05 * random.uniform();
  const swing = (0.6 + 0.12 * random.uniform()) * style.amplitude;
  return (phase) => {
    const angle = 0.1 + swing * Math.sin(turn * phase);
    const hand: ArmVector = [
      0.3 + reach * Math.sin(angle),
      -0.12 + reach * Math.cos(angle) * 1.1,
      0.3,
    ];
    return { hand: shifted(hand, style), elbow: [0.7, -1, -0.3] };
  };
};

/**
 * The outstretched arm draws a circle beside the body. `direction` +1 turns from outward to up, which
 * the performer sees as counter-clockwise for the right arm and as clockwise for the left one.
 */
const circle =
  (direction: 1 | -1): OneArm =>
  (style, random) => {
    const radius = (0.58 + 0.08 * random.uniform()) * style.amplitude;
    const flatness = 0.9 + 0.2 * random.uniform();
    return (phase) => {
      const angle = turn * phase * direction;
      const out = 0.42 + radius * Math.cos(angle);
      const up = 0.05 + radius * flatness * Math.sin(angle);
      const forward = 0.6;
      // Stretched all the way round: the hand stays on a sphere about the shoulder.
      const stretch = 0.95 / Math.hypot(out, up, forward);
      const hand: ArmVector = [out * stretch, up * stretch, forward * stretch];
      return { hand: shifted(hand, style), elbow: [0.5, -1, -0.2] };
    };
  };

const clap: Gesture = (style, random) => {
  const width = (0.26 + 0.06 * random.uniform()) * style.amplitude;
  const height = -0.3 + 0.1 * random.uniform();
  return (phase) => {
    const open = 0.5 - 0.5 * Math.cos(turn * phase);
    // -0.24: the palms meet in the body's middle.
    const x = -0.24 + 2 * width * open;
    const arm: ArmPose = {
      hand: [x, height + style.shift[1], 0.55 + style.shift[2]],
      elbow: [0.8, -1, -0.2],
    };
    return { right: arm, left: arm };
  };
};

/** Forearms level before the chest, turning about each other. */
const armRoll: Gesture = (style, random) => {
  const radius = (0.17 + 0.04 * random.uniform()) * style.amplitude;
  const direction = random.uniform() < 0.7 ? 1 : -1;
  const forearm = (phase: number): ArmPose => {
    const angle = turn * phase * direction;
    const hand: ArmVector = [
      -0.36,
      -0.3 + radius * Math.cos(angle),
      0.42 + radius * Math.sin(angle),
    ];
    const elbow: ArmVector = [1, -0.35 + 0.5 * Math.cos(angle), 0.1];
    return { hand: [hand[0], hand[1] + style.shift[1], hand[2] + style.shift[2]], elbow };
  };
  return (phase) => ({ right: forearm(phase), left: forearm(phase + 0.5) });
};

/** Both hands beat in turn, fast down and slow up, and wander between drums. */
const airDrums: Gesture = (style, random) => {
  const height = (0.3 + 0.08 * random.uniform()) * style.amplitude;
  const wander = 0.06 + 0.06 * random.uniform();
  const stick = (phase: number): ArmPose => {
    const angle = turn * phase;
    const raised = 0.5 + 0.5 * Math.sin(angle + 0.5 * Math.sin(angle));
    const hand: ArmVector = [
      0.06 + wander * Math.sin(0.37 * angle),
      -0.42 + 2 * height * raised,
      0.52 - 0.12 * raised,
    ];
    return { hand: shifted(hand, style), elbow: [0.8, -1, -0.4] };
  };
  return (phase) => ({ right: stick(phase), left: stick(phase + 0.5) });
};

/** The left hand holds the neck and slides, the right one strums before the belly. */
const airGuitar: Gesture = (style, random) => {
  const strum = (0.17 + 0.05 * random.uniform()) * style.amplitude;
  const slide = 0.05 + 0.04 * random.uniform();
  return (phase) => {
    const beat = Math.sin(turn * phase);
    const right: ArmVector = [-0.26 - 0.2 * strum * beat, -0.55 + strum * beat, 0.4];
    const left: ArmVector = [0.34 + slide * Math.sin((turn * phase) / 4), -0.12, 0.42];
    return {
      right: { hand: shifted(right, style), elbow: [1, -0.5, -0.4] },
      left: { hand: shifted(left, style), elbow: [0.5, -1, -0.2] },
    };
  };
};

/** None of the others: each hand wanders on a sum of sines with frequencies of its own. */
const other: Gesture = (style, random) => {
  const wander = (centre: number, size: number): ((phase: number) => number) => {
    const waves = [0, 1, 2].map((k) => ({
      frequency: 0.35 + 0.4 * k + 0.35 * random.uniform(),
      start: random.uniform(),
      size: (size * style.amplitude * (0.5 + random.uniform())) / (1 + 0.5 * k),
    }));
    return (phase) =>
      waves.reduce(
        (sum, wave) => sum + wave.size * Math.sin(turn * (wave.frequency * phase + wave.start)),
        centre,
      );
  };
  const arm = (): ((phase: number) => ArmPose) => {
    const out = wander(0.15 + 0.3 * random.uniform(), 0.22);
    const up = wander(-0.35 + 0.6 * random.uniform(), 0.3);
    const forward = wander(0.4, 0.1);
    return (phase) => ({
      hand: shifted([out(phase), up(phase), forward(phase)], style),
      elbow: [0.7, -1, -0.3],
    });
  };
  const right = arm();
  const left = arm();
  return (phase) => ({ right: right(phase), left: left(phase) });
};

/**
 * The motions, named like the classes of DVS128 Gesture (Amir et al., CVPR 2017). Right and left are
 * the performer's own: the right hand is at the left of the picture. Clockwise is as the performer
 * sees it, so it is counter-clockwise in the picture, as in that data set.
 */
export const gestures: Readonly<Record<string, Gesture>> = {
  hand_clapping: clap,
  right_hand_wave: rightArm(wave),
  left_hand_wave: leftArm(wave),
  right_arm_clockwise: rightArm(circle(-1)),
  right_arm_counter_clockwise: rightArm(circle(1)),
  left_arm_clockwise: leftArm(circle(1)),
  left_arm_counter_clockwise: leftArm(circle(-1)),
  arm_roll: armRoll,
  air_drums: airDrums,
  air_guitar: airGuitar,
  other_gesture: other,
};

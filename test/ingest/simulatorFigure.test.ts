import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createRandom } from '../../engine/support/random.js';
import { bendArm, type Capsule, poseFigure } from '../../ingest/simulator/figure.js';
import { type ArmPose, gestures, type Style } from '../../ingest/simulator/gestures.js';
import { paintBackground, paintCapsules } from '../../ingest/simulator/render.js';
import { createSubject, type Subject } from '../../ingest/simulator/subject.js';

const style: Style = { amplitude: 1.05, shift: [0.02, -0.03, 0.01] };
const motionOf = (name: string): ReturnType<(typeof gestures)[string]> =>
  gestures[name](style, createRandom(3, 'motion'));
const sensor = { width: 64, height: 64 };

/** A subject whose left half is the mirror image of the right one, seen from the front. */
const symmetric: Subject = {
  ...createSubject(1, 1),
  centreX: 0.5,
  yaw: 0,
  lean: 0,
  sway: 0,
  tremor: 0,
};

function picture(subject: Subject, name: string, phase: number): Float32Array {
  const painted = new Float32Array(sensor.width * sensor.height).fill(subject.background);
  paintCapsules(painted, sensor, poseFigure(subject, motionOf(name)(phase), 0.3, sensor));
  return painted;
}

function expectClose(a: ArmPose, b: ArmPose): void {
  for (let axis = 0; axis < 3; axis++) {
    expect(a.hand[axis]).toBeCloseTo(b.hand[axis], 9);
    expect(a.elbow[axis]).toBeCloseTo(b.elbow[axis], 9);
  }
}

const phases = Array.from({ length: 12 }, (_, k) => -1 + 0.17 * k);

describe('gestures', () => {
  it('has the eleven classes of DVS128 Gesture', () => {
    expect(Object.keys(gestures)).toHaveLength(11);
  });

  it.each([
    ['right_hand_wave', 'left_hand_wave'],
    ['right_arm_clockwise', 'left_arm_counter_clockwise'],
    ['right_arm_counter_clockwise', 'left_arm_clockwise'],
  ])('%s is the mirror image of %s', (right, left) => {
    for (const phase of phases) {
      const a = picture(symmetric, right, phase);
      const b = picture(symmetric, left, phase);
      const mirrored = b.map((_, i) => {
        const x = i % sensor.width;
        return b[i - x + sensor.width - 1 - x];
      });
      let largest = 0;
      for (let i = 0; i < a.length; i++) largest = Math.max(largest, Math.abs(a[i] - mirrored[i]));
      // Limbs of equal nearness may be painted in the other order, which shows where edges are mixed.
      expect(largest).toBeLessThan(0.02);
    }
  });

  it.each([
    ['right_arm_clockwise', 'right_arm_counter_clockwise'],
    ['left_arm_clockwise', 'left_arm_counter_clockwise'],
  ])('%s is %s backwards', (clockwise, counterClockwise) => {
    const side = clockwise.startsWith('right') ? 'right' : 'left';
    for (const phase of phases) {
      expectClose(motionOf(clockwise)(phase)[side], motionOf(counterClockwise)(-phase)[side]);
    }
  });

  it('moves only the arm that the name says', () => {
    for (const [name, still] of [
      ['right_hand_wave', 'left'],
      ['right_arm_clockwise', 'left'],
      ['left_hand_wave', 'right'],
      ['left_arm_counter_clockwise', 'right'],
    ] as const) {
      const moving = still === 'left' ? 'right' : 'left';
      const travel = (side: 'left' | 'right'): number =>
        Math.hypot(
          ...[0, 1].map((axis) => {
            const values = phases.map((phase) => motionOf(name)(phase)[side].hand[axis]);
            return Math.max(...values) - Math.min(...values);
          }),
        );
      expect(travel(moving)).toBeGreaterThan(0.3);
      expect(travel(still)).toBeLessThan(0.02);
    }
  });

  it('repeats with period 1, unless the motion is random', () => {
    for (const name of ['hand_clapping', 'right_hand_wave', 'left_arm_clockwise', 'arm_roll']) {
      const motion = motionOf(name);
      for (const phase of phases) {
        for (let axis = 0; axis < 3; axis++) {
          const [now, next] = [motion(phase).right.hand, motion(phase + 1).right.hand];
          expect(next[axis]).toBeCloseTo(now[axis], 9);
        }
      }
    }
    const other = motionOf('other_gesture');
    expect(other(1).right.hand[0]).not.toBeCloseTo(other(0).right.hand[0], 3);
  });
});

describe('figure', () => {
  it("puts the performer's right hand at the left of the picture", () => {
    const hands = poseFigure(symmetric, motionOf('right_hand_wave')(0), 0, sensor);
    const highest = hands
      .filter(({ luminance }) => luminance === symmetric.skin)
      .filter(({ x1 }) => Math.abs(x1 - sensor.width / 2) > 8)
      .reduce((a, b) => (a.y1 < b.y1 ? a : b));
    expect(highest.x1).toBeLessThan(sensor.width / 2 - 8);
  });

  it('bends arms without stretching bones', () => {
    const coordinate = fc.double({ min: -2, max: 2, noNaN: true });
    const point = fc.tuple(coordinate, coordinate, coordinate);
    fc.assert(
      fc.property(point, point, point, (shoulder, target, side) => {
        const { elbow, wrist } = bendArm(shoulder, target, side, 0.4);
        const apart = (a: readonly number[], b: readonly number[]): number =>
          Math.hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2]);
        expect(apart(shoulder, wrist)).toBeLessThanOrEqual(0.4);
        for (const value of [...elbow, ...wrist]) expect(Number.isFinite(value)).toBe(true);
        fc.pre(apart(shoulder, target) > 0.01);
        // The elbow's side must not lie along the arm, or there is no plane to bend in.
        const along = [0, 1, 2].map((i) => target[i] - shoulder[i]);
        const cross = Math.hypot(
          along[1] * side[2] - along[2] * side[1],
          along[2] * side[0] - along[0] * side[2],
          along[0] * side[1] - along[1] * side[0],
        );
        fc.pre(cross > 1e-3);
        expect(apart(shoulder, elbow)).toBeCloseTo(0.46 * 0.4, 6);
        expect(apart(elbow, wrist)).toBeCloseTo(0.54 * 0.4, 6);
      }),
    );
  });

  it('draws subjects that differ and stand out from the background', () => {
    const subjects = Array.from({ length: 30 }, (_, k) => createSubject(1, k));
    expect(createSubject(1, 7)).toEqual(subjects[7]);
    expect(new Set(subjects.map(({ tempoHz }) => tempoHz)).size).toBe(30);
    for (const { skin, shirt, background, tempoHz, yaw } of subjects) {
      expect(Math.abs(Math.log(skin / background))).toBeGreaterThan(0.4);
      expect(Math.abs(Math.log(shirt / background))).toBeGreaterThan(0.4);
      expect(tempoHz).toBeGreaterThanOrEqual(0.8);
      expect(tempoHz).toBeLessThanOrEqual(1.6);
      expect(Math.abs(yaw)).toBeLessThan((26 * Math.PI) / 180);
    }
  });
});

describe('rendering', () => {
  const disc: Capsule = {
    x0: 20.3,
    y0: 30.7,
    radius0: 6,
    x1: 20.3,
    y1: 30.7,
    radius1: 6,
    nearness: 0,
    luminance: 1,
    rimShade: 0,
  };
  const paint = (capsule: Capsule): Float32Array => {
    const painted = new Float32Array(sensor.width * sensor.height);
    paintCapsules(painted, sensor, [capsule]);
    return painted;
  };
  const sum = (values: Float32Array): number => values.reduce((total, value) => total + value, 0);

  it('covers the area of a disc and of a capsule, wherever they lie between pixels', () => {
    expect(Math.abs(sum(paint(disc)) - Math.PI * 36)).toBeLessThan(1.5);
    const capsule = paint({ ...disc, x1: 40.1, y1: 45.2 });
    const length = Math.hypot(40.1 - 20.3, 45.2 - 30.7);
    expect(Math.abs(sum(capsule) - Math.PI * 36 - 12 * length)).toBeLessThan(6);
  });

  it('moves smoothly: a shift of a tenth of a pixel changes no pixel by more', () => {
    const before = paint(disc);
    const after = paint({ ...disc, x0: disc.x0 + 0.1, x1: disc.x1 + 0.1 });
    let largest = 0;
    before.forEach((value, i) => (largest = Math.max(largest, Math.abs(after[i] - value))));
    expect(largest).toBeGreaterThan(0.05);
    expect(largest).toBeLessThan(0.11);
  });

  it('cuts what is outside the picture', () => {
    expect(sum(paint({ ...disc, x0: -50, x1: -50 }))).toBe(0);
    const half = paint({ ...disc, x0: 0, x1: 0 });
    expect(Math.abs(sum(half) - Math.PI * 18)).toBeLessThan(2);
    for (let y = 0; y < 64; y++) expect(half[y * 64 + 63]).toBe(0);
  });

  it('makes plain and textured backgrounds from the seed', () => {
    const plain = paintBackground(sensor, { luminance: 0.4, texture: 0, boxes: 0 }, 1);
    expect(new Set(plain).size).toBe(1);
    const options = { luminance: 0.4, texture: 0.5, boxes: 3 };
    const textured = paintBackground(sensor, options, 1, 'a');
    expect(paintBackground(sensor, options, 1, 'a')).toEqual(textured);
    expect(paintBackground(sensor, options, 1, 'b')).not.toEqual(textured);
    expect(new Set(textured).size).toBeGreaterThan(100);
  });
});

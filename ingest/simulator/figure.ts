import type { SensorSize } from '../eventBatch.js';
import type { ArmPose, ArmsPose } from './gestures.js';
import type { Subject } from './subject.js';

/** A tapered capsule in the picture: two discs and all between them. Pixels; y grows downwards. */
export interface Capsule {
  readonly x0: number;
  readonly y0: number;
  readonly radius0: number;
  readonly x1: number;
  readonly y1: number;
  readonly radius1: number;
  /** Nearness to the camera: larger is painted later. */
  readonly nearness: number;
  /** Reflectance 0 … 1. */
  readonly luminance: number;
  /** How much darker the rim is than the middle, 0 … 1: round limbs stand out from the body behind. */
  readonly rimShade: number;
}

/** Body frame: x to the right of the picture, y up, z to the camera; body heights from the chest. */
type Point = readonly [x: number, y: number, z: number];

/** Camera distance in body heights: what is nearer looks larger. */
const cameraDistance = 2.5;
const upperArmShare = 0.46;

/**
 * The figure's parts as the camera sees them, far ones first.
 *
 * @param timeS seconds since the start; drives sway and tremor.
 */
export function poseFigure(
  subject: Subject,
  arms: ArmsPose,
  timeS: number,
  sensor: SensorSize,
): Capsule[] {
  const { shoulderWidth, armLength, legLength, thickness, headRadius } = subject;
  const sway = subject.sway * Math.sin(2 * Math.PI * subject.swayHz * timeS);
  const capsules: Capsule[] = [];
  const project = createProjection(subject, sway, sensor);
  const add = (
    from: Point,
    radiusFrom: number,
    to: Point,
    radiusTo: number,
    luminance: number,
    rimShade: number,
    nearer = 0,
  ): void => {
    const a = project(from);
    const b = project(to);
    capsules.push({
      x0: a.x,
      y0: a.y,
      radius0: radiusFrom * a.scale,
      x1: b.x,
      y1: b.y,
      radius1: radiusTo * b.scale,
      nearness: (a.z + b.z) / 2 + nearer,
      luminance,
      rimShade,
    });
  };

  const thick = (radius: number): number => radius * thickness;
  const hipY = -0.3;
  const shoulderY = 0.02;

  for (const side of [-1, 1] as const) {
    const hip: Point = [0.05 * side, hipY, 0];
    const knee: Point = [0.065 * side, hipY - 0.5 * legLength, 0.01];
    const ankle: Point = [0.07 * side, hipY - legLength, 0];
    add(hip, thick(0.05), knee, thick(0.036), subject.trousers, 0.3, -0.1);
    add(knee, thick(0.036), ankle, thick(0.026), subject.trousers, 0.3, -0.1);
    const shoulder: Point = [shoulderWidth * side * 0.75, shoulderY - 0.03, 0];
    add(shoulder, thick(0.05), [0.06 * side, hipY + 0.02, 0], thick(0.045), subject.shirt, 0);
  }
  add([0, -0.04, 0], thick(0.075), [0, hipY + 0.03, 0], thick(0.06), subject.shirt, 0, 0.001);
  const yoke: Point = [shoulderWidth * 0.85, shoulderY - 0.02, 0];
  add([-yoke[0], yoke[1], 0], thick(0.042), yoke, thick(0.042), subject.shirt, 0, 0.001);
  const headY = 0.11 + headRadius;
  add([0, 0.02, 0], 0.03, [0, headY - 0.02, 0.005], 0.028, subject.skin, 0.2, 0.002);
  add([0, headY + 0.02, 0], headRadius, [0, headY - 0.01, 0], headRadius, subject.hair, 0, 0.01);
  const face = 0.85 * headRadius;
  add([0, headY, 0.01], face, [0, headY - 0.035, 0.01], 0.75 * face, subject.skin, 0.2, 0.03);

  // The performer faces the camera, so their right arm (side -1) is at the left of the picture.
  addArm(arms.right, -1);
  addArm(arms.left, 1);
  return capsules.sort((a, b) => a.nearness - b.nearness);

  function addArm(arm: ArmPose, side: -1 | 1): void {
    const shoulder: Point = [shoulderWidth * side, shoulderY, 0];
    const trembling = 2 * Math.PI * subject.tremorHz * timeS;
    const toBody = (v: readonly [number, number, number]): Point => [v[0] * side, v[1], v[2]];
    const hand = toBody(arm.hand);
    const tremor: Point = [Math.sin(trembling), Math.cos(1.3 * trembling), 0];
    const target: Point = [
      shoulder[0] + hand[0] * armLength + tremor[0] * subject.tremor,
      shoulder[1] + hand[1] * armLength + tremor[1] * subject.tremor,
      shoulder[2] + hand[2] * armLength,
    ];
    const { elbow, wrist } = bendArm(shoulder, target, toBody(arm.elbow), armLength);
    const skinOrSleeve = subject.longSleeves ? subject.sleeves : subject.skin;
    add(shoulder, thick(0.036), elbow, thick(0.028), subject.sleeves, 0.45, 0.05);
    add(elbow, thick(0.027), wrist, thick(0.02), skinOrSleeve, 0.45, 0.06);
    // The hand goes on from the wrist by half its length, as a small ball.
    const reach = 0.03;
    const length = distance(elbow, wrist);
    const tip = wrist.map((w, i) => w + ((w - elbow[i]) / length) * reach) as unknown as Point;
    add(wrist, thick(0.024), tip, thick(0.026), subject.skin, 0.35, 0.07);
  }
}

/**
 * Elbow and wrist of an arm that reaches for a target (two-bone inverse kinematics): the elbow lies in
 * the plane of the target and `elbowSide`. Targets out of reach are pulled in.
 */
export function bendArm(
  shoulder: Point,
  target: Point,
  elbowSide: Point,
  armLength: number,
): { elbow: Point; wrist: Point } {
  const upper = upperArmShare * armLength;
  const lower = armLength - upper;
  const full = distance(shoulder, target);
  const direction = unit([
    target[0] - shoulder[0],
    target[1] - shoulder[1],
    target[2] - shoulder[2],
  ]);
  const reach = Math.min(0.995 * armLength, Math.max(0.25 * armLength, full));
  // Law of cosines: how far along the line to the target the elbow's foot lies.
  const along = (upper * upper - lower * lower + reach * reach) / (2 * reach);
  const aside = Math.sqrt(Math.max(0, upper * upper - along * along));
  const dot =
    elbowSide[0] * direction[0] + elbowSide[1] * direction[1] + elbowSide[2] * direction[2];
  const side = unit([
    elbowSide[0] - dot * direction[0],
    elbowSide[1] - dot * direction[1],
    elbowSide[2] - dot * direction[2],
  ]);
  const elbow = shoulder.map((s, i) => s + along * direction[i] + aside * side[i]);
  const wrist = shoulder.map((s, i) => s + reach * direction[i]);
  return { elbow: elbow as unknown as Point, wrist: wrist as unknown as Point };
}

/** Body frame to pixels: yaw, then lean about the hips, then a camera with perspective. */
function createProjection(
  subject: Subject,
  sway: number,
  sensor: SensorSize,
): (point: Point) => { x: number; y: number; z: number; scale: number } {
  const bodyHeight = subject.scale * sensor.height;
  const centreX = subject.centreX * sensor.width;
  const chestY = subject.chestY * sensor.height;
  const [cosYaw, sinYaw] = [Math.cos(subject.yaw), Math.sin(subject.yaw)];
  const lean = subject.lean + sway;
  const [cosLean, sinLean] = [Math.cos(lean), Math.sin(lean)];
  const hipY = -0.3;
  return ([x, y, z]) => {
    const turnedX = x * cosYaw + z * sinYaw;
    const turnedZ = z * cosYaw - x * sinYaw;
    const aboveHip = y - hipY;
    const leanedX = turnedX * cosLean + aboveHip * sinLean + sway;
    const leanedY = hipY + aboveHip * cosLean - turnedX * sinLean;
    const scale = (bodyHeight * cameraDistance) / (cameraDistance - turnedZ);
    return {
      x: centreX + leanedX * scale,
      y: chestY - leanedY * scale,
      z: turnedZ,
      scale,
    };
  };
}

function distance(a: Point, b: Point): number {
  return Math.hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2]);
}

function unit([x, y, z]: Point): Point {
  const length = Math.max(1e-9, Math.hypot(x, y, z));
  return [x / length, y / length, z / length];
}

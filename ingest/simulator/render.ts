import { createRandom } from '../../engine/support/random.js';
import type { SensorSize } from '../eventBatch.js';
import type { Capsule } from './figure.js';

/** A picture as luminance 0 … 1, `[height, width]` row by row. */
export type Luminance = Float32Array;

/** How the wall behind the figure looks. */
export interface BackgroundOptions {
  /** Mean reflectance 0 … 1. */
  readonly luminance: number;
  /** Strength of the static texture, 0 (plain) … 1. */
  readonly texture: number;
  /** Number of things standing around: static bright and dark boxes. */
  readonly boxes: number;
}

/** Paints a static background: smooth noise of several pixels' size, and boxes. */
export function paintBackground(
  sensor: SensorSize,
  options: BackgroundOptions,
  seed: number,
  ...path: readonly (string | number)[]
): Luminance {
  const { width, height } = sensor;
  const random = createRandom(seed, ...path, 'background');
  const picture = new Float32Array(width * height);
  // Values on a coarse grid, interpolated in between.
  const columns = 9;
  const grid = Float32Array.from({ length: columns * columns }, () => 2 * random.uniform() - 1);
  for (let y = 0; y < height; y++) {
    const gridY = (y / height) * (columns - 1);
    const row = Math.floor(gridY);
    const fy = gridY - row;
    for (let x = 0; x < width; x++) {
      const gridX = (x / width) * (columns - 1);
      const column = Math.floor(gridX);
      const fx = gridX - column;
      const i = row * columns + column;
      const top = grid[i] * (1 - fx) + grid[i + 1] * fx;
      const bottom = grid[i + columns] * (1 - fx) + grid[i + columns + 1] * fx;
      const noise = top * (1 - fy) + bottom * fy;
      picture[y * width + x] = options.luminance * Math.exp(options.texture * noise);
    }
  }
  for (let box = 0; box < options.boxes; box++) {
    const factor = Math.exp(1.2 * (random.uniform() - 0.5));
    const left = Math.floor(random.uniform() * width);
    const top = Math.floor(random.uniform() * height);
    const right = Math.min(width, left + Math.ceil((0.05 + 0.2 * random.uniform()) * width));
    const bottom = Math.min(height, top + Math.ceil((0.1 + 0.4 * random.uniform()) * height));
    for (let y = top; y < bottom; y++) {
      for (let x = left; x < right; x++) picture[y * width + x] *= factor;
    }
  }
  return picture;
}

/**
 * Paints capsules over a picture, in order, with smooth edges one pixel wide. Only the pixels in a
 * capsule's bounding box are visited.
 */
export function paintCapsules(
  picture: Luminance,
  sensor: SensorSize,
  capsules: readonly Capsule[],
): void {
  for (const capsule of capsules) paintCapsule(picture, sensor, capsule);
}

function paintCapsule(picture: Luminance, { width, height }: SensorSize, capsule: Capsule): void {
  const { x0, y0, radius0, x1, y1, radius1, luminance, rimShade } = capsule;
  const left = Math.max(0, Math.floor(Math.min(x0 - radius0, x1 - radius1)) - 1);
  const right = Math.min(width - 1, Math.ceil(Math.max(x0 + radius0, x1 + radius1)));
  const top = Math.max(0, Math.floor(Math.min(y0 - radius0, y1 - radius1)) - 1);
  const bottom = Math.min(height - 1, Math.ceil(Math.max(y0 + radius0, y1 + radius1)));
  const dx = x1 - x0;
  const dy = y1 - y0;
  const perLength = 1 / Math.max(1e-9, dx * dx + dy * dy);
  for (let y = top; y <= bottom; y++) {
    const py = y + 0.5 - y0; // from the pixel's middle
    for (let x = left; x <= right; x++) {
      const px = x + 0.5 - x0;
      let along = (px * dx + py * dy) * perLength;
      along = along < 0 ? 0 : along > 1 ? 1 : along;
      const radius = radius0 + along * (radius1 - radius0);
      const ex = px - along * dx;
      const ey = py - along * dy;
      const outer = radius + 0.5;
      const squared = ex * ex + ey * ey;
      if (squared >= outer * outer) continue;
      const distance = Math.sqrt(squared);
      const coverage = outer - distance < 1 ? outer - distance : 1;
      const rim = distance < radius ? squared / (radius * radius) : 1;
      const shaded = luminance * (1 - rimShade * rim);
      const i = y * width + x;
      picture[i] += coverage * (shaded - picture[i]);
    }
  }
}

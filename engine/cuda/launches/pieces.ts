import type { Device } from '../device.js';

/** Pieces that many rows are cut into, for sums by feature that keep the device busy. */
export function piecesOf(
  device: Device,
  rows: number,
  features: number,
  featuresPerBlock = 32,
): number {
  const groups = Math.ceil(features / featuresPerBlock);
  const wanted = Math.ceil((4 * device.backend.driver.multiprocessors) / groups);
  return Math.max(1, Math.min(wanted, Math.ceil(rows / 64)));
}

/** The grid of blocks of 32 features × 8 rows: one for each group of features and piece of rows. */
export function byFeature(features: number, pieces: number, third = 1): [number, number, number] {
  return [Math.ceil(features / 32), pieces, third];
}

import { blockThreads, type Device } from '../device.js';

/**
 * Pieces that many rows are cut into, for sums by feature that keep the device busy.
 *
 * @param leastRows of a piece.
 * @param resident blocks that a multiprocessor runs at once.
 */
export function piecesOf(
  device: Device,
  rows: number,
  features: number,
  featuresPerBlock = 32,
  leastRows = 64,
  resident = 4,
): number {
  const groups = Math.ceil(features / featuresPerBlock);
  const wanted = Math.ceil((resident * device.backend.driver.multiprocessors) / groups);
  return Math.max(1, Math.min(wanted, Math.ceil(rows / leastRows)));
}

/** The grid of blocks of 32 features × 8 rows: one for each group of features and piece of rows. */
export function byFeature(features: number, pieces: number, third = 1): [number, number, number] {
  return [Math.ceil(features / 32), pieces, third];
}

/** Features that a thread can read at once. */
export const widthFor = (features: number): 1 | 4 => (features % 4 === 0 ? 4 : 1);

/**
 * Blocks of threads by features, `width` each, and rows, all at work at once: `Piece` of `source/common.cuh`.
 *
 * @param leastRows of a piece; by default one for each thread of a feature.
 */
export function rowLayout(
  device: Device,
  rows: number,
  features: number,
  width: 1 | 4,
  leastRows?: number,
  resident?: number,
) {
  const lanes = [8, 16].find((count) => count * width >= features) ?? 32;
  const side = blockThreads / lanes;
  const pieces = piecesOf(device, rows, features, lanes * width, leastRows ?? side, resident);
  return {
    pieces,
    grid: [Math.ceil(features / (lanes * width)), pieces] as const,
    threads: [lanes, side] as const,
  };
}

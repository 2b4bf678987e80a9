import { readFile } from 'node:fs/promises';
import { writeFileAtomically } from '../../engine/support/atomicFile.js';
import { simulatorVersion } from './simulateDataset.js';

/** Where a synthetic recording says how it was made: beside it, as event formats have no place for that. */
export function originFile(recording: string): string {
  return `${recording}.json`;
}

/** Writes down that a recording is synthetic, and all that it takes to make it again. */
export async function writeOrigin(
  recording: string,
  details: Readonly<Record<string, unknown>>,
): Promise<void> {
  const about = { generator: 'saccade simulator', generatorVersion: simulatorVersion };
  const text = JSON.stringify({ synthetic: true, ...about, ...details }, undefined, 2);
  await writeFileAtomically(originFile(recording), `${text}\n`);
}

/** Whether a recording is known to be synthetic: what stands beside it says so. */
export async function isSynthetic(recording: string): Promise<boolean> {
  try {
    const origin: unknown = JSON.parse(await readFile(originFile(recording), 'utf8'));
    return typeof origin === 'object' && (origin as { synthetic?: unknown }).synthetic === true;
  } catch {
    return false;
  }
}

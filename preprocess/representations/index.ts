import { SaccadeError } from '../../engine/support/errors.js';
import { type Recording, summarise } from '../../ingest/recording.js';
import type { EventWindow } from '../windows/window.js';
import { histogram, spikes } from './histogram.js';
import { clipLength, type ClipSize, type Representation } from './representation.js';
import { voxelGrid } from './voxelGrid.js';

export {
  clipLength,
  type ClipSize,
  type Representation,
  type TimeInterval,
} from './representation.js';

/** Every representation. One more is one line here. */
export const representations = [spikes, histogram, voxelGrid] as const;

export type RepresentationName = 'spikes' | 'histogram' | 'voxel';

export const representationNames = representations.map(({ name }) => name as RepresentationName);

/** @throws SaccadeError of kind `usage` for an unknown name. */
export function representationByName(name: string): Representation {
  const found = representations.find((representation) => representation.name === name);
  if (found === undefined) {
    const known = representationNames.join(', ');
    throw new SaccadeError('usage', `unknown representation '${name}', expected one of ${known}`);
  }
  return found;
}

/** A dense array of plain numbers, row-major. */
export interface DenseArray {
  readonly shape: readonly number[];
  readonly data: Float32Array | Uint8Array;
}

/**
 * Represents a window: its bins divide the time from its start to its end.
 *
 * @param out filled; `[bins, channels, height, width]`, for instance a part of a batch's memory.
 */
export function representWindow(
  { events, startUs, endUs }: EventWindow,
  representation: Representation,
  size: ClipSize,
  out: Float32Array = new Float32Array(clipLength(representation, size)),
): Float32Array {
  out.fill(0);
  representation.accumulate(out, events, { fromUs: startUs, toUs: endUs }, size);
  return out;
}

/**
 * Represents a whole recording in bins over [time of its first event, time of its last event]. Reads it
 * twice, once for the two times; memory holds the tensor and one batch.
 *
 * @returns `[bins, 2, height, width]`, for `voxel` `[bins, height, width]`.
 * @throws SaccadeError of kind `input` where the recording has no events.
 */
export async function representRecording(
  recording: Recording,
  {
    kind,
    signal,
    ...size
  }: ClipSize & { readonly kind: RepresentationName; readonly signal?: AbortSignal },
): Promise<DenseArray> {
  const representation = representationByName(kind);
  const { tFirstUs, tLastUs } = await summarise(recording, { signal });
  if (tFirstUs === null || tLastUs === null) {
    throw new SaccadeError('input', 'has no events to represent', { file: recording.path });
  }
  // In a recording whose time goes back, the last event may be stored before the latest.
  const interval = { fromUs: tFirstUs, toUs: Math.max(tFirstUs, tLastUs) };
  const data = new Float32Array(clipLength(representation, size));
  for await (const batch of recording.batches({ signal })) {
    representation.accumulate(data, batch, interval, size);
  }
  const { bins, height, width } = size;
  const { channels, dtype } = representation;
  const shape = channels === 1 ? [bins, height, width] : [bins, channels, height, width];
  return { shape, data: dtype === 'uint8' ? Uint8Array.from(data) : data };
}

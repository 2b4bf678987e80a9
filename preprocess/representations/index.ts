import { SaccadeError } from '../../engine/support/errors.js';
import { type Recording, summarise } from '../../ingest/recording.js';
import { parseCall } from '../arguments.js';
import type { EventWindow } from '../windows/window.js';
import { activeEvents } from './activeEvents.js';
import { adaptiveFrames } from './adaptiveFrames.js';
import { binaRep } from './binaRep.js';
import { addToClip, finishClip, startClip } from './clip.js';
import { eventSpikeTensor, learnedEventSpikeTensor } from './eventSpikeTensor.js';
import { frame } from './frame.js';
import { hats } from './hats.js';
import { histogram } from './histogram.js';
import { hots, hotsFitted } from './hots.js';
import { mixedDensity } from './mixedDensity.js';
import {
  clipLength,
  type ClipSize,
  type ClipValues,
  createRepresentation,
  type Representation,
  type RepresentationDefinition,
} from './representation.js';
import { spikes } from './spikes.js';
import { type DenseArray, storageTypes, type StorageType, storeClip } from './storage.js';
import { timeSurface } from './timeSurface.js';
import { tore } from './tore.js';
import { voxelGrid } from './voxelGrid.js';

export { addToClip, type Clip, finishClip, startClip } from './clip.js';
export { type KernelLayer, learnedSpikeTensor } from './eventSpikeTensor.js';
export { fitHots, type HotsDictionary, type HotsSurface, hotsWith } from './hots.js';
export {
  clipLength,
  type ClipSize,
  type ClipValues,
  type Representation,
  type RepresentationDefinition,
  type RepresentationRule,
  type TimeInterval,
  type ValueRange,
} from './representation.js';
export { type DenseArray, type StorageType, storageTypes, storeClip } from './storage.js';
export {
  addToTokens,
  type SpikingPatches,
  startTokens,
  tokenFeatures,
  tokens,
  type TokenState,
} from './tokens.js';

/** Every representation. One more is one line here. */
export const representations: readonly RepresentationDefinition[] = [
  spikes,
  histogram,
  frame,
  voxelGrid,
  eventSpikeTensor,
  learnedEventSpikeTensor,
  timeSurface,
  activeEvents,
  tore,
  hats,
  hots,
  hotsFitted,
  binaRep,
  mixedDensity,
  adaptiveFrames,
];

export const representationNames = representations.map(({ name }) => name);

/**
 * The representation that a call like `timeSurface:50000` means.
 *
 * @throws SaccadeError of kind `usage` that says what was expected.
 */
export function parseRepresentation(text: string): Representation {
  return createRepresentation(parseCall('representation', representations, text));
}

/**
 * Represents a window: its bins divide the time from its start to its end.
 *
 * @param out filled; `[bins, channels, height, width]`, for instance a part of a batch's memory, or bytes where
 *   the representation's `bytes` says so.
 */
export function representWindow<V extends ClipValues = Float32Array>(
  { events, startUs, endUs }: EventWindow,
  representation: Representation,
  size: ClipSize,
  out?: V,
): V {
  const interval = { fromUs: startUs, toUs: endUs };
  const clip = startClip<V>(representation, events.sensor, interval, size, out);
  addToClip(clip, events);
  return finishClip(clip);
}

export interface RepresentOptions extends ClipSize {
  readonly representation: Representation;
  /** How values are stored; the representation's own way where not given. */
  readonly store?: StorageType;
  readonly signal?: AbortSignal;
}

/**
 * Represents a whole recording in bins over [time of its first event, time of its last event]. Reads it
 * twice, once for the two times; memory holds the tensor, the representation's state and one batch.
 *
 * @returns `[bins, channels, height, width]`; without `channels` where there is one.
 * @throws SaccadeError of kind `input` where the recording has no events, `usage` where the values cannot
 *   be stored so.
 */
export async function representRecording(
  recording: Recording,
  { representation, store, signal, ...size }: RepresentOptions,
): Promise<DenseArray> {
  const { tFirstUs, tLastUs } = await summarise(recording, { signal });
  if (tFirstUs === null || tLastUs === null) {
    throw new SaccadeError('input', 'has no events to represent', { file: recording.path });
  }
  // In a recording whose time goes back, the last event may be stored before the latest.
  const interval = { fromUs: tFirstUs, toUs: Math.max(tFirstUs, tLastUs) };
  const { channels, values, bytes } = representation;
  const stored = store ?? storageTypes(values)[0];
  // Values of 0 to 255 need no room as float32.
  const length = clipLength(representation, size);
  const out = bytes && stored !== 'f32' ? new Uint8Array(length) : new Float32Array(length);
  const clip = startClip(representation, recording.sensor, interval, size, out);
  for await (const batch of recording.batches({ signal, reuse: true })) addToClip(clip, batch);
  const { bins, height, width } = size;
  const shape = channels === 1 ? [bins, height, width] : [bins, channels, height, width];
  const data = finishClip(clip);
  return storeClip({ shape, data }, values, stored);
}

import { channelsOf, type EventRepresentation, fitsBytes } from '../../engine/ops/eventLoops.js';
import { eventLoops } from '../../engine/native/eventLoops.js';
import type { ClipGrid, ClipValues, RepresentationRule, ValueRange } from './representation.js';

/** State of what adds events straight to the clip. */
export interface BinnedState {
  readonly grid: ClipGrid;
  readonly out: ClipValues;
}

/** A representation that adds each event straight to the clip, by one of the engine's loops. */
export function binned(
  kind: EventRepresentation,
  values: ValueRange,
): RepresentationRule<BinnedState> {
  return {
    channels: channelsOf(kind),
    values,
    bytes: fitsBytes(kind),
    // A voxel grid's sample time takes from events on both sides of it.
    binwise: kind !== 'voxel',
    start: (grid, out: ClipValues) => ({ grid, out }),
    add({ grid, out }, events) {
      eventLoops().addToBins(out, events, grid, kind);
    },
    finish() {
      // Nothing is left to do.
    },
  };
}

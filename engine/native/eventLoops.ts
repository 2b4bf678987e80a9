import { type EventLoops, eventRepresentations, plainLoops } from '../ops/eventLoops.js';
import { type Addon, loadAddon } from './addon.js';

/** The loops over events of the addon (`src/bin_events.cc`, `src/select_events.cc`, `src/event_vectors.cc`). */
export function nativeLoops(kernels: Addon['kernels']): EventLoops {
  const result = new Int32Array(1);
  return {
    addToBins(out, { tUs, x, y, polarity }, grid, representation) {
      const { bins, height, width, fromUs, toUs, rows, columns } = grid;
      const kind = eventRepresentations.indexOf(representation);
      kernels.binEvents(
        ...[tUs, x, y, polarity, rows, columns, out],
        ...[bins, height, width, fromUs, toUs, kind, out instanceof Uint8Array],
      );
    },
    raiseToLatest(latestUs, { tUs, x, y, polarity }, grid) {
      const { bins, height, width, fromUs, toUs, rows, columns } = grid;
      kernels.raiseToLatest(
        ...[tUs, x, y, polarity, rows, columns, latestUs],
        ...[bins, height, width, fromUs, toUs],
      );
    },
    decaySince(out, latestUs, endUs, tauUs) {
      kernels.decaySince(out, latestUs, endUs, tauUs);
    },
    sound({ tUs, x, y, polarity }, width, height) {
      kernels.soundEvents(tUs, x, y, polarity, result, width, height);
      return result[0] === 1;
    },
    whole({ tUs, x, y }, width, height) {
      kernels.wholeEvents(tUs, x, y, result, width, height);
      return result[0] === 1;
    },
    finite(values) {
      kernels.finiteValues(values, result);
      return result[0] === 1;
    },
    markSupported(keep, lastUs, { tUs, x, y, polarity }, { stride, plane, windowUs, needed }) {
      kernels.markSupported(
        ...[keep, lastUs, tUs, x, y, polarity],
        ...[stride, plane, windowUs, needed],
      );
    },
    select(to, { tUs, x, y, polarity }, keep) {
      kernels.selectEvents(
        ...[tUs, x, y, polarity, keep],
        ...[to.tUs, to.x, to.y, to.polarity, result],
      );
      return result[0];
    },
  };
}

let chosen: EventLoops | undefined;

/** The fastest loops over events that there are here: native ones where the addon loads. */
export function eventLoops(): EventLoops {
  chosen ??= load();
  return chosen;
}

function load(): EventLoops {
  try {
    return nativeLoops(loadAddon().kernels);
  } catch {
    return plainLoops;
  }
}

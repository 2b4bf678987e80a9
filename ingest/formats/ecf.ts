/** Most events of a chunk. */
const maxCount = 65_535;
/** Hexadecimal digits that a step of the time may have: what a float64 holds exactly, and one more. */
const maxDigits = 14;

/** Events of one chunk, as columns. */
export interface EcfEvents {
  readonly length: number;
  /** Time, µs. */
  readonly tUs: Float64Array;
  readonly x: Uint16Array;
  readonly y: Uint16Array;
  /** 1 = ON. */
  readonly polarity: Uint8Array;
}

/**
 * Decodes a chunk of Prophesee's event compression (ECF, HDF5 filter 36559).
 *
 * Little-endian: uint32 header (number of events << 2, bit 1: y, x and polarity packed, bit 0: x and polarity packed) and
 * uint64 first time, then
 * - times as runs: a byte has the step from the last time (µs) above and the number of events in its low four bits, 15 of
 *   which stand for a uint16 that follows; bytes with 15 above are hexadecimal digits of a longer step, the lowest first;
 * - and either y, x and polarity of an event in 24 bits, four events in three uint32; or y as runs (uint16: y << 5 and a number, 31
 *   of which stands for a uint16 that follows) and then x and polarity in 12 bits, four in three uint16, or x as uint16
 *   (x << 5, and five bits for events at the next five x) and polarity as runs (uint8: polarity << 7 and a number, 127 of which
 *   stands for a uint16 that follows).
 *
 * Source: prophesee-ai/hdf5_ecf, `ecf_codec.cpp`.
 *
 * @throws RangeError where the chunk is damaged.
 */
export function decodeEcf(chunk: Uint8Array): EcfEvents {
  const view = new DataView(chunk.buffer, chunk.byteOffset, chunk.length);
  const header = view.getUint32(0, true);
  const length = header >>> 2;
  if (length > maxCount)
    throw new RangeError(`${length} events in a chunk, expected at most ${maxCount}`);
  const events: EcfEvents = {
    length,
    tUs: new Float64Array(length),
    x: new Uint16Array(length),
    y: new Uint16Array(length),
    polarity: new Uint8Array(length),
  };
  let at = decodeTimes(view, 4, events.tUs);
  if ((header & 2) !== 0) {
    decodePacked24(view, at, events);
  } else {
    at = decodeRows(view, at, events.y);
    if ((header & 1) !== 0) decodePacked12(view, at, events);
    else decodePolarity(view, decodeColumns(view, at, events.x), events.polarity);
  }
  return events;
}

function decodeTimes(view: DataView, start: number, tUs: Float64Array): number {
  let time = view.getUint32(start, true) + view.getInt32(start + 4, true) * 2 ** 32;
  let at = start + 8;
  for (let i = 0; i < tUs.length;) {
    let byte = view.getUint8(at++);
    let step = 0;
    for (let digits = 0; byte >>> 4 === 15; digits++) {
      if (digits === maxDigits) throw new RangeError('a step of the time that no recording has');
      step += (byte & 15) * 16 ** digits;
      byte = view.getUint8(at++);
    }
    time += step + (byte >>> 4);
    let count = byte & 15;
    if (count === 15) {
      count = view.getUint16(at, true);
      at += 2;
    }
    i = fill(tUs, time, i, count);
  }
  return at;
}

function decodeRows(view: DataView, start: number, y: Uint16Array): number {
  let at = start;
  for (let i = 0; i < y.length;) {
    const word = view.getUint16(at, true);
    at += 2;
    let count = word & 31;
    if (count === 31) {
      count = view.getUint16(at, true);
      at += 2;
    }
    i = fill(y, word >>> 5, i, count);
  }
  return at;
}

function decodePolarity(view: DataView, start: number, polarity: Uint8Array): void {
  let at = start;
  for (let i = 0; i < polarity.length;) {
    const byte = view.getUint8(at++);
    let count = byte & 127;
    if (count === 127) {
      count = view.getUint16(at, true);
      at += 2;
    }
    i = fill(polarity, byte >>> 7, i, count);
  }
}

/** Writes a run and returns its end. */
function fill(
  column: Float64Array | Uint16Array | Uint8Array,
  value: number,
  start: number,
  count: number,
): number {
  if (start + count > column.length) throw new RangeError('a run ends behind the last event');
  column.fill(value, start, start + count);
  return start + count;
}

function decodeColumns(view: DataView, start: number, x: Uint16Array): number {
  let at = start;
  // A group may hold more than are left: writes behind the end of the array do nothing.
  for (let i = 0; i < x.length; at += 2) {
    const word = view.getUint16(at, true);
    x[i++] = word >>> 5;
    for (let j = 1; j <= 5; j++) if (((word >>> (5 - j)) & 1) !== 0) x[i++] = (word >>> 5) + j;
  }
  return at;
}

function decodePacked12(view: DataView, start: number, { length, x, polarity }: EcfEvents): void {
  for (let i = 0, at = start; i < length; i += 4, at += 6) {
    const a = view.getUint16(at, true);
    const b = view.getUint16(at + 2, true);
    const c = view.getUint16(at + 4, true);
    const values = [a >>> 4, (a & 15) | ((b >>> 8) << 4), (b & 255) | ((c >>> 12) << 8), c & 4095];
    for (let j = 0; j < 4; j++) {
      x[i + j] = values[j] >>> 1;
      polarity[i + j] = values[j] & 1;
    }
  }
}

function decodePacked24(view: DataView, start: number, events: EcfEvents): void {
  const { length, x, y, polarity } = events;
  for (let i = 0, at = start; i < length; i += 4, at += 12) {
    const a = view.getUint32(at, true);
    const b = view.getUint32(at + 4, true);
    const c = view.getUint32(at + 8, true);
    const values = [
      a >>> 8,
      (a & 0xff) | ((b >>> 16) << 8),
      (b & 0xffff) | ((c >>> 24) << 16),
      c & 0xffffff,
    ];
    for (let j = 0; j < 4; j++) {
      y[i + j] = (values[j] >>> 12) & 2047;
      x[i + j] = (values[j] >>> 1) & 2047;
      polarity[i + j] = values[j] & 1;
    }
  }
}

/** The number of the filter in HDF5. */
export const ecfFilter = 36_559;
/** Most events of a chunk. */
const maxCount = 65_535;
/** Hexadecimal digits that a step of the time may have: what a float64 holds exactly, and one more. */
const maxDigits = 14;
/** x and y have 11 bits. */
const placeCount = 2_048;
/** More bytes than an event can take: 15 and a run of its time, two runs for the rest. */
const maxEventLength = 24;

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

/**
 * Encodes a chunk, in the shortest of the three layouts.
 *
 * @returns undefined where ECF cannot hold the events: none or more than 65,535, times that go back, x or y from 2,048 on.
 */
export function encodeEcf(events: EcfEvents): Uint8Array | undefined {
  const { length, tUs, x, y, polarity } = events;
  if (length === 0 || length > maxCount) return undefined;
  for (let i = 0; i < length; i++) {
    if (x[i] >= placeCount || y[i] >= placeCount || (i > 0 && tUs[i] < tUs[i - 1]))
      return undefined;
  }
  const columns = encodeColumns(x.subarray(0, length));
  const signs = encodeRuns(polarity, length, 7, 1);
  const packed12 = 6 * Math.ceil(length / 4);
  const packsColumns = packed12 < columns.length + signs.length;
  const rows = encodeRuns(y, length, 5, 2);
  const packed24 = 12 * Math.ceil(length / 4);
  const packsAll =
    packed24 < rows.length + (packsColumns ? packed12 : columns.length + signs.length);
  const parts = packsAll
    ? [packFours(events, 4, (i) => (y[i] << 12) | (x[i] << 1) | polarity[i])]
    : packsColumns
      ? [rows, packFours(events, 2, (i) => (x[i] << 1) | polarity[i])]
      : [rows, columns, signs];
  const header = length * 4 + (packsAll ? 2 : packsColumns ? 1 : 0);
  return Buffer.concat([encodeTimes(tUs, length, header), ...parts]);
}

/** The header, the first time, and runs of equal times. */
function encodeTimes(tUs: Float64Array, length: number, header: number): Uint8Array {
  const bytes = new Uint8Array(12 + maxEventLength * length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, header, true);
  view.setUint32(4, tUs[0] >>> 0, true);
  view.setInt32(8, Math.floor(tUs[0] / 2 ** 32), true);
  let at = 12;
  let last = tUs[0];
  for (let i = 0; i < length;) {
    let step = tUs[i] - last;
    last = tUs[i];
    if (step >= 15) {
      for (; step > 0; step = Math.floor(step / 16)) bytes[at++] = 0xf0 | (step % 16);
    }
    const count = runLength(tUs, i, length);
    bytes[at++] = (step << 4) | Math.min(count, 15);
    if (count >= 15) {
      view.setUint16(at, count, true);
      at += 2;
    }
    i += count;
  }
  return bytes.subarray(0, at);
}

/** Runs of equal values in words of `size` bytes, the low `bits` of which count. */
function encodeRuns(
  values: Uint16Array | Uint8Array,
  length: number,
  bits: number,
  size: 1 | 2,
): Uint8Array {
  const bytes = new Uint8Array(4 * length);
  const more = (1 << bits) - 1;
  let at = 0;
  const put = (value: number, wordSize: number): void => {
    bytes[at++] = value;
    if (wordSize === 2) bytes[at++] = value >> 8;
  };
  for (let i = 0; i < length;) {
    const count = runLength(values, i, length);
    put((values[i] << bits) | Math.min(count, more), size);
    if (count >= more) put(count, 2);
    i += count;
  }
  return bytes.subarray(0, at);
}

function runLength(values: ArrayLike<number>, start: number, length: number): number {
  let end = start + 1;
  while (end < length && values[end] === values[start]) end++;
  return end - start;
}

function encodeColumns(x: Uint16Array): Uint8Array {
  const words = new Uint16Array(x.length);
  let count = 0;
  for (let i = 0; i < x.length; count++) {
    const first = x[i++];
    let mask = 0;
    for (let j = 1; j <= 5; j++) {
      if (x[i] !== first + j) continue;
      mask |= 1 << (5 - j);
      i++;
    }
    words[count] = (first << 5) | mask;
  }
  return new Uint8Array(words.buffer, 0, 2 * count);
}

/** Four values of 6 · `size` bits in three words of `size` bytes: the first in the upper bits, pieces of the last ones below. */
function packFours({ length }: EcfEvents, size: 2 | 4, valueOf: (i: number) => number): Uint8Array {
  const words = new (size === 2 ? Uint16Array : Uint32Array)(3 * Math.ceil(length / 4));
  const part = 2 * size;
  const low = (value: number, parts: number): number => value & ((1 << (parts * part)) - 1);
  for (let i = 0, at = 0; i < length; i += 4, at += 3) {
    // Behind the end stands anything: decoders leave it out.
    const [a, b, c, d] = [0, 1, 2, 3].map((j) => (i + j < length ? valueOf(i + j) : 0));
    words[at] = (a << part) | low(b, 1);
    words[at + 1] = ((b >>> part) << (2 * part)) | low(c, 2);
    words[at + 2] = ((c >>> (2 * part)) << (3 * part)) | d;
  }
  return new Uint8Array(words.buffer);
}

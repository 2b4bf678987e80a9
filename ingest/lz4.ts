import lz4 from 'lz4js';
import xxh32 from 'lz4js/xxh32.js';
import { compiledLz4Decoder } from './compiledLoop.js';

const magic = 0x184d2204;
const hasBlockChecksum = 0x10;
const hasContentSize = 0x08;
const hasContentChecksum = 0x04;
const hasDictionary = 0x01;
const storedBlock = 0x80000000;
const minMatch = 4;
/** A shorter match is copied faster byte by byte. */
const bulkLength = 32;

/**
 * Decompresses one LZ4 frame, of independent or linked blocks. Checksums are compared where it has them. Unlike
 * the libraries there are, it keeps to its bounds whatever the bytes.
 *
 * @param maxLength most bytes to give back; a frame that holds more is an error.
 * @param compiled whether a compiled loop may be used where it is built. The bytes do not depend on it.
 * @throws Error that says what was expected, where the frame is damaged.
 *
 * Source: LZ4 frame format 1.6 and block format descriptions.
 */
export function decompressLz4Frame(
  frame: Uint8Array,
  maxLength: number,
  compiled?: boolean,
): Uint8Array {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
  if (frame.length < 7 || view.getUint32(0, true) !== magic) {
    throw new Error('expected an LZ4 frame');
  }
  const flags = frame[4];
  if (flags >>> 6 !== 1) throw new Error(`LZ4 frame of version ${flags >>> 6}, expected 1`);
  if ((flags & hasDictionary) !== 0) throw new Error('LZ4 frame with a dictionary, expected none');
  const blockSize = (frame[5] >>> 4) & 7;
  if (blockSize < 4) throw new Error(`LZ4 block size ${blockSize}, expected 4 to 7`);
  const maxBlockLength = 2 ** (8 + 2 * blockSize);
  const blockTail = (flags & hasBlockChecksum) !== 0 ? 4 : 0;
  const out = new Output(Math.min(maxLength, 4 * frame.length), maxLength, compiled);
  let position = (flags & hasContentSize) !== 0 ? 15 : 7;
  const headerEnd = position - 1;
  if (headerEnd >= frame.length) throw new Error('LZ4 frame ends early');
  const headerSum = (xxh32.hash(0, frame, 4, headerEnd - 4) >>> 8) & 0xff;
  if (headerSum !== frame[headerEnd]) throw new Error('LZ4 frame header with a wrong checksum');
  for (;;) {
    if (position + 4 > frame.length) throw new Error('LZ4 frame ends early');
    const head = view.getUint32(position, true);
    position += 4;
    if (head === 0) break;
    const length = head % storedBlock;
    const end = position + length;
    if (length > maxBlockLength || end + blockTail > frame.length) {
      throw new Error(
        `LZ4 block of ${length} bytes, expected at most ${maxBlockLength}, all there`,
      );
    }
    if (blockTail > 0 && checksum(frame, position, length) !== view.getUint32(end, true)) {
      throw new Error('LZ4 block with a wrong checksum');
    }
    if (head >= storedBlock) out.append(frame.subarray(position, end));
    else out.decodeBlock(frame, position, end, maxBlockLength);
    position = end + blockTail;
  }
  if ((flags & hasContentChecksum) !== 0) {
    if (position + 4 > frame.length) throw new Error('LZ4 frame ends early');
    if (checksum(out.bytes, 0, out.length) !== view.getUint32(position, true)) {
      throw new Error('LZ4 frame whose content has a wrong checksum');
    }
  }
  return out.bytes.subarray(0, out.length);
}

/** Compresses bytes into one LZ4 frame, without a checksum of them. */
export const compressLz4Frame = (bytes: Uint8Array): Uint8Array => lz4.compress(bytes);

const checksum = (bytes: Uint8Array, start: number, length: number): number =>
  xxh32.hash(0, bytes, start, length) >>> 0;

/** What was decompressed so far: also the history that matches refer to. */
class Output {
  bytes: Uint8Array;
  length = 0;
  private readonly compiled: ReturnType<typeof compiledLz4Decoder>;

  constructor(
    capacity: number,
    private readonly maxLength: number,
    compiled?: boolean,
  ) {
    this.bytes = new Uint8Array(capacity);
    this.compiled = compiledLz4Decoder(compiled);
  }

  append(stored: Uint8Array): void {
    const needed = this.length + stored.length;
    if (needed > this.maxLength) {
      throw new Error(`LZ4 frame of more than ${this.maxLength} bytes decompressed`);
    }
    if (needed > this.bytes.length) this.grow(this.length, needed);
    this.bytes.set(stored, this.length);
    this.length += stored.length;
  }

  /** Sequences of literals and a match: a copy of what lies up to 64 KiB back. */
  decodeBlock(block: Uint8Array, start: number, end: number, maxBlockLength: number): void {
    const limit = Math.min(this.length + maxBlockLength, this.maxLength);
    if (this.compiled !== undefined) {
      let length: number;
      for (;;) {
        length = this.compiled(block, start, end, this.bytes, this.length, limit);
        if (length !== -2) break;
        this.grow(this.length, this.bytes.length + 1);
      }
      if (length >= 0) {
        this.length = length;
        return;
      }
      // The loop below finds and says what is wrong.
    }
    let { bytes } = this;
    let at = start;
    let to = this.length;
    for (;;) {
      if (at >= end) throw new Error('LZ4 block ends early');
      const token = block[at++];
      let literals = token >>> 4;
      if (literals === 15) {
        let more = 255;
        while (more === 255) {
          if (at >= end) throw new Error('LZ4 block ends early');
          more = block[at++];
          literals += more;
        }
      }
      if (literals > end - at || literals > limit - to) {
        throw new Error('LZ4 literals reach over the end of their block');
      }
      if (to + literals > bytes.length) bytes = this.grow(to, to + literals);
      if (literals < bulkLength) {
        for (const stop = at + literals; at < stop;) bytes[to++] = block[at++];
      } else {
        bytes.set(block.subarray(at, at + literals), to);
        at += literals;
        to += literals;
      }
      if (at === end) break;
      if (end - at < 2) throw new Error('LZ4 block ends early');
      const distance = block[at] | (block[at + 1] << 8);
      at += 2;
      let match = token & 15;
      if (match === 15) {
        let more = 255;
        while (more === 255) {
          if (at >= end) throw new Error('LZ4 block ends early');
          more = block[at++];
          match += more;
        }
      }
      match += minMatch;
      if (distance === 0 || distance > to || match > limit - to) {
        throw new Error(`LZ4 match ${distance} bytes back reaches out of the data`);
      }
      if (to + match > bytes.length) bytes = this.grow(to, to + match);
      if (match < bulkLength || distance < match) {
        for (let back = to - distance, stop = to + match; to < stop;) bytes[to++] = bytes[back++];
      } else {
        bytes.copyWithin(to, to - distance, to - distance + match);
        to += match;
      }
    }
    this.length = to;
  }

  /** Memory for `needed` bytes at least, with the first `length` ones in it. */
  private grow(length: number, needed: number): Uint8Array {
    const grown = new Uint8Array(Math.min(this.maxLength, Math.max(needed, 2 * this.bytes.length)));
    grown.set(this.bytes.subarray(0, length));
    this.bytes = grown;
    return grown;
  }
}

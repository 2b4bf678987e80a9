import { compress, init } from '@bokuweb/zstd-wasm';
import { Decompress } from 'fzstd';

const magic = 0xfd2fb528;
/** The largest window that is taken, bytes: what the decoder must keep of what it wrote. */
const maxWindowLength = 2 ** 27;

/**
 * Decompresses one Zstandard frame. What its header claims is checked before any memory is taken.
 *
 * @param maxLength most bytes to give back; a frame that holds more is an error.
 * @throws Error that says what was expected, where the frame is damaged.
 *
 * Source: RFC 8878, 3.1.1.1 (frame header).
 */
export function decompressZstdFrame(frame: Uint8Array, maxLength: number): Uint8Array {
  const { window, content } = claimedLengths(frame);
  const tooLong = `Zstandard frame of more than ${maxLength} bytes decompressed`;
  if (content > maxLength || window > maxWindowLength) throw new Error(tooLong);
  // Piece by piece, because the library's other way neither counts nor bounds what comes out.
  const pieces: Uint8Array[] = [];
  let length = 0;
  const stream = new Decompress((piece) => {
    length += piece.length;
    if (length > maxLength) throw new Error(tooLong);
    pieces.push(piece.slice()); // The library goes on with its memory.
  });
  stream.push(frame, true);
  return Buffer.concat(pieces);
}

/** What a frame's header claims, bytes; the content is 0 where it does not say. */
function claimedLengths(frame: Uint8Array): { window: number; content: number } {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
  if (frame.length < 6) throw new Error('Zstandard frame ends early');
  if (view.getUint32(0, true) !== magic) throw new Error('expected a Zstandard frame');
  const descriptor = frame[4];
  const single = (descriptor & 0x20) !== 0;
  const base = single ? 0 : 2 ** (10 + (frame[5] >>> 3));
  const window = base + (base / 8) * (frame[5] & 7);
  const at = (single ? 5 : 6) + [0, 1, 2, 4][descriptor & 3];
  const code = descriptor >>> 6;
  if (at + 2 ** code > frame.length) throw new Error('Zstandard frame ends early');
  if (code === 0) return { window, content: single ? frame[at] : 0 };
  if (code === 1) return { window, content: view.getUint16(at, true) + 256 };
  const content = code === 2 ? view.getUint32(at, true) : Number(view.getBigUint64(at, true));
  return { window, content };
}

/** Default of the `zstd` command. */
const level = 3;
let loaded: Promise<void> | undefined;

/** Loads what compresses bytes into one Zstandard frame. */
export async function zstdCompressor(): Promise<(bytes: Uint8Array) => Uint8Array> {
  loaded ??= init();
  await loaded;
  return (bytes) => compress(bytes, level);
}

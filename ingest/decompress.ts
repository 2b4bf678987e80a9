import Bzip2 from '@foxglove/wasm-bz2';
import { Decompress as ZstdStream } from 'fzstd';
import lz4 from 'lz4js';

/** The largest block that is decompressed, bytes: what a file claims beyond that is taken for damage. */
export const maxBlockLength = 1 << 27;

/** Methods that containers name: `none` (also as an empty name), `lz4` (a frame), `zstd` (a frame), `bz2`. */
export type Compression = 'none' | 'lz4' | 'zstd' | 'bz2';

let bzip2: Promise<Bzip2> | undefined;

/**
 * Decompresses one block of known length.
 *
 * @param length of the decompressed block, as its container states it.
 * @throws Error that says what was expected, where the block is damaged or of another length.
 */
export async function decompressBlock(
  method: Compression,
  block: Uint8Array,
  length: number,
): Promise<Uint8Array> {
  if (length > maxBlockLength || block.length > maxBlockLength) {
    throw new Error(
      `expected a block of at most ${maxBlockLength} bytes, got ${Math.max(length, block.length)}`,
    );
  }
  const decompressed = await decompressAny(method, block, length);
  if (decompressed.length !== length) {
    throw new Error(`expected ${length} bytes decompressed, got ${decompressed.length}`);
  }
  return decompressed;
}

async function decompressAny(
  method: Compression,
  block: Uint8Array,
  length: number,
): Promise<Uint8Array> {
  switch (method) {
    case 'none':
      return block;
    case 'lz4': {
      const out = new Uint8Array(length);
      const written = lz4.decompressFrame(block, out);
      // It counts on where the block is longer than the buffer, without writing.
      if (written > length) throw new Error(`expected ${length} bytes decompressed, got more`);
      return out.subarray(0, written);
    }
    case 'zstd':
      return unzstd(block, length);
    case 'bz2': {
      bzip2 ??= Bzip2.init();
      return (await bzip2).decompress(block, length);
    }
  }
}

/** Decompresses piece by piece: the library's other way neither counts nor bounds what comes out. */
function unzstd(block: Uint8Array, length: number): Uint8Array {
  const out = new Uint8Array(length);
  let written = 0;
  const stream = new ZstdStream((piece) => {
    if (written + piece.length > length) {
      throw new Error(`expected ${length} bytes decompressed, got more`);
    }
    out.set(piece, written);
    written += piece.length;
  });
  stream.push(block, true);
  return out.subarray(0, written);
}

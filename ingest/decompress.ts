import Bzip2 from '@foxglove/wasm-bz2';
import { decompressLz4Frame } from './lz4.js';
import { decompressZstdFrame } from './zstd.js';

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
    case 'lz4':
      return decompressLz4Frame(block, length);
    case 'zstd':
      return decompressZstdFrame(block, length);
    case 'bz2': {
      bzip2 ??= Bzip2.init();
      return (await bzip2).decompress(block, length);
    }
  }
}

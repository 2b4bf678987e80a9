import fc from 'fast-check';
import lz4 from 'lz4js';
import { describe, expect, it } from 'vitest';
import { decompressLz4Frame } from '../../ingest/lz4.js';

const mebibyte = 2 ** 20;

/** Bytes with repetitions near and far, as the compressor likes them, and without. */
const compressible = fc
  .array(
    fc.oneof(
      fc.uint8Array({ maxLength: 50 }),
      fc
        .tuple(fc.uint8Array({ minLength: 1, maxLength: 9 }), fc.integer({ min: 1, max: 400 }))
        .map(([piece, times]) => Buffer.concat(Array.from({ length: times }, () => piece))),
    ),
    { maxLength: 8 },
  )
  .map((pieces) => Buffer.concat(pieces));

/** A frame of stored and compressed blocks as given, with these flags. */
function frameOf(
  flags: number,
  blocks: readonly (readonly number[])[],
  stored: boolean,
): Uint8Array {
  const parts = blocks.map((block) => {
    const head = Buffer.alloc(4);
    head.writeUInt32LE(((stored ? 0x80000000 : 0) | block.length) >>> 0);
    return Buffer.concat([head, Buffer.from(block)]);
  });
  const head = Buffer.from([0x04, 0x22, 0x4d, 0x18, flags, 0x40, 0]);
  return Buffer.concat([head, ...parts, Buffer.alloc(4)]);
}

describe('decompressLz4Frame', () => {
  it('gives back what was compressed', () => {
    fc.assert(
      fc.property(compressible, (bytes) => {
        const frame = lz4.compress(bytes);
        expect(Buffer.from(decompressLz4Frame(frame, mebibyte))).toEqual(Buffer.from(bytes));
      }),
      { numRuns: 300 },
    );
  });

  it('reads linked blocks, whose matches reach back into the block before', () => {
    const first = [0x40, 1, 2, 3, 4]; // 4 literals
    const second = [0x10, 9, 4, 0, 0x00]; // a literal, 4 bytes from 4 back, no literals
    const bytes = decompressLz4Frame(frameOf(0x40, [first, second], false), 100);
    expect([...bytes]).toEqual([1, 2, 3, 4, 9, 2, 3, 4, 9]);
  });

  it('reads stored blocks, block checksums, content size and content checksum', () => {
    const stored = decompressLz4Frame(frameOf(0x60, [[5, 6], [7]], true), 100);
    expect([...stored]).toEqual([5, 6, 7]);
    const head = [0x04, 0x22, 0x4d, 0x18, 0x7c, 0x40, 3, 0, 0, 0, 0, 0, 0, 0, 0];
    const block = [4, 0, 0, 0, 0x30, 1, 2, 3, 9, 9, 9, 9];
    const frame = Uint8Array.from([...head, ...block, 0, 0, 0, 0, 8, 8, 8, 8]);
    expect([...decompressLz4Frame(frame, 3)]).toEqual([1, 2, 3]);
  });

  it('gives back no more than it may', () => {
    const bomb = lz4.compress(new Uint8Array(8 * mebibyte));
    expect(() => decompressLz4Frame(bomb, mebibyte)).toThrow(/literals|match|more than/);
    expect(decompressLz4Frame(bomb, 8 * mebibyte).length).toBe(8 * mebibyte);
  });

  it('keeps to its bounds whatever the bytes', () => {
    const places = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 6 });
    fc.assert(
      fc.property(compressible, places, fc.nat(), (bytes, changes, cut) => {
        const frame = Uint8Array.from(lz4.compress(bytes));
        for (const [place, byte] of changes) frame[place % frame.length] = byte;
        const damaged = frame.subarray(0, frame.length - (cut % 3 === 0 ? cut % frame.length : 0));
        try {
          expect(decompressLz4Frame(damaged, mebibyte).length).toBeLessThanOrEqual(mebibyte);
        } catch (error) {
          expect((error as Error).message).toMatch(/LZ4/);
        }
      }),
      { numRuns: 2_000 },
    );
  });
});

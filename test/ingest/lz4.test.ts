import fc from 'fast-check';
import lz4 from 'lz4js';
import xxh32 from 'lz4js/xxh32.js';
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
  return Buffer.concat([headOf(flags, 0x40), ...parts, Buffer.alloc(4)]);
}

/** The magic number, the descriptor and its checksum. */
function headOf(...descriptor: number[]): Uint8Array {
  const sum = xxh32.hash(0, Uint8Array.from(descriptor), 0, descriptor.length) >>> 8;
  return Uint8Array.from([0x04, 0x22, 0x4d, 0x18, ...descriptor, sum & 0xff]);
}

/** xxHash32, little-endian. */
function checksumOf(bytes: readonly number[]): Uint8Array {
  const sum = Buffer.alloc(4);
  sum.writeUInt32LE(xxh32.hash(0, Uint8Array.from(bytes), 0, bytes.length) >>> 0);
  return sum;
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

  it('gives the same with the compiled loop and without, of damaged frames, too', () => {
    const places = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 3 });
    fc.assert(
      fc.property(
        compressible,
        places,
        fc.integer({ min: 1, max: mebibyte }),
        (bytes, changes, most) => {
          const frame = Uint8Array.from(lz4.compress(bytes));
          for (const [place, byte] of changes) frame[place % frame.length] = byte;
          const [compiled, plain] = [true, false].map((wanted) => {
            try {
              return Buffer.from(decompressLz4Frame(frame, most, wanted)).toString('latin1');
            } catch (error) {
              return String(error);
            }
          });
          expect(compiled).toBe(plain);
        },
      ),
      { numRuns: 500 },
    );
  });

  it('reads linked blocks, whose matches reach back into the block before', () => {
    const first = [0x40, 1, 2, 3, 4]; // 4 literals
    const second = [0x10, 9, 4, 0, 0x00]; // a literal, 4 bytes from 4 back, no literals
    const bytes = decompressLz4Frame(frameOf(0x40, [first, second], false), 100);
    expect([...bytes]).toEqual([1, 2, 3, 4, 9, 2, 3, 4, 9]);
  });

  it('reads stored blocks, content size, and compares the checksums of header, blocks and content', () => {
    const stored = decompressLz4Frame(frameOf(0x60, [[5, 6], [7]], true), 100);
    expect([...stored]).toEqual([5, 6, 7]);
    const block = [0x30, 1, 2, 3];
    const frame = Buffer.concat([
      headOf(0x7c, 0x40, 3, 0, 0, 0, 0, 0, 0, 0),
      Uint8Array.from([4, 0, 0, 0, ...block]),
      checksumOf(block),
      Uint8Array.from([0, 0, 0, 0]),
      checksumOf([1, 2, 3]),
    ]);
    expect([...decompressLz4Frame(frame, 3)]).toEqual([1, 2, 3]);
    const places = { header: 14, block: 20, content: frame.length - 2 };
    for (const [name, place] of Object.entries(places)) {
      const damaged = Buffer.from(frame);
      damaged[place] ^= 4;
      expect(() => decompressLz4Frame(damaged, 3)).toThrow(new RegExp(`${name}.* wrong checksum`));
    }
  });

  it('hashes as the specification of xxHash32 says', () => {
    const hex = (text: string): string =>
      (xxh32.hash(0, Buffer.from(text), 0, text.length) >>> 0).toString(16);
    expect(hex('')).toBe('2cc5d05');
    expect(hex('Nobody inspects the spammish repetition')).toBe('e2293b2f');
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

import { describe, expect, it } from 'vitest';
import { ByteReader, ByteWriter } from '../../ingest/bytes.js';
import { Spool } from '../../ingest/spool.js';
import { chunksOf, collect, streamOf } from './streams.js';

const counted = (length: number): Uint8Array => Uint8Array.from({ length }, (_, i) => i);

describe('ByteReader', () => {
  it('keeps the part of a record that is left, and counts offsets over the whole stream', async () => {
    const bytes = counted(700_001);
    for (const lengths of [[700_001], [3, 100_000, 0, 7]]) {
      const chunks = chunksOf(bytes, lengths);
      const reader = new ByteReader(streamOf(chunks), 'bytes');
      let largest = 0;
      let seen = 0;
      let right = true;
      while (await reader.require(5)) {
        while (reader.available >= 5) {
          right &&= reader.offset === seen && reader.bytes[reader.position] === (seen & 0xff);
          reader.position += 5;
          seen += 5;
        }
        largest = Math.max(largest, reader.bytes.length);
      }
      expect(right).toBe(true);
      expect(reader.atEnd).toBe(true);
      expect([seen, reader.available]).toEqual([700_000, 1]);
      expect(largest).toBeLessThan(300_000);
    }
  });

  it('hands on errors of its source', async () => {
    const failing = (async function* (): AsyncGenerator<Uint8Array> {
      yield counted(3);
      throw new Error('cable');
    })();
    const reader = new ByteReader(failing, 'bytes');
    expect(await reader.require(3)).toBe(true);
    await expect(reader.require(4)).rejects.toThrow('cable');
  });
});

describe('ByteWriter', () => {
  it('grows and starts anew after take', () => {
    const writer = new ByteWriter();
    writer.writeText('µs');
    writer.reserve(200_000);
    writer.bytes[writer.length + 199_999] = 7;
    writer.length += 200_000;
    const taken = writer.take();
    expect([taken.length, taken[0], taken[200_002]]).toEqual([200_003, 0xc2, 7]);
    expect(writer.take().length).toBe(0);
  });
});

describe('Spool', () => {
  it.each([1_000, 9_000_000])('gives back %i bytes in order', async (length) => {
    const bytes = counted(length);
    const spool = new Spool();
    for (const chunk of chunksOf(bytes, [70_000, 300])) await spool.write(chunk);
    expect(Buffer.concat(await collect(spool.read())).equals(bytes)).toBe(true);
    await spool.close();
    expect(await collect(spool.read()).catch(() => [])).toEqual([]);
  });
});

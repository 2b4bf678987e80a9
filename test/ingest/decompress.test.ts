import { describe, expect, it } from 'vitest';
import { type Compression, decompressBlock, maxBlockLength } from '../../ingest/decompress.js';

const text = Array.from({ length: 200 }, (_, i) => `event ${i % 7}\n`).join('');

/** The text as bzip2, lz4 and zstd write it. */
const blocks: Readonly<Record<Exclude<Compression, 'none'>, string>> = {
  bz2: 'QlpoOTFBWSZTWSUmLsMAAZ5ZgAAQQAB/AAIBBQAgAEhNVQZNAClUaAM1RnlGEZRxR1Rqj2pTupLIi+EX4iyIthFoXckU4UJAlJi7DA==',
  lz4: 'BCJNGGRApzIAAACCZXZlbnQgMAoIABMxCAATMggAEzMIABM0CAATNQgAEzYIAA84AP//////71BudCAzCgAAAADse/9z',
  zstd: 'KLUv/QRYtQMAAs0XDdBlDNA6oDkzM6lLJHSCU+5yyl1OucspdznlLqfc5ZS7nHKXU+5yyl1OucspdznlLqfc5ZS7nHKXU+5yyl1OucspdznlLqfc5ZS7nHKXU+5yyl1OucspdzmJAEIwhhGAx6gQ8NsB4NcQFD9JKkmlXnogpRy9GVo=',
};

describe('decompressBlock', () => {
  it.each(Object.entries(blocks) as [Compression, string][])('reads %s', async (method, block) => {
    const bytes = Buffer.from(block, 'base64');
    const decompressed = await decompressBlock(method, bytes, text.length);
    expect(Buffer.from(decompressed).toString()).toBe(text);
  });

  it.each(Object.entries(blocks) as [Compression, string][])(
    'refuses %s of another length than stated, and damaged',
    async (method, block) => {
      const bytes = Buffer.from(block, 'base64');
      await expect(decompressBlock(method, bytes, text.length - 8)).rejects.toThrow();
      await expect(decompressBlock(method, bytes, text.length + 8)).rejects.toThrow();
      await expect(decompressBlock(method, bytes.subarray(0, 30), text.length)).rejects.toThrow();
    },
  );

  it('takes no block that would fill the memory', async () => {
    const block = Buffer.from(blocks.zstd, 'base64');
    await expect(decompressBlock('zstd', block, maxBlockLength + 1)).rejects.toThrow(/at most/);
  });
});

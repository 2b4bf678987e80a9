import { describe, expect, it } from 'vitest';
import yazl from 'yazl';
import { npyFileHeader } from '../../../ingest/formats/npyFileHeader.js';
import { npz } from '../../../ingest/formats/npz.js';
import { createReport } from '../../../ingest/format.js';
import { concatBatches } from '../../../ingest/eventBatch.js';
import { describeFormat } from '../formatConformance.js';
import { collect, decodeBytes, type EventRow, rowsOf, streamOf } from '../streams.js';

const epochUs = 1_744_227_144_732_712;

describeFormat(npz, {
  sensor: { width: 1280, height: 720 },
  firstUs: [-epochUs, epochUs],
  stepUs: [-(2 ** 40), 2 ** 40],
  lowestUs: -epochUs,
  headerLength: 4,
  mayRefuse: true,
});

async function archive(
  arrays: Readonly<Record<string, readonly [descr: string, count: number, data: ArrayBufferView]>>,
  compress = false,
): Promise<Buffer> {
  const zip = new yazl.ZipFile();
  for (const [name, [descr, count, data]] of Object.entries(arrays)) {
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    zip.addBuffer(Buffer.concat([npyFileHeader(descr, count), bytes]), `${name}.npy`, { compress });
  }
  zip.end();
  return Buffer.concat((await collect(zip.outputStream)) as unknown as Buffer[]);
}

const rows: EventRow[] = [
  [1_000, 30, 100, 0],
  [2_500, 127, 59, 1],
];

describe('npz', () => {
  it.each([false, true])('reads SpikingJelly’s layout (deflated: %s)', async (compress) => {
    const bytes = await archive(
      {
        t: ["'<i8'", 2, BigInt64Array.of(1_000n, 2_500n)],
        x: ["'<i4'", 2, Int32Array.of(30, 127)],
        y: ["'<i4'", 2, Int32Array.of(100, 59)],
        p: ["'|b1'", 2, Uint8Array.of(0, 1)],
      },
      compress,
    );
    const { rows: read, report } = await decodeBytes(npz, bytes);
    expect(read).toEqual(rows);
    expect(report.damageCount).toBe(0);
  });

  it('reads one structured array, and columns in other names and units', async () => {
    const record = Buffer.alloc(2 * 13);
    rows.forEach(([tUs, x, y, p], i) => {
      record.writeBigInt64LE(BigInt(tUs), 13 * i);
      record.writeUInt16LE(x, 13 * i + 8);
      record.writeUInt16LE(y, 13 * i + 10);
      record[13 * i + 12] = p;
    });
    const descr = `[('t', '<i8'), ('x', '<u2'), ('y', '<u2'), ('p', '|u1')]`;
    const table = await archive({ arr_0: [descr, 2, record] });
    expect((await decodeBytes(npz, table)).rows).toEqual(rows);

    const columns = await archive({
      when: ["'<f8'", 2, Float64Array.of(1, 2.5)],
      x: ["'<u2'", 2, Uint16Array.of(30, 127)],
      y: ["'<u2'", 2, Uint16Array.of(100, 59)],
      polarity: ["'|i1'", 2, Int8Array.of(-1, 1)],
    });
    const report = createReport();
    const layout = { columns: { t: 'when' }, usPerUnit: 1e3 };
    const options = { file: 'read', report, layout };
    const batches = await collect(npz.decode(streamOf([columns]), options));
    expect(rowsOf(concatBatches(batches))).toEqual(rows);
  });

  it('reports arrays of different lengths, and names what is there where columns are missing', async () => {
    const arrays = {
      t: ["'<i8'", 2, BigInt64Array.of(1_000n, 2_500n)],
      x: ["'<u2'", 1, Uint16Array.of(30)],
      y: ["'<u2'", 2, Uint16Array.of(100, 59)],
      p: ["'|u1'", 2, Uint8Array.of(0, 1)],
    } as const;
    const { rows: read, report } = await decodeBytes(npz, await archive(arrays));
    expect(read).toEqual(rows.slice(0, 1));
    expect(report.damages[0].message).toMatch(/t 2, x 1, y 2, p 2/);
    const { t, x } = arrays;
    const some = await archive({ t, x });
    await expect(decodeBytes(npz, some)).rejects.toThrow(/expected arrays t, x, y, p .*"t", "x"/);
  });

  it('reports an array whose bytes end early', async () => {
    const bytes = await archive({
      t: ["'<i8'", 3, BigInt64Array.of(1_000n, 2_500n)],
      x: ["'<u2'", 3, Uint16Array.of(30, 127, 1)],
      y: ["'<u2'", 3, Uint16Array.of(100, 59, 1)],
      p: ["'|u1'", 3, Uint8Array.of(0, 1, 1)],
    });
    const { rows: read, report } = await decodeBytes(npz, bytes);
    expect(read).toEqual(rows);
    expect(report.damages[0].message).toMatch(/2 of the 3 events/);
  });
});

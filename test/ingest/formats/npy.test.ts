import { describe, expect, it } from 'vitest';
import { npy } from '../../../ingest/formats/npy.js';
import { describeFormat } from '../formatConformance.js';
import { chunksOf, decodeBytes, encodeRows, type EventRow } from '../streams.js';

const epochUs = 1_744_227_144_732_712;
const hd = { width: 1280, height: 720 };

describeFormat(npy, {
  sensor: hd,
  firstUs: [-epochUs, epochUs],
  stepUs: [-(2 ** 40), 2 ** 40],
  lowestUs: -epochUs,
  headerLength: 128,
});

function file(descr: string, shape: string, data: Uint8Array, version = 1): Uint8Array {
  const text = `{'descr': ${descr}, 'fortran_order': False, 'shape': ${shape}, }\n`;
  const head = Buffer.alloc(version === 1 ? 10 : 12);
  head.write('\x93NUMPY', 'latin1');
  head[6] = version;
  if (version === 1) head.writeUInt16LE(text.length, 8);
  else head.writeUInt32LE(text.length, 8);
  return Buffer.concat([head, Buffer.from(text), data]);
}

const expected: EventRow[] = [
  [1000, 30, 134, 0],
  [2500, 158, 59, 1],
];

describe('npy', () => {
  it.each([1, 2, 3])('reads fields in any order, type and byte order (version %i)', async (v) => {
    const data = Buffer.alloc(2 * 21);
    expected.forEach(([tUs, x, y, p], i) => {
      data.writeInt8(p === 1 ? 1 : -1, 21 * i);
      data.writeFloatBE(x, 21 * i + 4);
      data.writeInt32LE(y, 21 * i + 8);
      data.writeDoubleLE(tUs / 1e6, 21 * i + 13);
    });
    const descr = `[('pol', '|i1'), ('', '|V3'), ("x", '>f4'), ('y', '<i4'), ('z', '|u1'), ('timestamp', '<f8')]`;
    const { rows, report } = await decodeBytes(npy, file(descr, '(2,)', data, v));
    expect(rows).toEqual(expected);
    expect(report.damageCount).toBe(0);
  });

  it('reads big-endian 64-bit times, booleans and units in names', async () => {
    const data = Buffer.alloc(13);
    data.writeBigInt64BE(-(2n ** 40n) - 1n, 0);
    data.writeUInt16BE(300, 8);
    data.writeUInt16LE(7, 10);
    data[12] = 1;
    const descr = `[('t_ms', '>i8'), ('x', '>u2'), ('y', '<u2'), ('p', '|b1')]`;
    const { rows } = await decodeBytes(npy, file(descr, '(1,)', data));
    expect(rows).toEqual([[-1000 * (2 ** 40 + 1), 300, 7, 1]]);
  });

  it('reads plain arrays of shape [N, 4], with seconds in floats and µs in integers', async () => {
    const floats = Float64Array.from(expected.flatMap(([t, x, y, p]) => [t / 1e6, x, y, p]));
    const integers = Uint32Array.from(expected.flat());
    for (const [descr, data] of [
      [`'<f8'`, floats],
      [`'<u4'`, integers],
    ] as const) {
      const { rows } = await decodeBytes(npy, file(descr, '(2, 4)', new Uint8Array(data.buffer)));
      expect(rows).toEqual(expected);
    }
  });

  it('tells the columns of plain arrays by their values, as THU-EACT-50 has them', async () => {
    const expected = Array.from({ length: 3_000 }, (_, i): EventRow => [
      5_000_000 + 30 * i,
      (i * 7) % 346,
      (i * 5) % 260,
      i & 1,
    ]);
    const data = Float64Array.from(
      expected.flatMap(([tUs, x, y, p]) => [x, y, tUs / 1e6, 2 * p - 1]),
    );
    const bytes = file(`'<f8'`, '(3000, 4)', new Uint8Array(data.buffer));
    for (const lengths of [[bytes.length], [1_000], [17, 1, 4_000]]) {
      expect((await decodeBytes(npy, chunksOf(bytes, lengths))).rows).toEqual(expected);
    }
  });

  it('reports records that are no event, and bytes missing or left over', async () => {
    const data = Float64Array.of(NaN, 1, 2, 1, 1, 1.5, 2, 1, 1, 1, 2, 7, 1, 1, 2, 1, 1, -1, 2, 1);
    const bytes = file(`'<f8'`, '(5, 4)', new Uint8Array(data.buffer));
    const start = bytes.length - data.byteLength;
    const { rows, report } = await decodeBytes(npy, bytes);
    expect(rows).toEqual([[1e6, 1, 2, 1]]);
    expect(report.damages.map(({ offset }) => offset - start)).toEqual([0, 32, 64]);
    expect(report.skipped).toEqual({ outsideSensor: 1 });

    const longer = await decodeBytes(npy, Buffer.concat([bytes, Buffer.alloc(3)]));
    expect(longer.report.damages[3]).toMatchObject({ offset: bytes.length });
    const shorter = await decodeBytes(npy, bytes.slice(0, bytes.length - 40));
    expect(shorter.report.damages.at(-1)?.message).toMatch(/3 of the 5 events/);
  });

  it.each([
    [`[('a', '<i8'), ('x', '<u2')]`, '(1,)', /fields t, x, y, p .*"a", "x"/],
    [`'<f8'`, '(4,)', /shape \[4\]/],
    [`'<c16'`, '(2, 4)', /shape/],
    [`'|O'`, '(2, 4)', /plain type such as/],
    [`[('t', `, '(1,)', /header/],
    [`'<f8'`, '(-1, 4)', /sizes as "shape"/],
  ])('says what is wrong with %s %s', async (descr, shape, message) => {
    await expect(decodeBytes(npy, file(descr, shape, new Uint8Array(8)))).rejects.toThrow(message);
  });

  it('refuses column-major arrays', async () => {
    const bytes = Buffer.from(file(`'<f8'`, '(2, 4)', new Uint8Array(64)));
    const text = bytes.toString('latin1').replace('False', ' True');
    await expect(decodeBytes(npy, Buffer.from(text, 'latin1'))).rejects.toThrow(/row-major/);
  });

  it('writes an aligned header with the count in front, also for what exceeds the memory', async () => {
    const rows = Array.from({ length: 400_000 }, (_, i): EventRow => [i, i % 1280, i % 720, i & 1]);
    const bytes = await encodeRows(npy, hd, rows, 65_536);
    const headerLength = 10 + bytes[8] + 256 * bytes[9];
    expect(headerLength % 64).toBe(0);
    expect(bytes.length).toBe(headerLength + 13 * rows.length);
    const decoded = await decodeBytes(npy, bytes);
    expect(decoded.rows.length).toBe(rows.length);
    expect(decoded.rows[399_999]).toEqual(rows[399_999]);
  });
});

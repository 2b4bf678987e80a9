import { describe, expect, it } from 'vitest';
import { eventStream } from '../../../ingest/formats/eventStream.js';
import { describeFormat } from '../formatConformance.js';
import { decodeBytes, encodeRows } from '../streams.js';

const vga = { width: 640, height: 480 };

describeFormat(eventStream, {
  sensor: vga,
  firstUs: [0, 1_000_000],
  stepUs: [0, 1_000_000],
  lowestUs: 0,
  headerLength: 20,
});

function file(version: readonly number[], type: number, data: readonly number[]): Uint8Array {
  const head = new TextEncoder().encode('Event Stream');
  return Uint8Array.from([...head, ...version, type, 0x80, 2, 0xe0, 1, ...data]);
}

describe('es', () => {
  it('reads DVS events, overflows and resets', async () => {
    const data = [(9 << 1) | 1, 1, 2, 3, 0, 0xff, 0xfe, 0xff, 126 << 1, 0, 0, 0xdf, 1];
    const { rows, batches, report } = await decodeBytes(eventStream, file([2, 0, 0], 1, data));
    expect(rows).toEqual([
      [9, 513, 3, 1],
      [9 + 2 * 127 + 126, 0, 479, 0],
    ]);
    expect(batches[0].sensor).toEqual(vga);
    expect(report.skipped).toEqual({ reset: 1 });
  });

  it('reads the change events of ATIS streams, and counts threshold crossings', async () => {
    const data = [(62 << 2) | 2, 1, 0, 2, 0, 0xff, 0xfc, (5 << 2) | 1, 1, 0, 2, 0, 4, 3, 0, 4, 0];
    const { rows, report } = await decodeBytes(eventStream, file([2, 3, 1], 2, data));
    expect(rows).toEqual([
      [62, 1, 2, 1],
      [62 + 3 * 63 + 5 + 1, 3, 4, 0],
    ]);
    expect(report.skipped).toEqual({ reset: 1, thresholdCrossing: 1 });
  });

  it('says what it cannot read', async () => {
    await expect(decodeBytes(eventStream, file([2, 0, 0], 4, []))).rejects.toThrow(/4 \(color\)/);
    await expect(decodeBytes(eventStream, file([2, 0, 0], 0, []))).rejects.toThrow(/0 \(generic\)/);
    await expect(decodeBytes(eventStream, file([1, 0, 0], 1, []))).rejects.toThrow(
      /version 1\.0\.0/,
    );
    const cut = file([2, 0, 0], 1, []).slice(0, 17);
    await expect(decodeBytes(eventStream, cut)).rejects.toThrow(/header ends early/);
  });

  it('refuses times that go back or lie too far ahead', async () => {
    const back = encodeRows(eventStream, vga, [
      [9, 0, 0, 1],
      [8, 1, 1, 1],
    ]);
    await expect(back).rejects.toThrow(/event 1 \(t 8 µs.*cannot go back/);
    const far = encodeRows(eventStream, vga, [[1e15, 0, 0, 1]]);
    await expect(far).rejects.toThrow(/shift the times/);
  });
});

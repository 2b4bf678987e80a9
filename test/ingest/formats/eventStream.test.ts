import { describe, expect, it } from 'vitest';
import { eventStream } from '../../../ingest/formats/eventStream.js';
import { describeFormat, withVariant } from '../formatConformance.js';
import { chunksOf, decodeBytes, encodeRows } from '../streams.js';

const vga = { width: 640, height: 480 };

describeFormat(eventStream, {
  sensor: vga,
  firstUs: [0, 1_000_000],
  stepUs: [0, 1_000_000],
  lowestUs: 0,
  headerLength: 20,
});

const atis = withVariant(eventStream, 'atis');
describeFormat(
  atis,
  {
    sensor: vga,
    firstUs: [0, 1_000_000],
    stepUs: [0, 1_000_000],
    lowestUs: 0,
    headerLength: 20,
  },
  'as ATIS',
);

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

  it('writes ATIS events, with overflows of 63 µs in threes', async () => {
    const bytes = await encodeRows(atis, vga, [
      [62, 1, 2, 1],
      [62 + 5 * 63 + 1, 513, 4, 0],
    ]);
    const data = [(62 << 2) | 2, 1, 0, 2, 0, 0xff, 0xfe, 1 << 2, 1, 2, 4, 0];
    expect([...bytes]).toEqual([...file([2, 0, 0], 2, data)]);
  });

  it('passes over colour events and counts them', async () => {
    const color = [253, 1, 0, 2, 0, 9, 9, 9];
    const bytes = file([2, 0, 0], 4, [...color, 0xff, 0xfe, ...color]);
    for (const chunks of [bytes, chunksOf(bytes, [1])]) {
      const { rows, report } = await decodeBytes(eventStream, chunks);
      expect(rows).toEqual([]);
      expect(report).toEqual({ damages: [], damageCount: 0, skipped: { color: 2 } });
    }
    const cut = await decodeBytes(eventStream, bytes.slice(0, -1));
    expect(cut.report).toMatchObject({ damageCount: 1, skipped: { color: 1 } });
  });

  it('passes over generic events of any length and counts them', async () => {
    const data = new Uint8Array(200);
    const short = [4, 2 << 1, 7, 7];
    const long = [4, ((200 % 128) << 1) | 1, 1 << 1, ...data];
    const whole = file([2, 0, 0], 0, [...short, 0xff, 0xfe, ...long]);
    const bytes = Uint8Array.from([...whole.slice(0, 16), ...whole.slice(20)]);
    for (const chunks of [bytes, chunksOf(bytes, [1])]) {
      const { rows, report } = await decodeBytes(eventStream, chunks);
      expect(rows).toEqual([]);
      expect(report).toEqual({ damages: [], damageCount: 0, skipped: { generic: 2 } });
    }
    const cut = await decodeBytes(eventStream, bytes.slice(0, -5));
    expect(cut.report.damages).toEqual([
      { offset: bytes.length - 5, message: expect.stringMatching(/5 bytes of it are missing/) },
    ]);
    const endless = Uint8Array.from([...bytes.slice(0, 16), 4, 1, 1, 1, 1, 1, ...short]);
    const { report } = await decodeBytes(eventStream, endless);
    expect(report).toMatchObject({ damages: [{ offset: 16 }], skipped: { generic: 1 } });
  });

  it('says what it cannot read', async () => {
    await expect(decodeBytes(eventStream, file([2, 0, 0], 3, []))).rejects.toThrow(/type 3/);
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

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SaccadeError } from '../../engine/support/errors.js';
import type { SensorSize } from '../../ingest/eventBatch.js';
import { createReport, type EventFormat } from '../../ingest/format.js';
import { detectFormat } from '../../ingest/formats/index.js';
import { type Decode, makeTimeIndex } from '../../ingest/timeIndex.js';
import {
  batchOf,
  chunksOf,
  collect,
  decodeBytes,
  encodeRows,
  type EventRow,
  rowsOf,
  sourceOf,
  streamOf,
} from './streams.js';

/** What a format can hold, for the generated events. */
export interface FormatRange {
  readonly sensor: SensorSize;
  /** Range of the first time, µs. */
  readonly firstUs: readonly [number, number];
  /** Range of the steps between times, µs. */
  readonly stepUs: readonly [number, number];
  /** Lowest time, µs. */
  readonly lowestUs: number;
  /** Bytes of the header of an encoded recording; 0 where there is none. */
  readonly headerLength: number;
  /** Whether damage or a cut behind the header may leave nothing to read, which is an error then. */
  readonly mayRefuse?: boolean;
  /** Whether files hold the time of writing, so that they differ. */
  readonly notesTime?: boolean;
  /** Share of the usual number of draws, for a format whose every file is dear; 1 by default. */
  readonly share?: number;
}

function eventRows(range: FormatRange, maxLength = 60): fc.Arbitrary<EventRow[]> {
  const { sensor, firstUs, stepUs, lowestUs } = range;
  const event = fc.record({
    // Mostly small steps, as in recordings, and some from the whole range.
    step: fc.oneof(
      { weight: 4, arbitrary: fc.integer({ min: Math.max(stepUs[0], -50), max: 300 }) },
      { weight: 1, arbitrary: fc.integer({ min: stepUs[0], max: stepUs[1] }) },
    ),
    x: fc.integer({ min: 0, max: sensor.width - 1 }),
    y: fc.integer({ min: 0, max: sensor.height - 1 }),
    polarity: fc.integer({ min: 0, max: 1 }),
  });
  const first = fc.integer({ min: firstUs[0], max: firstUs[1] });
  return fc.tuple(first, fc.array(event, { maxLength })).map(([firstTime, events]) => {
    let tUs = firstTime;
    return events.map(({ step, x, y, polarity }, i): EventRow => {
      if (i > 0) tUs = Math.max(lowestUs, tUs + step);
      return [tUs, x, y, polarity];
    });
  });
}

/** The format as it writes a variant, and as others that read it name it. */
export function withVariant(
  format: EventFormat,
  variant: string,
  readBy: EventFormat = format,
): EventFormat {
  return {
    ...readBy,
    encode: (batches, options) => format.encode(batches, { ...options, variant }),
  };
}

/** What every format must do. */
export function describeFormat(format: EventFormat, range: FormatRange, variant = ''): void {
  const { sensor, headerLength } = range;
  const rows = eventRows(range);
  const someRows = rows.filter((list) => list.length > 0);
  const draws = (usual: number): { numRuns: number } => ({
    numRuns: Math.ceil(usual * (range.share ?? 1)),
  });
  const refusal = (error: unknown): undefined => {
    if (range.mayRefuse !== true) throw error;
    expect(error).toMatchObject({ kind: 'input' });
  };

  describe(`${format.name} conforms ${variant}`.trimEnd(), () => {
    it('reads back what it wrote', async () => {
      await fc.assert(
        fc.asyncProperty(rows, async (list) => {
          const decoded = await decodeBytes(format, await encodeRows(format, sensor, list), {
            sensor,
          });
          expect(decoded.rows).toEqual(list);
          expect(decoded.report).toEqual({ damages: [], damageCount: 0, skipped: {} });
        }),
        draws(150),
      );
    });

    it('gives the same events however the bytes are cut', async () => {
      const lengths = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 5 });
      await fc.assert(
        fc.asyncProperty(rows, lengths, fc.nat(9), async (list, cut, extra) => {
          const bytes = await encodeRows(format, sensor, list);
          for (const chunks of [chunksOf(bytes, [1]), chunksOf(bytes, cut)]) {
            const decoded = await decodeBytes(format, chunks, { sensor, batchLength: 1 + extra });
            expect(decoded.rows).toEqual(list);
            const batchLengths = decoded.batches.map((batch) => batch.length);
            expect(batchLengths.slice(0, -1).every((n) => n === 1 + extra)).toBe(true);
          }
        }),
        draws(30),
      );
    });

    it.skipIf(range.notesTime)('gives the same bytes however the events are cut', async () => {
      await fc.assert(
        fc.asyncProperty(rows, fc.integer({ min: 1, max: 60 }), async (list, batchLength) => {
          const bytes = await encodeRows(format, sensor, list);
          expect(await encodeRows(format, sensor, list, batchLength)).toEqual(bytes);
        }),
        draws(20),
      );
    });

    it('of a cut file, reads the events before the cut and reports the rest', async () => {
      await fc.assert(
        fc.asyncProperty(someRows, fc.double({ min: 0, max: 1, noNaN: true }), async (list, at) => {
          const bytes = await encodeRows(format, sensor, list);
          const length = Math.max(1, headerLength) + Math.floor(at * (bytes.length - headerLength));
          const cut = bytes.slice(0, length);
          const decoded = await decodeBytes(format, cut, { sensor }).catch(refusal);
          if (decoded === undefined) return;
          const { rows: read, report } = decoded;
          expect(read).toEqual(list.slice(0, read.length));
          for (const { offset } of report.damages) expect(offset).toBeLessThanOrEqual(length);
          if (length >= bytes.length) expect(read.length).toBe(list.length);
        }),
        draws(150),
      );
    });

    it('the same wherever a short recording is cut', async () => {
      const list = Array.from({ length: 9 }, (_, i): EventRow => [100 + 7 * i, i, 9 - i, i & 1]);
      const bytes = await encodeRows(format, sensor, list);
      // Containers have parts of thousands of bytes: of those, some places.
      const step = bytes.length - headerLength <= 500 ? 1 : (bytes.length - headerLength) / 100;
      let before = 0;
      for (let at = Math.max(1, headerLength); at <= bytes.length; at += step) {
        const length = Math.floor(at);
        const decoded = await decodeBytes(format, bytes.slice(0, length), { sensor }).catch(
          refusal,
        );
        const { rows: read, report } = decoded ?? { rows: [], report: createReport() };
        expect(read).toEqual(list.slice(0, read.length));
        for (const { offset } of report.damages) expect(offset).toBeLessThanOrEqual(length);
        // More bytes never give fewer events; what HDF5 still reads of a cut file is its own affair.
        if (range.mayRefuse !== true) expect(read.length).toBeGreaterThanOrEqual(before);
        before = read.length;
      }
      expect((await decodeBytes(format, bytes, { sensor })).rows).toEqual(list);
    });

    it('survives flipped bits and garbage behind its header', async () => {
      const flips = fc.array(fc.nat(), { minLength: 1, maxLength: 20 });
      await fc.assert(
        fc.asyncProperty(
          someRows,
          flips,
          fc.uint8Array({ maxLength: 200 }),
          async (list, places, garbage) => {
            const bytes = Buffer.concat([await encodeRows(format, sensor, list), garbage]);
            for (const place of places) {
              const bit = place % (8 * (bytes.length - headerLength));
              bytes[headerLength + (bit >> 3)] ^= 1 << (bit & 7);
            }
            const decoded = await decodeBytes(format, bytes, { sensor }).catch(refusal);
            // A flipped bit may lie in the size that a message states, which then counts.
            const { width, height } = decoded?.batches[0]?.sensor ?? sensor;
            for (const [tUs, x, y, polarity] of decoded?.rows ?? []) {
              expect(Number.isSafeInteger(tUs)).toBe(true);
              expect(x < width && y < height && polarity <= 1).toBe(true);
            }
          },
        ),
        draws(150),
      );
    });

    it('may use its memory again', async () => {
      await fc.assert(
        fc.asyncProperty(rows, fc.integer({ min: 1, max: 9 }), async (list, batchLength) => {
          const chunks: Uint8Array[] = [];
          const batch = batchOf(sensor, list);
          const encoding = { file: 'written', sensor, reuse: true };
          for await (const chunk of format.encode(streamOf([batch]), encoding)) {
            chunks.push(Uint8Array.from(chunk));
          }
          const read: EventRow[] = [];
          const decoding = {
            file: 'read',
            sensor,
            report: createReport(),
            batchLength,
            reuse: true,
          };
          for await (const part of format.decode(streamOf(chunks), decoding)) {
            read.push(...rowsOf(part));
          }
          expect(read).toEqual(list);
        }),
        draws(20),
      );
    });

    it('gives the same slices of the time with an index', async ({ skip }) => {
      const time = fc.double({ min: -0.1, max: 1.1, noNaN: true });
      await fc.assert(
        fc.asyncProperty(someRows, time, time, fc.nat(8), async (list, from, to, extra) => {
          const bytes = await encodeRows(format, sensor, list);
          const decode: Decode = (options) =>
            format.decode(sourceOf(bytes, 11), { ...options, file: 'read' });
          const index = await makeTimeIndex(decode, sensor, { blockLength: 1 + extra });
          if (index === undefined) return skip('its decoder cannot go on in the middle');
          const times = list.map(([tUs]) => tUs);
          const [firstUs, lastUs] = [Math.min(...times), Math.max(...times)];
          const at = (part: number): number => Math.round(firstUs + part * (lastUs - firstUs));
          const [fromUs, toUs] = [at(from), at(to)];
          const report = createReport();
          const options = { sensor, report, batchLength: 7 };
          const read = await collect(index.read(decode, fromUs, toUs, options));
          const inside = ([tUs]: EventRow): boolean => tUs >= fromUs && tUs < toUs;
          expect(read.flatMap(rowsOf).filter(inside)).toEqual(list.filter(inside));
          expect(report.damages).toEqual([]);
        }),
        draws(100),
      );
    });

    it('answers any bytes with events or an input error', async () => {
      const start = await encodeRows(format, sensor, [[10, 1, 2, 1]]);
      const damagedStart = fc
        .tuple(fc.nat(start.length - 1), fc.nat(255))
        .map(([place, byte]) => start.map((old, i) => (i === place ? byte : old)));
      const any = fc.oneof(fc.uint8Array({ minLength: 1, maxLength: 300 }), damagedStart);
      await fc.assert(
        fc.asyncProperty(any, async (bytes) => {
          try {
            await decodeBytes(format, bytes, { sensor });
          } catch (error) {
            expect(error).toBeInstanceOf(SaccadeError);
            expect((error as SaccadeError).kind).toBe('input');
          }
          format.detect({ head: bytes });
          format.sensorOf?.(bytes);
        }),
        draws(300),
      );
    });

    it('names the file where the input is empty', async () => {
      const error: unknown = await decodeBytes(format, []).catch((thrown: unknown) => thrown);
      expect(error).toMatchObject({ kind: 'input', place: { file: 'read' } });
    });

    it.skipIf(headerLength === 0)('refuses a file of another kind', async () => {
      const other = new TextEncoder().encode('%PDF-1.7 nothing of events in here\nno, nothing\n');
      const error: unknown = await decodeBytes(format, other).catch((thrown: unknown) => thrown);
      expect(error).toMatchObject({ kind: 'input', place: { file: 'read' } });
      expect((error as Error).message).toMatch(/expected/);
      expect(format.detect({ head: other })).toBe(0);
    });

    it('holds a recording without events', async () => {
      const bytes = await encodeRows(format, sensor, []);
      expect(bytes.length).toBeGreaterThan(0);
      const { batches, report } = await decodeBytes(format, bytes, { sensor });
      expect(batches).toEqual([]);
      expect(report.damageCount).toBe(0);
    });

    it('is told from the content, whatever the extension', async () => {
      await fc.assert(
        fc.asyncProperty(someRows, async (list) => {
          const sorted = [...list].sort((a, b) => a[0] - b[0]);
          const head = await encodeRows(format, sensor, sorted);
          for (const extension of ['', 'dat', format.extensions[0]]) {
            const found = detectFormat({ head, fileSize: head.length, extension });
            expect(found.name).toBe(format.name);
          }
        }),
        draws(30),
      );
    });

    it('skips events outside a smaller sensor, and counts them', async () => {
      const bytes = await encodeRows(format, sensor, [
        [5, 1, 2, 1],
        [6, sensor.width - 1, 2, 0],
        [7, 2, 1, 0],
      ]);
      if (format.holdsSensorSize) return; // the file's own size wins
      const small = { width: 4, height: 4 };
      const { rows: read, report } = await decodeBytes(format, bytes, { sensor: small });
      expect(read.map((row) => row[0])).toEqual([5, 7]);
      expect(report.skipped).toEqual({ outsideSensor: 1 });
    });

    it('does not write events outside the sensor, and names the first', async () => {
      const small = { width: 4, height: 4 };
      const written = encodeRows(format, small, [
        [5, 1, 2, 1],
        [6, 4, 2, 0],
      ]);
      await expect(written).rejects.toThrow(/event 1 \(t 6 µs, x 4, y 2\).*outside/);
    });

    it('stops when asked to', async () => {
      const bytes = await encodeRows(format, sensor, [[5, 1, 2, 1]]);
      const controller = new AbortController();
      let closed = false;
      const stalled = async function* (): AsyncGenerator<Uint8Array> {
        try {
          yield bytes.slice(0, bytes.length - 1);
          setTimeout(() => controller.abort(), 1);
          await new Promise((resolve) => setTimeout(resolve, 20));
          yield bytes.slice(bytes.length - 1);
        } finally {
          closed = true;
        }
      };
      const report = { damages: [], damageCount: 0, skipped: {} };
      const { signal } = controller;
      const options = { file: 'read', sensor, report, signal };
      const iterator = format.decode(stalled(), options)[Symbol.asyncIterator]();
      await expect(iterator.next()).rejects.toMatchObject({ kind: 'interrupted' });
      await new Promise((resolve) => setTimeout(resolve, 40));
      expect(closed).toBe(true);
    });
  });
}

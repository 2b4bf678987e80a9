import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CompiledLoop, type CompiledLoopName } from '../../ingest/compiledLoop.js';
import { createReport, type DecodeMark, type DecodeOptions } from '../../ingest/format.js';
import { formatByName } from '../../ingest/formats/index.js';
import {
  batchOf,
  chunksOf,
  collect,
  encodeRows,
  type EventRow,
  rowsOf,
  streamOf,
} from './streams.js';

const sensor = { width: 300, height: 200 };
const rows: EventRow[] = Array.from({ length: 80 }, (_, i) => [
  5000 * i + 300 - (i % 7) * 30,
  (11 * i) % 128,
  (3 * i) % 128,
  i & 1,
]);
const textLines = (...lines: string[]): Uint8Array =>
  new TextEncoder().encode(lines.join('\n') + '\n');
const rawHeader = (version: string): Uint8Array =>
  textLines(`% evt ${version}`, '% geometry 300x200', '% end');

/** Words that are mostly of the given upper bits, so that runs of plain ones are long. */
function someWords(
  bytes: number,
  tops: readonly number[],
  topShift: number,
): fc.Arbitrary<Uint8Array> {
  const word = fc.tuple(
    fc.constantFrom(...tops),
    fc.uint8Array({ minLength: bytes, maxLength: bytes }),
  );
  return fc.array(word, { maxLength: 300 }).map((list) =>
    Buffer.concat(
      list.map(([top, low]) => {
        low[bytes - 1] = (top << topShift) | (low[bytes - 1] & ((1 << topShift) - 1));
        return low;
      }),
    ),
  );
}

interface Case {
  readonly title: string;
  readonly format: string;
  readonly loop: CompiledLoopName;
  readonly head: Uint8Array;
  readonly body: fc.Arbitrary<Uint8Array>;
  readonly sensor?: { width: number; height: number };
}

const anyBytes = fc.uint8Array({ maxLength: 1_000 });
/** Both signs of times and addresses, whatever their order of bytes. */
const records = fc
  .array(
    fc.tuple(
      fc.integer({ min: 0, max: 2 ** 18 }),
      fc.constantFrom(0, 1, 2 ** 20, 2 ** 31, 2 ** 32 - 9),
    ),
    {
      maxLength: 200,
    },
  )
  .map((list) => {
    const bytes = Buffer.alloc(8 * list.length);
    list.forEach(([address, time], i) => {
      bytes.writeUInt32BE(address, 8 * i);
      bytes.writeUInt32BE(time, 8 * i + 4);
    });
    return bytes;
  });
const davisLine = '# AEChip: eu.seebetter.ini.chips.davis.DAVIS240C';

const cases: readonly Case[] = [
  {
    title: 'EVT 2.0',
    format: 'evt2',
    loop: 'decodeEvt2',
    head: rawHeader('2.0'),
    body: fc.oneof(
      anyBytes,
      someWords(4, [0, 0, 0, 1, 1, 1, 8, 8, 10, 13, 14, 15], 4),
      someWords(4, [0, 1, 8, 3], 4),
    ),
  },
  {
    title: 'EVT 3.0',
    format: 'evt3',
    loop: 'decodeEvt3',
    head: rawHeader('3.0'),
    body: fc.oneof(
      anyBytes,
      someWords(2, [0, 2, 2, 3, 4, 5, 6, 8], 4),
      someWords(2, [0, 2, 3, 4, 5, 6, 8, 7, 10, 1], 4),
    ),
  },
  {
    title: 'DAT 1',
    format: 'dat',
    loop: 'decodeDat',
    head: Buffer.concat([textLines('% Version 1'), Buffer.from([0, 8])]),
    body: fc.oneof(anyBytes, records),
  },
  {
    title: 'DAT 2',
    format: 'dat',
    loop: 'decodeDat',
    head: Buffer.concat([
      textLines('% Version 2', '% Width 300', '% Height 200'),
      Buffer.from([0, 8]),
    ]),
    body: fc.oneof(anyBytes, records),
  },
  {
    title: 'AEDAT 2.0 of a DVS128',
    format: 'aedat2',
    loop: 'decodeAedat2',
    head: textLines('#!AER-DAT2.0'),
    body: fc.oneof(anyBytes, records),
    sensor: { width: 100, height: 100 },
  },
  {
    title: 'AEDAT 2.0 of a DAVIS',
    format: 'aedat2',
    loop: 'decodeAedat2',
    head: textLines('#!AER-DAT2.0', davisLine),
    body: fc.oneof(anyBytes, records),
  },
  {
    title: 'AEDAT 4.0',
    format: 'aedat4',
    loop: 'decodeAedat4',
    head: new Uint8Array(0),
    body: anyBytes,
  },
];

const compiledHere = CompiledLoop.of('decodeEvt2', 0) !== undefined;

describe.skipIf(!compiledHere)('compiled loops give what the decoders’ own loops give', () => {
  it.each(cases)('$title', async ({ format: name, head, body, sensor: stated, loop }) => {
    expect(CompiledLoop.of(loop, 0)).toBeDefined();
    const format = formatByName(name);
    const written = await encodeRows(format, sensor, rows);
    const damaged = fc
      .array(fc.tuple(fc.nat(written.length - 1), fc.nat(255)), { maxLength: 6 })
      .map((places) => {
        const bytes = Uint8Array.from(written);
        // The header stays whole.
        for (const [place, byte] of places) if (place > written.length / 2) bytes[place] = byte;
        return bytes;
      });
    const recording = fc.oneof(
      damaged,
      head.length > 0 ? body.map((bytes) => Buffer.concat([head, bytes])) : damaged,
    );
    const cuts = fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1, maxLength: 4 });
    await fc.assert(
      fc.asyncProperty(
        recording,
        fc.oneof(cuts, fc.constant([65_536])),
        fc.oneof(fc.integer({ min: 1, max: 200 }), fc.integer({ min: 1, max: 2_000 })),
        async (bytes, cut, batchLength) => {
          const read = async (compiled: boolean): Promise<unknown> => {
            const report = createReport();
            const marks: DecodeMark[] = [];
            const options: DecodeOptions = {
              file: 'read',
              sensor: stated,
              report,
              batchLength,
              compiled,
              onMark: (mark) => marks.push(mark),
            };
            const batches = await collect(format.decode(streamOf(chunksOf(bytes, cut)), options));
            return { batches: batches.map(rowsOf), report, marks };
          };
          expect(await read(true)).toEqual(await read(false));
        },
      ),
      { numRuns: 1_000 },
    );
  });

  it('EVT 3.0, written', async () => {
    const wide = { width: 2_048, height: 2_048 };
    const row = fc.record({
      step: fc.oneof(
        { weight: 6, arbitrary: fc.constantFrom(0, 0, 0, 1) },
        { weight: 1, arbitrary: fc.integer({ min: -5_000, max: 5_000 }) },
      ),
      x: fc.oneof(fc.integer({ min: 40, max: 56 }), fc.nat(2_047)),
      y: fc.oneof(fc.constantFrom(7, 7, 7, 8), fc.nat(2_047)),
      // Whatever is not zero is ON.
      polarity: fc.constantFrom(1, 1, 1, 0, 7),
    });
    const lists = fc.array(row, { maxLength: 400 }).map((list) => {
      let tUs = 20_000;
      return list.map(({ step, x, y, polarity }): EventRow => {
        tUs = Math.max(0, tUs + step);
        return [tUs, x, y, polarity];
      });
    });
    await fc.assert(
      fc.asyncProperty(lists, fc.integer({ min: 1, max: 500 }), async (list, batchLength) => {
        const write = async (compiled: boolean): Promise<Buffer> => {
          const options = { file: 'written', sensor: wide, compiled };
          const batches = [];
          for (let i = 0; i < list.length; i += batchLength) {
            batches.push(batchOf(wide, list.slice(i, i + batchLength)));
          }
          return Buffer.concat(
            await collect(formatByName('evt3').encode(streamOf(batches), options)),
          );
        };
        expect(await write(true)).toEqual(await write(false));
      }),
      { numRuns: 300 },
    );
  });

  it('CSV, written', async () => {
    const sensor = { width: 65_536, height: 65_536 };
    const coordinate = fc.nat(65_535);
    const time = fc.oneof(fc.integer({ min: -200, max: 200 }), fc.maxSafeInteger());
    const row = fc.tuple(time, coordinate, coordinate, fc.nat(1));
    await fc.assert(
      fc.asyncProperty(fc.array(row), async (list) => {
        const write = async (compiled: boolean): Promise<string> => {
          const options = { file: 'written', sensor, compiled };
          const batches = streamOf([batchOf(sensor, list)]);
          return Buffer.concat(
            await collect(formatByName('csv').encode(batches, options)),
          ).toString();
        };
        const lines = list.map((event) => event.join(',') + '\n');
        expect(await write(true)).toBe(['t,x,y,p\n', ...lines].join(''));
        expect(await write(false)).toBe(await write(true));
      }),
      { numRuns: 300 },
    );
  });
});

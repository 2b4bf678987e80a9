import { describe, expect, it } from 'vitest';
import { csv } from '../../../ingest/formats/csv.js';
import { describeFormat } from '../formatConformance.js';
import { type Decoded, decodeBytes, encodeRows, type EventRow } from '../streams.js';

const epochUs = 1_744_227_144_732_712;
const vga = { width: 640, height: 480 };

describeFormat(csv, {
  sensor: vga,
  firstUs: [-epochUs, epochUs],
  stepUs: [-(2 ** 40), 2 ** 40],
  lowestUs: -epochUs,
  headerLength: 't,x,y,p\n'.length,
});

const decodeText = (text: string): Promise<Decoded> =>
  decodeBytes(csv, new TextEncoder().encode(text), { sensor: vga });

const expected: EventRow[] = [
  [1000, 30, 134, 0],
  [2500, 158, 59, 1],
];

describe('csv', () => {
  it.each([
    ['rpg', '0.001000000 30 134 0\n0.002500000 158 59 1'],
    ['rpg with signs', '0.001 30 134 -1\n0.0025 158 59 1\n'],
    ['x y p t', '30 134 0 1000\n158 59 1 2500\n'],
    ['p x y t', 'On/Off,X,Y,Timestamp\n0,30,134,1000\n1,158,59,2500\n'],
    ['names', 'x;y;Polarity;Timestamp\r\n30;134;False;1000\r\n158;59;True;2500\r\n'],
    ['more columns', 'id,t,x,y,p,note\n1,1000,30,134,0,-\n2,2500,158,59,1,a b\n'],
    ['names in a comment', '# made by hand\n# p t y x\n0 1000 134 30\n1 2500 59 158\n'],
    ['units', 'time [ms],x,y,p\n1,30,134,0\n2.5,158,59,1\n'],
    ['units behind a dash', 't_us\tx\ty\tp\n1000.2\t30\t134\t0\n2499.8\t158\t59\t1\n'],
    ['nanoseconds', 't_ns,x,y,p\n1000000,30,134,0\n2500000,158,59,1\n'],
    ['exponents', '1.0e-03 3.0e+01 1.34e+02 0.0e+00\n2.5e-03 1.58e+02 5.9e+01 1.0e+00\n'],
    ['byte order mark', '\ufeff1000,30,134,0\n2500,158,59,1\n'],
    ['comments and blanks', '% a\n\n1000 30 134 0\n# b\n   \n 2500\t158 , 59,1  \n'],
  ])('reads %s', async (_, text) => {
    const { rows, report } = await decodeText(text);
    expect(rows).toEqual(expected);
    expect(report.damageCount).toBe(0);
    expect(csv.detect({ head: new TextEncoder().encode(text) })).toBeGreaterThan(0.5);
  });

  it('keeps µs of times in seconds since 1970', async () => {
    const { rows } = await decodeText('1589163147.368868000 1 2 1\n1589163147.368869 1 2 1\n');
    expect(rows.map((row) => row[0])).toEqual([1_589_163_147_368_868, 1_589_163_147_368_869]);
  });

  it('reports lines that are no event, with their offsets', async () => {
    const bad = ['1,2,3', '1,2,x,1', '1,-2,3,1', '1,2.5,3,1', '1,2,3,7', ',,,', '1e999,1,1,1'];
    const head = 't,x,y,p\n5,1,2,1\n';
    const { rows, report } = await decodeText(`${head}${bad.join('\n')}\n6,700,2,1\n7,1,2,0\n`);
    expect(rows).toEqual([
      [5, 1, 2, 1],
      [7, 1, 2, 0],
    ]);
    let offset = head.length;
    const offsets: number[] = [];
    for (const line of bad) {
      if (line !== ',,,') offsets.push(offset);
      offset += line.length + 1;
    }
    expect(report.damages.map((damage) => damage.offset)).toEqual(offsets);
    expect(report.skipped).toEqual({ outsideSensor: 1 });
  });

  it('passes over an endless line without keeping it', async () => {
    const { rows, report } = await decodeText(`t,x,y,p\n1,1,2,1\n${'9'.repeat(3e5)}\n2,1,2,0\n`);
    expect(rows.map((row) => row[0])).toEqual([1, 2]);
    expect(report.damages).toEqual([{ offset: 16, message: expect.stringMatching(/4096/) }]);
  });

  it('is not seen in other text', async () => {
    for (const text of ['hello, world\n', '{"t": 1}\n', '1,2\n3,4\n', 'a,b,c,d\n1,2,3,4\n', '']) {
      expect(csv.detect({ head: new TextEncoder().encode(text) })).toBe(0);
    }
    await expect(decodeText('1 2 3\n4 5 6\n')).rejects.toThrow(/cannot tell the columns, expected/);
  });

  it('writes t,x,y,p in µs', async () => {
    const bytes = await encodeRows(csv, vga, [
      [-5, 0, 10, 1],
      [epochUs, 639, 479, 0],
    ]);
    expect(new TextDecoder().decode(bytes)).toBe(
      't,x,y,p\n-5,0,10,1\n1744227144732712,639,479,0\n',
    );
  });

  it('reads the five columns of a CeleX-V, where a polarity of 0 is no event', async () => {
    const lines = ['719,1279,300,1,10', '5,6,301,0,11', '7,8,302,-1,12'];
    const { rows, report } = await decodeBytes(csv, Buffer.from(lines.join('\n')));
    expect(rows).toEqual([
      [10, 1279, 719, 1],
      [12, 8, 7, 0],
    ]);
    expect(report).toEqual({ damages: [], damageCount: 0, skipped: { noEvent: 1 } });
    expect(csv.detect({ head: Buffer.from(lines.join('\n')) })).toBeGreaterThan(0.5);
  });
});

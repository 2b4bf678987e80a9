import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SaccadeError } from '../../engine/support/errors.js';
import { type CallDefinition, parseCall, signature } from '../../preprocess/arguments.js';

type Values = Readonly<Record<string, number>>;

const blink: CallDefinition<Values> = {
  name: 'blink',
  summary: 'nothing',
  arguments: [
    { name: 'periodUs', minimum: 1, maximum: 1e6, integer: true, what: 'length, µs' },
    { name: 'share', minimum: -1, maximum: 1, default: 0.5, what: 'how much' },
  ],
  create: (values) => values,
};
const rest: CallDefinition<Values> = { ...blink, name: 'rest', arguments: [] };
const parse = (text: string) => parseCall('thing', [blink, rest], text);

function messageOf(text: string): string {
  try {
    parse(text);
  } catch (error) {
    expect(error).toBeInstanceOf(SaccadeError);
    expect((error as SaccadeError).kind).toBe('usage');
    return (error as SaccadeError).message;
  }
  throw new Error(`"${text}" was accepted`);
}

describe('parseCall', () => {
  it.each([
    ['blink:1000', { periodUs: 1000, share: 0.5 }],
    ['blink:1000,0.25', { periodUs: 1000, share: 0.25 }],
    ['blink:1000,share=-1', { periodUs: 1000, share: -1 }],
    ['blink:share=.25,periodUs=1e3', { periodUs: 1000, share: 0.25 }],
    [' blink : 7 , share = 1 ', { periodUs: 7, share: 1 }],
    ['rest', {}],
  ])('reads %s', (text, values) => {
    expect(parse(text).value).toEqual(values);
  });

  it('gives one description to calls that mean the same', () => {
    const calls = [
      'blink:10',
      'blink:10,0.5',
      'blink:share=0.50,periodUs=1e1',
      'blink:periodUs=10',
    ];
    for (const call of calls) expect(parse(call).description).toBe('blink:periodUs=10,share=0.5');
    expect(parse('blink:10,-0').description).toBe('blink:periodUs=10,share=0');
    expect(parse('rest').description).toBe('rest');
  });

  it('gives a description that means the same', () => {
    const periodUs = fc.integer({ min: 1, max: 1e6 });
    const share = fc.double({ min: -1, max: 1, noNaN: true });
    fc.assert(
      fc.property(periodUs, share, (a, b) => {
        const call = parse(`blink:${a},${b}`);
        expect(call.value.share).toBe(b + 0);
        expect(parse(call.description)).toEqual(call);
      }),
    );
  });

  it.each([
    ['blink', /thing "blink": periodUs is missing.*whole number from 1 to 1000000 \(length, µs\)/],
    ['blink:', /periodUs is "", expected a whole number/],
    ['blink:share=1', /periodUs is missing/],
    ['blink:1.5', /periodUs is "1.5", expected a whole number/],
    ['blink:0', /periodUs is "0"/],
    ['blink:1000001', /periodUs is "1000001"/],
    ['blink:Infinity', /periodUs is "Infinity"/],
    ['blink:0x10', /periodUs is "0x10"/],
    ['blink:1e999', /periodUs is "1e999"/],
    ['blink:12ms', /periodUs is "12ms"/],
    ['blink:5,2', /share is "2", expected a number from -1 to 1 \(how much\)/],
    ['blink:5,NaN', /share is "NaN"/],
    ['blink:5,1,1', /"1" is too much, expected blink:periodUs\[,share=0.5\]/],
    ['blink:5,period=1', /there is no argument "period", expected blink:periodUs/],
    ['blink:5,__proto__=1', /there is no argument "__proto__"/],
    ['blink:5,periodUs=6', /periodUs is given twice/],
    ['blink:periodUs=5,1', /"1" must have a name/],
    ['rest:1', /"1" is too much, expected rest$/],
    ['wink:1', /unknown thing "wink", known are blink:periodUs\[,share=0.5\]; rest$/],
    ['', /unknown thing ""/],
  ])('refuses "%s"', (text, message) => {
    expect(messageOf(text)).toMatch(message);
  });

  it('answers any text with a call or a usage error', () => {
    const part = fc.constantFrom(
      'blink',
      'rest',
      ':',
      ',',
      '=',
      'share',
      'periodUs',
      '1',
      '-',
      '.',
    );
    const text = fc.oneof(
      fc.string(),
      fc.array(part, { maxLength: 9 }).map((all) => all.join('')),
    );
    fc.assert(
      fc.property(text, (call) => {
        try {
          const { description, value } = parse(call);
          expect(parse(description).value).toEqual(value);
        } catch (error) {
          expect(error).toMatchObject({ kind: 'usage' });
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe('signature', () => {
  it('shows names, order and defaults', () => {
    expect(signature(blink)).toBe('blink:periodUs[,share=0.5]');
    expect(signature(rest)).toBe('rest');
  });
});

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SaccadeError } from '../../engine/support/errors.js';
import {
  decodeSafetensors,
  encodeSafetensors,
  type TensorToStore,
} from '../../models/checkpoints/safetensors.js';

/** A file made by hand: a header as given, and zeros for data. */
function fileOf(header: unknown, dataBytes: number): Uint8Array {
  const json = new TextEncoder().encode(
    typeof header === 'string' ? header : JSON.stringify(header),
  );
  const bytes = new Uint8Array(8 + json.length + dataBytes);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(json.length), true);
  bytes.set(json, 8);
  return bytes;
}

function failureOf(bytes: Uint8Array): SaccadeError {
  try {
    decodeSafetensors(bytes, 'a.safetensors');
  } catch (error) {
    if (error instanceof SaccadeError) return error;
    throw error;
  }
  throw new Error('decoded');
}

const f32 = (begin: number, end: number, shape: unknown = [(end - begin) / 4]) => ({
  dtype: 'F32',
  shape,
  data_offsets: [begin, end],
});

describe('encodeSafetensors', () => {
  it('writes the bytes that the reference writer writes', () => {
    const bytes = encodeSafetensors(
      new Map<string, TensorToStore>([
        ['w', { shape: [1, 2], data: Float32Array.of(1, -2) }],
        ['mask', { shape: [3], data: Uint8Array.of(1, 0, 255) }],
        ['0', { shape: [], data: Float64Array.of(0.5) }],
      ]),
      { step: '7' },
    );
    const header =
      '{"__metadata__":{"step":"7"},"0":{"dtype":"F64","shape":[],"data_offsets":[0,8]},' +
      '"w":{"dtype":"F32","shape":[1,2],"data_offsets":[8,16]},' +
      '"mask":{"dtype":"U8","shape":[3],"data_offsets":[16,19]}}';
    const padded = header.padEnd(Math.ceil(header.length / 8) * 8);
    expect(Buffer.from(bytes).readBigUInt64LE(0)).toBe(BigInt(padded.length));
    expect(Buffer.from(bytes.subarray(8, 8 + padded.length)).toString()).toBe(padded);
    expect(Buffer.from(bytes.subarray(8 + padded.length)).toString('hex')).toBe(
      '000000000000e03f' + '0000803f000000c0' + '0100ff',
    );
  });

  it('depends on the content alone, not on the order of the map', () => {
    const entries: [string, TensorToStore][] = [
      ['b', { shape: [1], data: Float32Array.of(1) }],
      ['a', { shape: [1], data: Float32Array.of(2) }],
      ['c', { shape: [1], data: Int32Array.of(3) }],
    ];
    const forwards = encodeSafetensors(new Map(entries), { x: '1', y: '2' });
    const backwards = encodeSafetensors(new Map(entries.reverse()), { y: '2', x: '1' });
    expect(backwards).toEqual(forwards);
  });

  it('writes the part of a buffer that a view shows', () => {
    const whole = Float32Array.of(1, 2, 3, 4);
    const bytes = encodeSafetensors(new Map([['a', { shape: [2], data: whole.subarray(1, 3) }]]));
    expect(decodeSafetensors(bytes, 'a').tensors.get('a')?.data).toEqual(Float32Array.of(2, 3));
  });

  it('refuses shapes and types that do not fit the values', () => {
    const encode = (tensor: TensorToStore, name = 'a') =>
      encodeSafetensors(new Map([[name, tensor]]));
    expect(() => encode({ shape: [3], data: new Float32Array(2) })).toThrow(/shape \[3\]/);
    expect(() => encode({ dtype: 'I32', shape: [2], data: new Float32Array(2) })).toThrow(/I32/);
    expect(() => encode({ shape: [1], data: new Float32Array(1) }, '__metadata__')).toThrow(
      RangeError,
    );
  });
});

describe('decodeSafetensors', () => {
  const tensor: fc.Arbitrary<TensorToStore> = fc
    .tuple(
      fc.constantFrom(Float32Array, Float64Array, Int32Array, Uint8Array, BigInt64Array),
      fc.array(fc.nat(4), { maxLength: 3 }),
      fc.nat(),
    )
    .map(([Values, shape, seed]) => {
      const length = shape.reduce((a, b) => a * b, 1);
      const values = Array.from({ length }, (_, i) => (seed + i * 7919) % 251);
      const data =
        Values === BigInt64Array
          ? BigInt64Array.from(values, (value) => -BigInt(value))
          : (Values as Float32ArrayConstructor).from(values);
      return { shape, data };
    });

  it('gives back what was encoded', () => {
    fc.assert(
      fc.property(
        fc.dictionary(
          fc.string().filter((name) => name !== '__metadata__'),
          tensor,
        ),
        fc.dictionary(fc.string(), fc.string()),
        (tensors, metadata) => {
          const stored = new Map(Object.entries(tensors));
          const decoded = decodeSafetensors(encodeSafetensors(stored, metadata), 'a');
          expect(decoded.metadata).toEqual({ ...metadata });
          expect([...decoded.tensors.keys()].sort()).toEqual([...stored.keys()].sort());
          for (const [name, { shape, data }] of stored) {
            expect(decoded.tensors.get(name)?.shape).toEqual(shape);
            expect(decoded.tensors.get(name)?.data).toEqual(data);
          }
        },
      ),
    );
  });

  it('reads from a view that is not aligned, into a copy', () => {
    const bytes = encodeSafetensors(new Map([['a', { shape: [2], data: Float64Array.of(1, 2) }]]));
    const shifted = new Uint8Array(bytes.length + 3);
    shifted.set(bytes, 3);
    const { tensors } = decodeSafetensors(shifted.subarray(3), 'a');
    shifted.fill(0);
    expect(tensors.get('a')?.data).toEqual(Float64Array.of(1, 2));
  });

  it('notices a file that is cut off anywhere', () => {
    const bytes = encodeSafetensors(
      new Map([
        ['a', { shape: [2], data: Float32Array.of(1, 2) }],
        ['b', { shape: [2], data: Uint8Array.of(1, 2) }],
      ]),
    );
    for (let length = 0; length < bytes.length; length++) {
      const error = failureOf(bytes.subarray(0, length));
      expect(error.kind).toBe('input');
      expect(error.place.file).toBe('a.safetensors');
    }
    expect(failureOf(bytes.subarray(0, bytes.length - 1)).message).toMatch(/tensor "b".*cut off/);
  });

  it.each([
    ['an absurd header length', new Uint8Array(64).fill(0xff), /header length/],
    ['a header that is not JSON', fileOf('{"a":', 0), /not a JSON object/],
    ['a header that is a list', fileOf('[]', 0), /not a JSON object/],
    ['an unknown type', fileOf({ a: { ...f32(0, 4), dtype: 'F16' } }, 4), /tensor "a".*"F16"/],
    ['a type of an object', fileOf({ a: { ...f32(0, 4), dtype: 'toString' } }, 4), /tensor "a"/],
    ['a tensor that is no object', fileOf({ a: 3 }, 0), /tensor "a".*expected an object/],
    ['a negative size', fileOf({ a: f32(0, 4, [-1]) }, 4), /tensor "a".*shape/],
    ['a shape of another size', fileOf({ a: f32(0, 4, [2]) }, 4), /tensor "a".*8 bytes.* 4$/],
    ['a size beyond all memory', fileOf({ a: f32(0, 4, [2 ** 52, 2 ** 52]) }, 4), /tensor "a"/],
    ['offsets that run backwards', fileOf({ a: f32(4, 0, [0]) }, 4), /tensor "a".*data_offsets/],
    ['offsets beyond the data', fileOf({ a: f32(0, 8) }, 4), /tensor "a".*end of the file/],
    ['an overlap', fileOf({ a: f32(0, 8), b: f32(4, 12) }, 12), /tensor "b".*inside another/],
    ['a hole', fileOf({ a: f32(0, 4), b: f32(8, 12) }, 12), /tensor "b".*hole/],
    ['data of no tensor', fileOf({ a: f32(0, 4) }, 12), /8 bytes after the last tensor/],
    ['metadata of numbers', fileOf({ __metadata__: { a: 1 } }, 0), /__metadata__.*strings/],
  ])('names %s', (_name, bytes, message) => {
    const error = failureOf(bytes);
    expect(error.kind).toBe('input');
    expect(error.message).toMatch(/^a\.safetensors/);
    expect(error.message).toMatch(message);
  });
});

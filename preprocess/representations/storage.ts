import { SaccadeError } from '../../engine/support/errors.js';
import type { ValueRange } from './representation.js';

/** A dense array of plain numbers, row-major. */
export interface DenseArray {
  readonly shape: readonly number[];
  readonly data: Float32Array | Uint8Array;
}

/**
 * How values are stored outside a model: `f32` as they are; `u8` in a byte each, counts up to 255 and
 * shares of one as ⌊255 v + ½⌋; `bits` eight to a byte along the last axis, the first as the highest bit,
 * rows padded with 0 (NumPy's `unpackbits(…, axis=-1, count=width)` reads them).
 */
export type StorageType = 'f32' | 'u8' | 'bits';

/** The ways in which values of a range can be stored, the usual one first. */
export function storageTypes(values: ValueRange): readonly StorageType[] {
  return {
    binary: ['u8', 'bits', 'f32'],
    count: ['f32', 'u8'],
    unit: ['f32', 'u8'],
    real: ['f32'],
  }[values] as readonly StorageType[];
}

/**
 * The array stored in one of these ways; bytes (`RepresentationRule.bytes`) as bytes or bits.
 *
 * @throws SaccadeError of kind `usage` where values of the range cannot be stored so.
 */
export function storeClip(
  { shape, data }: DenseArray,
  values: ValueRange,
  store: StorageType,
): DenseArray {
  const known = storageTypes(values);
  if (!known.includes(store)) {
    const message = `${values} values cannot be stored as ${store}, expected ${known.join(' or ')}`;
    throw new SaccadeError('usage', message);
  }
  if (store === 'f32') return { shape, data };
  if (store === 'bits') return packBits({ shape, data });
  if (data instanceof Uint8Array) return { shape, data };
  const scale = values === 'unit' ? 255 : 1;
  return { shape, data: Uint8Array.from(data, (v) => Math.min(255, Math.floor(scale * v + 0.5))) };
}

function packBits({ shape, data }: DenseArray): DenseArray {
  const width = shape[shape.length - 1];
  const bytes = Math.ceil(width / 8);
  const rows = data.length / width;
  const packed = new Uint8Array(rows * bytes);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < width; column++) {
      if (data[row * width + column] === 0) continue;
      packed[row * bytes + (column >> 3)] |= 0x80 >> (column & 7);
    }
  }
  return { shape: [...shape.slice(0, -1), bytes], data: packed };
}

import { ByteWriter } from '../bytes.js';

/**
 * A version 1 header of an NPY file with one dimension, padded so that the data begins at a multiple of
 * 64 bytes.
 *
 * @param descr the type as NumPy writes it, such as `'<i8'` with its quotes.
 */
export function npyFileHeader(descr: string, count: number): Uint8Array {
  const dictionary = `{'descr': ${descr}, 'fortran_order': False, 'shape': (${count},), }`;
  const length = Math.ceil((10 + dictionary.length + 1) / 64) * 64 - 10;
  const output = new ByteWriter();
  output.bytes.set([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, length & 0xff, length >> 8]);
  output.length = 10;
  output.writeText(`${dictionary.padEnd(length - 1)}\n`);
  return output.take();
}

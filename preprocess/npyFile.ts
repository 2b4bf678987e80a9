import { endianness } from 'node:os';

import { writeFileAtomically } from '../engine/support/atomicFile.js';
import type { DenseArray } from './representations/index.js';

/**
 * The bytes in front of an array's data in an NPY file (version 1.0; NumPy enhancement proposal 1):
 * magic number, length of the header, and a Python dictionary padded to a multiple of 64 bytes.
 */
function npyHeader({ shape, data }: DenseArray): Uint8Array {
  const order = endianness() === 'LE' ? '<' : '>';
  const type = data instanceof Uint8Array ? '|u1' : `${order}f4`;
  const extents = shape.map((extent) => `${extent},`).join(' ');
  const text = `{'descr': '${type}', 'fortran_order': False, 'shape': (${extents}), }`;
  const prefixLength = 10;
  const padded = Math.ceil((prefixLength + text.length + 1) / 64) * 64;
  const header = Buffer.alloc(padded, ' ');
  header.set([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0]);
  header.writeUInt16LE(padded - prefixLength, 8);
  header.write(text, prefixLength, 'latin1');
  header[padded - 1] = 0x0a;
  return header;
}

/** Writes an array as an NPY file, which appears whole or not at all. */
export async function writeNpy(path: string, array: DenseArray): Promise<void> {
  const { buffer, byteOffset, byteLength } = array.data;
  const bytes = new Uint8Array(buffer, byteOffset, byteLength);
  await writeFileAtomically(path, chunks([npyHeader(array), bytes]));
}

async function* chunks(parts: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* parts;
}

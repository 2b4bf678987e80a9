import { closeSync, openSync, readSync, fstatSync } from 'node:fs';

import { writeFileAtomically } from '../../engine/support/atomicFile.js';
import { SaccadeError } from '../../engine/support/errors.js';

/**
 * A file of parts with an index at its end, for what is written in one go and read here and there:
 *
 *     start mark  8 bytes
 *     parts       one after the other
 *     index       JSON
 *     length      uint32, of the index in bytes
 *     end mark    8 bytes: a file without it was not finished
 *
 * in the byte order of the machine that wrote it, which is a part of the cache's keys.
 */
export interface FileMarks {
  /** Eight ASCII characters each. */
  readonly start: string;
  readonly end: string;
}

/** Where the first part begins. */
export const firstOffset = 8;

/**
 * Writes such a file, which appears whole or not at all.
 *
 * @param index asked for when all parts have been taken.
 */
export async function writeIndexed(
  path: string,
  marks: FileMarks,
  parts: AsyncIterable<Uint8Array>,
  index: () => unknown,
): Promise<void> {
  async function* content(): AsyncGenerator<Uint8Array> {
    yield Buffer.from(marks.start, 'latin1');
    yield* parts;
    const text = Buffer.from(JSON.stringify(index()));
    const length = Buffer.alloc(4);
    length.writeUInt32LE(text.length);
    yield Buffer.concat([text, length, Buffer.from(marks.end, 'latin1')]);
  }
  await writeFileAtomically(path, content());
}

/**
 * Reads the index of such a file.
 *
 * @param endOf where the last part ends, by the index.
 * @returns undefined where there is no file, or an unfinished or damaged one.
 */
export function readIndexed<I>(
  path: string,
  marks: FileMarks,
  endOf: (index: I) => number,
): I | undefined {
  try {
    return withFile(path, (file) => {
      const { size } = fstatSync(file);
      const tailLength = 4 + marks.end.length;
      if (size < firstOffset + tailLength) return undefined;
      const tail = readFrom(file, size - tailLength, tailLength);
      if (tail.toString('latin1', 4) !== marks.end) return undefined;
      const length = tail.readUInt32LE(0);
      const start = size - tailLength - length;
      if (start < firstOffset) return undefined;
      const index = JSON.parse(readFrom(file, start, length).toString()) as I;
      return endOf(index) === start ? index : undefined;
    });
  } catch {
    return undefined;
  }
}

/**
 * Reads bytes of such a file, into memory of their own.
 *
 * @throws SaccadeError of kind `input` where the file is gone or too short.
 */
export function readPart(path: string, offset: number, length: number): Buffer {
  try {
    return withFile(path, (file) => readFrom(file, offset, length));
  } catch (error) {
    const message = 'the cached clip cannot be read; remove the file, it is made anew';
    throw new SaccadeError('input', message, { file: path, offset }, error);
  }
}

function withFile<T>(path: string, action: (file: number) => T): T {
  const file = openSync(path, 'r');
  try {
    return action(file);
  } finally {
    closeSync(file);
  }
}

function readFrom(file: number, offset: number, length: number): Buffer {
  // Not from Node's shared pool: what is read may be viewed as other types, which wants its own beginning.
  const bytes = Buffer.from(new ArrayBuffer(length));
  if (readSync(file, bytes, 0, length, offset) < length)
    throw new RangeError('the file ends before');
  return bytes;
}

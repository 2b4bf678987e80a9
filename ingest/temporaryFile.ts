import { randomBytes } from 'node:crypto';
import { rmSync } from 'node:fs';
import { open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SaccadeError } from '../engine/support/errors.js';
import { ByteReader } from './bytes.js';
import type { DecodeOptions } from './format.js';

const readLength = 256 * 1024;

/** A path for a file that is removed by `remove`, or when the process exits. */
export interface TemporaryFile {
  readonly path: string;
  remove(): Promise<void>;
}

/** Names a temporary file and makes it, empty, readable by its owner only: a recording may show people. */
export async function createTemporaryFile(): Promise<TemporaryFile> {
  const path = join(tmpdir(), `saccade-${process.pid}-${randomBytes(8).toString('hex')}`);
  const removeNow = (): void => rmSync(path, { force: true });
  process.once('exit', removeNow);
  await (await open(path, 'wx', 0o600)).close();
  return {
    path,
    async remove() {
      process.off('exit', removeNow);
      await rm(path, { force: true });
    },
  };
}

/** Writes a stream into a temporary file. Throws a `SaccadeError` where it is empty. */
export async function fileOfStream(
  bytes: AsyncIterable<Uint8Array>,
  options: Pick<DecodeOptions, 'file' | 'signal'>,
): Promise<TemporaryFile> {
  const input = new ByteReader(bytes, options.file, options.signal);
  const temporary = await createTemporaryFile();
  try {
    const file = await open(temporary.path, 'w');
    try {
      while ((await input.require(readLength)) || input.available > 0) {
        await file.writeFile(input.bytes.subarray(input.position, input.end));
        input.position = input.end;
      }
    } finally {
      await file.close();
    }
    if (input.offset === 0) {
      throw new SaccadeError('input', 'empty, expected an event recording', { file: options.file });
    }
    return temporary;
  } catch (error) {
    await temporary.remove();
    throw error;
  } finally {
    await input.close();
  }
}

/** Keeps a stream in a temporary file while `use` reads that. Throws a `SaccadeError` where it is empty. */
export async function* throughFile<T>(
  bytes: AsyncIterable<Uint8Array>,
  options: DecodeOptions,
  use: (path: string) => AsyncIterable<T>,
): AsyncGenerator<T> {
  const temporary = await fileOfStream(bytes, options);
  try {
    yield* use(temporary.path);
  } finally {
    await temporary.remove();
  }
}

/** The bytes of the file that `write` fills, for formats that cannot be written front to back. */
export async function* bytesOfFile(
  write: (path: string) => Promise<void>,
): AsyncGenerator<Uint8Array> {
  const temporary = await createTemporaryFile();
  try {
    await write(temporary.path);
    const file = await open(temporary.path, 'r');
    try {
      for (;;) {
        const buffer = new Uint8Array(readLength);
        const { bytesRead } = await file.read(buffer, 0, readLength);
        if (bytesRead === 0) break;
        yield buffer.subarray(0, bytesRead);
      }
    } finally {
      await file.close();
    }
  } finally {
    await temporary.remove();
  }
}

import { stat } from 'node:fs/promises';

import { SaccadeError } from '../engine/support/errors.js';
import { standardStream } from './input.js';

/**
 * Checks a path that a command is about to replace: files are overwritten, but never the one that is
 * being read, and never a folder or a device.
 *
 * @throws SaccadeError of kind `usage`.
 */
export async function checkOutput(path: string, input?: string): Promise<void> {
  const found = await stat(path).catch(() => undefined);
  if (found === undefined) return;
  if (!found.isFile()) {
    const what = found.isDirectory() ? 'a folder' : 'no regular file';
    throw new SaccadeError('usage', `is ${what}, expected a file to write`, { file: path });
  }
  const reads = input !== undefined && input !== standardStream;
  const source = reads ? await stat(input).catch(() => undefined) : undefined;
  if (source !== undefined && source.dev === found.dev && source.ino === found.ino) {
    const message = 'is the input itself, expected another file to write';
    throw new SaccadeError('usage', message, { file: path });
  }
}

/** Writes a chunk and waits until it is taken, so that a slow reader bounds what is held in memory. */
export function writeChunk(
  stream: NodeJS.WritableStream,
  chunk: Uint8Array,
  signal: AbortSignal,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = (): void => {
      reject(new SaccadeError('interrupted', 'stopped on request', {}, signal.reason));
    };
    if (signal.aborted) return stop();
    signal.addEventListener('abort', stop, { once: true });
    stream.write(chunk, (error) => {
      signal.removeEventListener('abort', stop);
      if (error) reject(error);
      else resolve();
    });
  });
}

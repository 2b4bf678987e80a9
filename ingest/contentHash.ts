import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';

import { throwIfAborted } from './bytes.js';

const hashedLength = 1024 * 1024;
const sampleCount = 16;
const sampleLength = 16 * 1024;

/** SHA-256 of a file's content. */
export async function hashFile(path: string, signal?: AbortSignal): Promise<string> {
  const hash = createHash('sha256');
  const file = await open(path, 'r');
  try {
    const buffer = new Uint8Array(hashedLength);
    for (;;) {
      throwIfAborted(signal, path);
      const { bytesRead } = await file.read(buffer, 0, hashedLength);
      if (bytesRead === 0) return hash.digest('hex');
      hash.update(buffer.subarray(0, bytesRead));
    }
  } finally {
    await file.close();
  }
}

/** SHA-256 of pieces of a file of `size` bytes, evenly spread from the first to the last byte: quick however long it is. */
export async function hashSample(path: string, size: number): Promise<string> {
  const hash = createHash('sha256');
  const file = await open(path, 'r');
  try {
    const buffer = new Uint8Array(sampleLength);
    const lastStart = Math.max(0, size - sampleLength);
    for (let i = 0; i < sampleCount; i++) {
      const start = Math.floor((lastStart * i) / (sampleCount - 1));
      const { bytesRead } = await file.read(buffer, 0, sampleLength, start);
      hash.update(buffer.subarray(0, bytesRead));
    }
    return hash.digest('hex');
  } finally {
    await file.close();
  }
}

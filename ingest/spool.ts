import { randomBytes } from 'node:crypto';
import { type FileHandle, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Bytes that are kept in memory; more go to a temporary file. */
const memoryLength = 4 * 1024 * 1024;
const readLength = 256 * 1024;

/**
 * Holds bytes until all are written and then gives them back in order: for formats whose header states
 * how many events follow. Memory stays bounded; a temporary file holds what is above 4 MB.
 */
export class Spool {
  private readonly path = join(
    tmpdir(),
    `saccade-${process.pid}-${randomBytes(8).toString('hex')}`,
  );
  private chunks: Uint8Array[] = [];
  private chunksLength = 0;
  private file: FileHandle | undefined;

  async write(chunk: Uint8Array): Promise<void> {
    this.chunks.push(chunk);
    this.chunksLength += chunk.length;
    if (this.chunksLength <= memoryLength) return;
    // Readable by its owner only: a recording may show people.
    this.file ??= await open(this.path, 'wx+', 0o600);
    for (const held of this.chunks) await this.file.writeFile(held);
    this.chunks = [];
    this.chunksLength = 0;
  }

  /** All bytes written, in order. */
  async *read(): AsyncGenerator<Uint8Array> {
    if (this.file !== undefined) {
      let position = 0;
      for (;;) {
        const buffer = new Uint8Array(readLength);
        const { bytesRead } = await this.file.read(buffer, 0, readLength, position);
        if (bytesRead === 0) break;
        position += bytesRead;
        yield buffer.subarray(0, bytesRead);
      }
    }
    yield* this.chunks;
  }

  /** Frees what it holds; nothing can be read any more. */
  async close(): Promise<void> {
    this.chunks = [];
    await this.file?.close();
    if (this.file !== undefined) await rm(this.path, { force: true });
  }
}

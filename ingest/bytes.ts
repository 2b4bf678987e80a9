import { SaccadeError } from '../engine/support/errors.js';

/** The most bytes taken over at once, so that memory stays bounded however large the chunks are. */
const stepLength = 65_536;

/** Throws a `SaccadeError` of kind `interrupted` once the signal has fired. */
export function throwIfAborted(signal: AbortSignal | undefined, file: string): void {
  if (signal?.aborted) {
    throw new SaccadeError('interrupted', 'stopped on request', { file }, signal.reason);
  }
}

/**
 * Reads a byte stream through one window, `bytes[position … end-1]`. Decoders use up whole records
 * and move `position`; what is left, a part of a record, stays in the window when `fill` adds the next
 * bytes behind it. So a decoder never sees how the stream was cut into chunks.
 */
export class ByteReader {
  bytes = new Uint8Array(2 * stepLength);
  view = new DataView(this.bytes.buffer);
  /** Index of the first unread byte. */
  position = 0;
  /** Index behind the last byte at hand. */
  end = 0;
  /** True once the stream has ended: no byte will come behind `end`. */
  atEnd = false;

  private readonly source: AsyncIterator<Uint8Array>;
  private chunk: Uint8Array = new Uint8Array(0);
  private windowOffset = 0;
  private waiting = false;

  constructor(
    source: AsyncIterable<Uint8Array>,
    readonly file: string,
    private readonly signal?: AbortSignal,
  ) {
    this.source = source[Symbol.asyncIterator]();
  }

  /** Bytes at hand. */
  get available(): number {
    return this.end - this.position;
  }

  /** Offset of the first unread byte in the whole stream. */
  get offset(): number {
    return this.windowOffset + this.position;
  }

  /** Offset in the whole stream of the byte at `index` of the window. */
  offsetOf(index: number): number {
    return this.windowOffset + index;
  }

  /**
   * Adds the next bytes behind `end`. Returns false, and sets `atEnd`, where there are none.
   * Throws a `SaccadeError` of kind `interrupted` when the signal fires, also while it waits.
   */
  async fill(): Promise<boolean> {
    while (this.chunk.length === 0) {
      if (this.atEnd) return false;
      const next = await this.nextChunk();
      if (next.done) this.atEnd = true;
      else this.chunk = next.value;
    }
    throwIfAborted(this.signal, this.file);
    const step = this.chunk.subarray(0, stepLength);
    this.chunk = this.chunk.subarray(step.length);
    this.makeRoom(step.length);
    this.bytes.set(step, this.end);
    this.end += step.length;
    return true;
  }

  /** Fills until `length` bytes are at hand; false where the stream ends before. */
  async require(length: number): Promise<boolean> {
    while (this.available < length) {
      if (!(await this.fill())) return false;
    }
    return true;
  }

  /** Lets the source free what it holds (an open file, for instance). */
  async close(): Promise<void> {
    const closed = this.source.return?.();
    if (!this.waiting) await closed;
    // A source that still waits for bytes may never answer, so neither wait for it nor hear its error.
    else closed?.catch(() => undefined);
  }

  private makeRoom(length: number): void {
    if (this.end + length <= this.bytes.length) return;
    const rest = this.bytes.subarray(this.position, this.end);
    if (rest.length + length > this.bytes.length) {
      this.bytes = new Uint8Array(2 * (rest.length + length));
      this.view = new DataView(this.bytes.buffer);
      this.bytes.set(rest);
    } else {
      this.bytes.copyWithin(0, this.position, this.end);
    }
    this.windowOffset += this.position;
    this.position = 0;
    this.end = rest.length;
  }

  private async nextChunk(): Promise<IteratorResult<Uint8Array>> {
    const { signal, file } = this;
    throwIfAborted(signal, file);
    this.waiting = true;
    let onAbort: (() => void) | undefined;
    try {
      const next = await new Promise<IteratorResult<Uint8Array>>((resolve, reject) => {
        onAbort = () => reject(signal?.reason);
        signal?.addEventListener('abort', onAbort, { once: true });
        this.source.next().then(resolve, reject);
      });
      this.waiting = false;
      return next;
    } catch (error) {
      throwIfAborted(signal, file);
      this.waiting = false;
      throw error;
    } finally {
      if (onAbort !== undefined) signal?.removeEventListener('abort', onAbort);
    }
  }
}

/** Collects bytes for output; it grows as needed, and `take` hands out what was collected. */
export class ByteWriter {
  bytes = new Uint8Array(stepLength);
  view = new DataView(this.bytes.buffer);
  /** Bytes collected so far: write at this index, after `reserve`, and move it. */
  length = 0;

  /** Whether so much was collected that it is time for `take`. */
  get full(): boolean {
    return this.length > stepLength - 1024;
  }

  /** Makes sure that `count` bytes fit behind `length`. */
  reserve(count: number): void {
    if (this.length + count <= this.bytes.length) return;
    const grown = new Uint8Array(2 * (this.length + count));
    grown.set(this.bytes.subarray(0, this.length));
    this.bytes = grown;
    this.view = new DataView(grown.buffer);
  }

  writeText(text: string): void {
    const encoded = new TextEncoder().encode(text);
    this.reserve(encoded.length);
    this.bytes.set(encoded, this.length);
    this.length += encoded.length;
  }

  /** What was collected since the last call, in memory of its own. */
  take(): Uint8Array {
    const taken = this.bytes.slice(0, this.length);
    this.length = 0;
    return taken;
  }
}

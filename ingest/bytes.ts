import { SaccadeError } from '../engine/support/errors.js';

/** The most bytes taken over at once, so that memory stays bounded however large the chunks are. */
const stepLength = 65_536;

const roundUp = (length: number, step: number): number => Math.ceil(length / step) * step;

/** Throws a `SaccadeError` of kind `interrupted` once the signal has fired. */
export function throwIfAborted(signal: AbortSignal | undefined, file: string): void {
  if (signal?.aborted) {
    throw new SaccadeError('interrupted', 'stopped on request', { file }, signal.reason);
  }
}

/** Bytes that can also be read from somewhere behind their start. */
export interface ByteSource extends AsyncIterable<Uint8Array> {
  /** The bytes from `offset` on. */
  from?(offset: number): ByteSource;
}

/**
 * Reads a byte stream through one window, `bytes[position … end-1]`. Decoders use up whole records
 * and move `position`; what is left, a part of a record, stays in the window when `fill` adds the next
 * bytes behind it. So a decoder never sees how the stream was cut into chunks.
 */
export class ByteReader {
  bytes = new Uint8Array(2 * stepLength);
  view = new DataView(this.bytes.buffer);
  /** The window as little-endian words (see `align`). */
  words = new Int32Array(this.bytes.buffer);
  halfWords = new Uint16Array(this.bytes.buffer);
  /** Index of the first unread byte. */
  position = 0;
  /** Index behind the last byte at hand. */
  end = 0;
  /** True once the stream has ended: no byte will come behind `end`. */
  atEnd = false;

  private iterator: AsyncIterator<Uint8Array>;
  private chunk: Uint8Array = new Uint8Array(0);
  private windowOffset = 0;
  private waiting = false;

  constructor(
    private readonly source: ByteSource,
    readonly file: string,
    private readonly signal?: AbortSignal,
  ) {
    this.iterator = source[Symbol.asyncIterator]();
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

  /**
   * Moves the unread bytes so that `position` is a multiple of `length`, a power of two up to 8, and records
   * of that length can be read through `words` or `halfWords`.
   */
  align(length: number): void {
    if ((this.position & (length - 1)) !== 0) this.moveToFront();
  }

  /** Goes on at `offset` of the whole stream. Throws where the source cannot do that. */
  async seek(offset: number): Promise<void> {
    const source = this.source.from?.(offset);
    if (source === undefined) {
      throw new SaccadeError('input', 'expected a file, which can be read from any byte on', {
        file: this.file,
      });
    }
    await this.close();
    this.iterator = source[Symbol.asyncIterator]();
    this.chunk = new Uint8Array(0);
    this.windowOffset = offset;
    this.position = 0;
    this.end = 0;
    this.atEnd = false;
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
    const closed = this.iterator.return?.();
    if (!this.waiting) await closed;
    // A source that still waits for bytes may never answer, so neither wait for it nor hear its error.
    else closed?.catch(() => undefined);
  }

  private makeRoom(length: number): void {
    if (this.end + length <= this.bytes.length) return;
    const rest = this.bytes.subarray(this.position, this.end);
    if (rest.length + length > this.bytes.length) {
      this.bytes = new Uint8Array(roundUp(2 * (rest.length + length), 8));
      this.view = new DataView(this.bytes.buffer);
      this.words = new Int32Array(this.bytes.buffer);
      this.halfWords = new Uint16Array(this.bytes.buffer);
      this.bytes.set(rest);
      this.windowOffset += this.position;
      this.position = 0;
      this.end = rest.length;
    } else {
      this.moveToFront();
    }
  }

  private moveToFront(): void {
    this.bytes.copyWithin(0, this.position, this.end);
    this.windowOffset += this.position;
    this.end -= this.position;
    this.position = 0;
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
        this.iterator.next().then(resolve, reject);
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
  words = new Int32Array(this.bytes.buffer);
  halfWords = new Uint16Array(this.bytes.buffer);
  /** Bytes collected so far: write at this index, after `reserve`, and move it. */
  length = 0;

  /** @param reuse whether what was taken is done with when the next byte comes: its memory is used again. */
  constructor(private readonly reuse = false) {}

  /** Whether so much was collected that it is time for `take`. */
  get full(): boolean {
    return this.length > stepLength - 1024;
  }

  /** Makes sure that `count` bytes fit behind `length`. */
  reserve(count: number): void {
    if (this.length + count <= this.bytes.length) return;
    const grown = new Uint8Array(roundUp(2 * (this.length + count), 8));
    grown.set(this.bytes.subarray(0, this.length));
    this.bytes = grown;
    this.view = new DataView(grown.buffer);
    this.words = new Int32Array(grown.buffer);
    this.halfWords = new Uint16Array(grown.buffer);
  }

  writeText(text: string): void {
    const encoded = new TextEncoder().encode(text);
    this.reserve(encoded.length);
    this.bytes.set(encoded, this.length);
    this.length += encoded.length;
  }

  /** What was collected since the last call, in memory of its own unless that is used again. */
  take(): Uint8Array {
    const taken = this.reuse
      ? this.bytes.subarray(0, this.length)
      : this.bytes.slice(0, this.length);
    this.length = 0;
    return taken;
  }
}

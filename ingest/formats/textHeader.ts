import type { ByteReader } from '../bytes.js';

const newline = 0x0a;
const carriageReturn = 0x0d;
const tab = 0x09;

/** A header line that is longer than this is taken for data. */
const maxLineLength = 16_384;

/**
 * Finds a header line at `position`: `prefix`, then printable text up to a line feed.
 *
 * Recordings often have no mark between header and data, so a binary record may begin with the prefix
 * by chance. Binary records soon hold a control byte, which text does not, but for a line feed (a DAVIS event
 * at x 160, y 140 is the prefix and a line feed). So where lines end in CR LF, one that does not is data.
 *
 * @param crLf whether the lines above ended in CR LF.
 * @returns index behind the line feed; -1 where this is no header line; undefined where the bytes
 *   end before that can be said.
 */
export function findHeaderLine(
  bytes: Uint8Array,
  position: number,
  end: number,
  prefix: string,
  crLf: boolean,
): number | undefined {
  for (let i = position; i < end; i++) {
    const byte = bytes[i];
    const place = i - position;
    if (place < prefix.length) {
      if (byte !== prefix.charCodeAt(place)) return -1;
    } else if (byte === newline) {
      return crLf && bytes[i - 1] !== carriageReturn ? -1 : i + 1;
    } else if (byte === carriageReturn) {
      if (i + 1 < end && bytes[i + 1] !== newline) return -1;
    } else if ((byte < 0x20 && byte !== tab) || place > maxLineLength) {
      return -1;
    }
  }
  return undefined;
}

/** The text of a header line without its prefix and line end (one character per byte). */
function lineText(bytes: Uint8Array, position: number, end: number, prefix: string): string {
  return String.fromCharCode(...bytes.subarray(position + prefix.length, end)).trim();
}

/** Collects header lines one by one, whoever brings the bytes. */
class TextHeader {
  readonly lines: string[] = [];
  private crLf = false;

  constructor(
    private readonly prefix: string,
    private readonly lastLine: string | undefined,
  ) {}

  get closed(): boolean {
    return this.lastLine !== undefined && this.lines.at(-1) === this.lastLine;
  }

  /** Takes the line at `position` and returns the index behind it, or what `findHeaderLine` says of it. */
  next(bytes: Uint8Array, position: number, end: number): number | undefined {
    if (this.closed) return -1;
    const lineEnd = findHeaderLine(bytes, position, end, this.prefix, this.crLf);
    if (lineEnd === undefined || lineEnd < 0) return lineEnd;
    this.lines.push(lineText(bytes, position, lineEnd, this.prefix));
    this.crLf = bytes[lineEnd - 2] === carriageReturn;
    return lineEnd;
  }
}

/**
 * Reads the header lines at the start of a stream, and leaves `input.position` at the first data byte.
 *
 * @param lastLine text of the line that closes the header, where the format has one.
 */
export async function readTextHeader(
  input: ByteReader,
  prefix: string,
  lastLine?: string,
): Promise<string[]> {
  const header = new TextHeader(prefix, lastLine);
  for (;;) {
    const lineEnd = header.next(input.bytes, input.position, input.end);
    if (lineEnd === undefined) {
      if (!(await input.fill())) return header.lines;
    } else if (lineEnd < 0) {
      return header.lines;
    } else {
      input.position = lineEnd;
    }
  }
}

/** The header lines that lie wholly in the first bytes of a file. */
export function headerLines(head: Uint8Array, prefix: string, lastLine?: string): string[] {
  const header = new TextHeader(prefix, lastLine);
  for (let position: number | undefined = 0; position !== undefined && position >= 0;) {
    position = header.next(head, position, head.length);
  }
  return header.lines;
}

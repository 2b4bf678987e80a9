import type { ByteWriter } from '../bytes.js';
import type { EventBatch } from '../eventBatch.js';
import type { EventEncoder } from '../transcode.js';
import { largestStep, TimeUnwrapper } from './timeUnwrapper.js';

/** How a camera family packs an event into an address (see `aedat2.ts`). */
export type JaerLayout = 'dvs128' | 'davis';

/** What AEDAT 1.0 and 2.0 differ in. */
export interface JaerVersion {
  readonly name: '1.0' | '2.0';
  /** Bytes of an address, which a signed 32-bit time in µs follows; both big-endian. */
  readonly addressLength: 2 | 4;
  readonly layout: JaerLayout;
  /** Header lines behind the usual ones, without their `# `. */
  readonly lines: readonly string[];
}

/** Writes AEDAT 1.0 and 2.0 of jAER. */
export class JaerEncoder implements EventEncoder {
  private readonly time = new TimeUnwrapper();

  constructor(private readonly version: JaerVersion) {}

  begin(output: ByteWriter): void {
    const { name, addressLength, lines } = this.version;
    const fields = `int${8 * addressLength} address, int32 timestamp (${addressLength + 4} bytes total)`;
    output.writeText(
      [
        `#!AER-DAT${name}`,
        '# This is a raw AE data file - do not edit',
        `# Data format is ${fields}, repeated for each event`,
        '# Timestamps tick is 1 us',
        ...lines.map((line) => `# ${line}`),
        '',
      ].join('\r\n'),
    );
  }

  write(
    output: ByteWriter,
    tUs: number,
    x: number,
    y: number,
    polarity: number,
  ): string | undefined {
    const { name, addressLength, layout } = this.version;
    const raw = tUs | 0; // modulo 2^32
    if (this.time.next(raw) !== tUs) {
      return `AEDAT ${name} has 32-bit times: the first must lie within -2^31 … 2^31-1 µs, each next one less than 2^31 µs from the last`;
    }
    output.reserve(addressLength + 4);
    const { view, length } = output;
    const address = addressOf(layout, x, y, polarity);
    if (addressLength === 2) view.setUint16(length, address);
    else view.setInt32(length, address);
    view.setInt32(length + addressLength, raw);
    output.length += addressLength + 4;
    return undefined;
  }

  writeRun(output: ByteWriter, batch: EventBatch, start: number, end: number): number {
    const { addressLength, layout } = this.version;
    output.reserve((end - start) * (addressLength + 4));
    const { tUs, x, y, polarity } = batch;
    const { view } = output;
    const { time } = this;
    const { offsetUs } = time;
    let lastRaw = time.last;
    let position = output.length;
    let i = start;
    for (; i < end; i++) {
      const raw = tUs[i] - offsetUs;
      const step = raw - lastRaw;
      const plain =
        raw >= -(2 ** 31) && raw < 2 ** 31 && step >= -largestStep && step <= largestStep;
      if (!plain) break;
      lastRaw = raw;
      const address = addressOf(layout, x[i], y[i], polarity[i] === 0 ? 0 : 1);
      if (addressLength === 2) view.setUint16(position, address);
      else view.setInt32(position, address);
      view.setInt32(position + addressLength, raw);
      position += addressLength + 4;
    }
    time.last = lastRaw;
    output.length = position;
    return i;
  }
}

const addressOf = (layout: JaerLayout, x: number, y: number, on: number): number =>
  layout === 'davis' ? (y << 22) | (x << 12) | (on << 11) : (y << 8) | (x << 1) | (on ^ 1);

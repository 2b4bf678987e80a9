import type { ByteReader, ByteWriter } from '../bytes.js';
import type { BatchBuilder, SensorSize } from '../eventBatch.js';
import { countSkipped, type DecodeReport, type EventFormat } from '../format.js';
import { type BlockDecoder, decodeEvents, encodeEvents, type EventEncoder } from '../transcode.js';

const limits: SensorSize = { width: 32_768, height: 32_768 };
/** Set in words without a time behind them. */
const noTime = 0x80000000;
const wrapUs = 2 ** 32;

/**
 * The words of SPIF and AEStream on the wire, port 3333 by custom: uint32, little-endian, bit 31 = no time, x in bits
 * 16–30, polarity in bit 15 (1 = ON), y in bits 0–14; without bit 31, a uint32 time in µs follows. Times that go back by
 * half of their range have wrapped.
 *
 * Events without a time get that of their arrival, µs since the first one. Written are words with a time, of
 * 8 bytes, so that whole events fit into datagrams.
 *
 * This is a wire format, not one of files: it has no header, and nothing tells it from other bytes.
 *
 * Source: AEStream `dvs_to_udp.cpp`; not checked against a device.
 */
export const spif: EventFormat = {
  name: 'spif',
  title: 'SPIF / AEStream words',
  extensions: [],
  holdsSensorSize: false,
  usualSensors: [
    { width: 346, height: 260 },
    { width: 640, height: 480 },
  ],
  limits,

  detect: () => 0,

  decode: (bytes, options) =>
    decodeEvents(bytes, options, () => new SpifDecoder(options.sensor ?? limits, options.report)),

  encode: (batches, options) => encodeEvents(batches, options, spifEncoder),
};

class SpifDecoder implements BlockDecoder {
  private wraps = 0;
  private last = 0;
  private startMs: number | undefined;

  constructor(
    readonly sensor: SensorSize,
    private readonly report: DecodeReport,
  ) {}

  decode(input: ByteReader, events: BatchBuilder, full: number): void {
    const { view, end } = input;
    const { width, height } = this.sensor;
    let position = input.position;
    let outside = 0;
    while (events.length < full && position + 4 <= end) {
      const word = view.getUint32(position, true);
      const timed = word < noTime;
      if (timed && position + 8 > end) break;
      const tUs = timed ? this.unwrap(view.getUint32(position + 4, true)) : this.arrivalUs();
      position += timed ? 8 : 4;
      const x = (word >>> 16) & 0x7fff;
      const y = word & 0x7fff;
      if (x >= width || y >= height) outside++;
      else events.push(tUs, x, y, (word >>> 15) & 1);
    }
    input.position = position;
    countSkipped(this.report, 'outsideSensor', outside);
  }

  private unwrap(value: number): number {
    if (value < this.last - wrapUs / 2) this.wraps++;
    else if (value > this.last + wrapUs / 2 && this.wraps > 0) this.wraps--;
    this.last = value;
    return this.wraps * wrapUs + value;
  }

  private arrivalUs(): number {
    const nowMs = performance.now();
    this.startMs ??= nowMs;
    return Math.round((nowMs - this.startMs) * 1e3);
  }
}

const spifEncoder: EventEncoder = {
  begin() {
    // No header.
  },

  write(output: ByteWriter, tUs, x, y, polarity) {
    if (tUs < 0) return 'SPIF has no times below zero';
    if (x >= limits.width || y >= limits.height) return 'SPIF holds x and y to 32767';
    output.reserve(8);
    output.view.setUint32(output.length, ((x << 16) | (polarity << 15) | y) >>> 0, true);
    output.view.setUint32(output.length + 4, tUs % wrapUs, true);
    output.length += 8;
    return undefined;
  },
};

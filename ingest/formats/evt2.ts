import { SaccadeError } from '../../engine/support/errors.js';
import type { ByteReader, ByteWriter } from '../bytes.js';
import type { BatchBuilder, SensorSize } from '../eventBatch.js';
import { countSkipped, type DecodeReport, type EventFormat, reportDamage } from '../format.js';
import { type BlockDecoder, decodeEvents, encodeEvents, type EventEncoder } from '../transcode.js';
import { headerLines, readTextHeader } from './textHeader.js';

const wordLength = 4;
const lastHeaderLine = 'end';
const limits: SensorSize = { width: 2048, height: 2048 };

/** Word types (the upper four bits). */
const timeHigh = 0x8;
const otherTypes: Readonly<Record<number, string>> = {
  0xa: 'trigger',
  0xd: 'imu',
  0xe: 'other',
  0xf: 'continued',
};

/** TIME_HIGH counts 64 µs in 28 bits: it wraps every 2^34 µs (4.8 h). */
const timeHighCount = 2 ** 28;
const timeHighMiddle = 2 ** 27;
const loopUs = 2 ** 34;
/** A TIME_HIGH that jumps by this much has wrapped; smaller backward steps are kept as they are. */
const wrapJump = timeHighCount - 2 ** 22;

/** Cameras whose files name no size, only a system (OpenEB's table). */
const sensorOfSystem: Readonly<Record<string, SensorSize>> = {
  '21': { width: 640, height: 480 },
  '48': { width: 1280, height: 720 },
};

/**
 * Prophesee EVT 2.0 (`.raw`): header lines `% key value`, then little-endian 32-bit words. Change events
 * hold the low 6 bits of the time, TIME_HIGH words the 28 bits above.
 *
 * Convention: origin at the upper left, polarity 1 = ON. The size comes from the header's `format …;height=;width=`,
 * `geometry`, or `system_ID`; old headers have none of them. Events before the first TIME_HIGH have
 * no time: they are skipped and counted (`beforeTimeHigh`), and so are trigger, IMU and other words.
 *
 * The encoder writes a TIME_HIGH at each change; to pass a wrap, the largest and then zero, so that any
 * time from 0 to 2^53-1 µs and any order can be read back.
 *
 * Source: OpenEB `evt2_event_types.h`, `evt2_decoder.h`, `psee_raw_file_header.cpp`.
 */
export const evt2: EventFormat = {
  name: 'evt2',
  title: 'Prophesee EVT 2.0 (.raw)',
  extensions: ['raw', 'evt2'],
  holdsSensorSize: true,
  usualSensors: [
    { width: 320, height: 320 },
    { width: 640, height: 480 },
    { width: 1280, height: 720 },
  ],
  limits,

  detect: ({ head }) => (encodingOf(headerLines(head, '% ', lastHeaderLine)) === '2.0' ? 1 : 0),

  sensorOf: (head) => sensorOfHeader(headerLines(head, '% ', lastHeaderLine)),

  decode: (bytes, options) =>
    decodeEvents(bytes, options, async (input) => {
      const lines = await readTextHeader(input, '% ', lastHeaderLine);
      const encoding = encodingOf(lines);
      if (encoding !== '2.0') {
        const found = encoding === undefined ? '' : `, found EVT ${encoding}`;
        const message = `not EVT 2.0: expected a header line "% evt 2.0" or "% format EVT2"${found}`;
        throw new SaccadeError('input', message, { file: options.file, offset: 0 });
      }
      const sensor = sensorOfHeader(lines) ?? options.sensor ?? limits;
      return new Evt2Decoder(sensor, options.report);
    }),

  encode: (batches, options) => {
    const { width, height } = options.sensor;
    if (width > limits.width || height > limits.height) {
      const message = `EVT 2.0 holds sensors up to 2048x2048, not ${width}x${height}`;
      throw new SaccadeError('input', message, { file: options.file });
    }
    return encodeEvents(batches, options, new Evt2Encoder(options.sensor));
  },
};

/** The version of the encoding, for instance `2.0`, that a header states in its old or new style. */
function encodingOf(lines: readonly string[]): string | undefined {
  for (const line of lines) {
    const old = /^evt\s+(\d\.\d)/i.exec(line);
    if (old) return old[1];
    const format = /^format\s+EVT(\d)(\d)?\s*(;|$)/i.exec(line);
    if (format) return `${format[1]}.${format[2] ?? 0}`;
  }
  return undefined;
}

function sensorOfHeader(lines: readonly string[]): SensorSize | undefined {
  const header = lines.join('\n');
  const format = /^format\s.*$/m.exec(header)?.[0] ?? '';
  const geometry = /^geometry\s+(\d+)x(\d+)/m.exec(header);
  const width = Number(/;\s*width=(\d+)/.exec(format)?.[1] ?? geometry?.[1]);
  const height = Number(/;\s*height=(\d+)/.exec(format)?.[1] ?? geometry?.[2]);
  if (width >= 1 && width <= limits.width && height >= 1 && height <= limits.height) {
    return { width, height };
  }
  return sensorOfSystem[/^system_ID\s+(\d+)/m.exec(header)?.[1] ?? ''];
}

/** Continues TIME_HIGH values over their wraps. */
class TimeBase {
  private last = -1;
  private loops = 0;
  /** Time of the last TIME_HIGH, µs; below zero before the first. */
  us = -1;

  update(value: number): void {
    if (this.last >= 0) {
      const step = value - this.last;
      if (step <= -wrapJump) this.loops++;
      else if (step >= wrapJump && this.loops > 0) this.loops--;
    }
    this.last = value;
    this.us = this.loops * loopUs + value * 64;
  }
}

class Evt2Decoder implements BlockDecoder {
  private readonly base = new TimeBase();

  constructor(
    readonly sensor: SensorSize,
    private readonly report: DecodeReport,
  ) {}

  decode(input: ByteReader, events: BatchBuilder, full: number): void {
    const { view, end } = input;
    const { width, height } = this.sensor;
    const base = this.base;
    let position = input.position;
    let baseUs = base.us;
    let outside = 0;
    let early = 0;
    for (; position + wordLength <= end && events.length < full; position += wordLength) {
      const word = view.getInt32(position, true);
      const type = word >>> 28;
      if (type <= 1) {
        const x = (word >>> 11) & 0x7ff;
        const y = word & 0x7ff;
        if (baseUs < 0) early++;
        else if (x >= width || y >= height) outside++;
        else events.push(baseUs + ((word >>> 22) & 0x3f), x, y, type);
      } else if (type === timeHigh) {
        base.update(word & 0xfffffff);
        baseUs = base.us;
      } else if (otherTypes[type] !== undefined) {
        countSkipped(this.report, otherTypes[type]);
      } else {
        const message = `word of unknown type 0x${type.toString(16)}`;
        reportDamage(this.report, input.offsetOf(position), message);
      }
    }
    input.position = position;
    countSkipped(this.report, 'outsideSensor', outside);
    countSkipped(this.report, 'beforeTimeHigh', early);
  }
}

class Evt2Encoder implements EventEncoder {
  private timeHigh = -1;
  private loop = 0;

  constructor(private readonly sensor: SensorSize) {}

  begin(output: ByteWriter): void {
    const { width, height } = this.sensor;
    output.writeText(
      `% evt 2.0\n% format EVT2;height=${height};width=${width}\n% geometry ${width}x${height}\n% end\n`,
    );
  }

  write(
    output: ByteWriter,
    tUs: number,
    x: number,
    y: number,
    polarity: number,
  ): string | undefined {
    if (tUs < 0) return 'EVT 2.0 has no times below zero';
    const loop = Math.floor(tUs / loopUs);
    const high = Math.floor((tUs - loop * loopUs) / 64);
    if (high !== this.timeHigh || loop !== this.loop) this.writeTime(output, loop, high);
    // The low six bits survive ToInt32 whatever the size of the time.
    this.writeWord(output, polarity, ((tUs & 0x3f) << 22) | (x << 11) | y);
    return undefined;
  }

  private writeTime(output: ByteWriter, loop: number, high: number): void {
    for (; this.loop < loop; this.loop++) this.writeWrap(output, timeHighCount - 1, 0);
    for (; this.loop > loop; this.loop--) this.writeWrap(output, 0, timeHighCount - 1);
    if (high !== this.timeHigh) this.writeTimeHigh(output, high);
  }

  private writeWrap(output: ByteWriter, from: number, to: number): void {
    this.writeTimeHigh(output, from);
    this.writeWord(output, timeHigh, to);
    this.timeHigh = to;
  }

  /** Within a loop, a stop in the middle keeps a large step from looking like a wrap. */
  private writeTimeHigh(output: ByteWriter, value: number): void {
    if (this.timeHigh >= 0 && Math.abs(value - this.timeHigh) >= wrapJump) {
      this.writeWord(output, timeHigh, timeHighMiddle);
    }
    this.writeWord(output, timeHigh, value);
    this.timeHigh = value;
  }

  private writeWord(output: ByteWriter, type: number, value: number): void {
    output.reserve(wordLength);
    output.view.setInt32(output.length, (type << 28) | value, true);
    output.length += wordLength;
  }
}

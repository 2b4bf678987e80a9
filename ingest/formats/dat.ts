import { SaccadeError } from '../../engine/support/errors.js';
import type { ByteReader, ByteWriter } from '../bytes.js';
import { CompiledLoop } from '../compiledLoop.js';
import type { BatchBuilder, EventBatch, SensorSize } from '../eventBatch.js';
import {
  checkVariant,
  countSkipped,
  type DecodeMark,
  type DecodeReport,
  type EventFormat,
} from '../format.js';
import { type BlockDecoder, decodeEvents, encodeEvents, type EventEncoder } from '../transcode.js';
import { propheseeLines, readPropheseeLines } from './propheseeHeader.js';
import { largestStep, TimeUnwrapper } from './timeUnwrapper.js';

const recordLength = 8;
/** Records that tell a file without header. */
const detectedRecords = 512;
const changeTypes = [0x00, 0x0c];
const triggerType = 0x0e;

/** How a version packs x, y and polarity into the second word of a record. */
interface Layout {
  readonly version: number;
  readonly limits: SensorSize;
  readonly yShift: number;
  readonly polarityShift: number;
}

const layout1: Layout = {
  version: 1,
  limits: { width: 512, height: 256 },
  yShift: 9,
  polarityShift: 17,
};
const layout2: Layout = {
  version: 2,
  limits: { width: 16_384, height: 16_384 },
  yShift: 14,
  polarityShift: 28,
};

/**
 * ATIS and Prophesee DAT (`.dat`): header lines `% key value`, two bytes for the type and the length of the
 * events, then little-endian records of a 32-bit time in µs and a word of x, y and polarity. Version 2
 * has 14 bits for x and y each. Version 1 has 9 and 8; its files often have no header at all, and no type
 * and length then.
 *
 * Convention: origin at the upper left, polarity 1 = ON. The size comes from the header's `Width` and `Height`.
 * Times wrap after 2^32 µs, which the decoder continues. Written files are of version 2, or of version 1 with a header (variant `1`:
 * sensors up to 512x256); the first time must lie below 2^32 µs, and each next one less than 2^31 µs from the last.
 *
 * Source: OpenEB `dat_event_file_reader.cpp`, `dat_tools.py`; HOTS-Dojo `readwriteatis_kaerdat.py`.
 */
export const dat: EventFormat = {
  name: 'dat',
  title: 'ATIS / Prophesee DAT (.dat)',
  extensions: ['dat'],
  holdsSensorSize: true,
  variants: ['1'],
  usualSensors: [
    { width: 36, height: 36 },
    { width: 304, height: 240 },
    { width: 640, height: 480 },
    { width: 1280, height: 720 },
  ],
  limits: layout2.limits,

  detect: ({ head, fileSize, extension }) => {
    const lines = propheseeLines(head);
    if (lines.some((line) => /^(evt|format)\s/i.test(line))) return 0;
    if (lines.length > 0) return hasDatLines(lines) ? 0.95 : 0.2;
    if (fileSize !== undefined && fileSize % recordLength !== 0) return 0;
    if (!hasVersion1Words(head) || !hasRisingTimes(head)) return 0;
    return extension === 'dat' ? 0.6 : 0.5;
  },

  sensorOf: (head) => sensorOfLines(propheseeLines(head)),

  decode: (bytes, options) =>
    decodeEvents(bytes, options, async (input) => {
      const fail = (message: string, offset: number): SaccadeError =>
        new SaccadeError('input', message, { file: options.file, offset });
      const lines = await readPropheseeLines(input);
      if (lines.length === 0) {
        await input.require(detectedRecords * recordLength);
        if (!hasVersion1Words(input.bytes.subarray(input.position, input.end))) {
          throw fail('not DAT: expected header lines "% …", or records of version 1', 0);
        }
        const sensor = options.sensor ?? layout2.limits;
        return new DatDecoder(layout1, sensor, options.report, options.compiled);
      }
      if (!(await input.require(2))) {
        throw fail('ends in front of the two bytes for event type and length', input.offset);
      }
      const type = input.bytes[input.position];
      const length = input.bytes[input.position + 1];
      if (type === triggerType) {
        throw fail('holds external triggers (type 0x0e), expected change events', input.offset);
      }
      if (!changeTypes.includes(type) || length !== recordLength) {
        const found = `type 0x${type.toString(16)} and length ${length}`;
        throw fail(`events of ${found}, expected 0x0 or 0xc and 8`, input.offset);
      }
      input.position += 2;
      const layout = versionOf(lines) === 1 ? layout1 : layout2;
      const sensor = sensorOfLines(lines) ?? options.sensor ?? layout2.limits;
      return new DatDecoder(layout, sensor, options.report, options.compiled);
    }),

  encode: (batches, options) => {
    checkVariant(dat, options.variant);
    const layout = options.variant === '1' ? layout1 : layout2;
    const { limits, version } = layout;
    const { width, height } = options.sensor;
    if (width > limits.width || height > limits.height) {
      const largest = `${limits.width}x${limits.height}`;
      const message = `DAT of version ${version} holds sensors up to ${largest}, not ${width}x${height}`;
      throw new SaccadeError('input', message, { file: options.file });
    }
    return encodeEvents(batches, options, new DatEncoder(layout, options.sensor));
  },
};

const hasDatLines = (lines: readonly string[]): boolean =>
  lines.some((line) => /^(Version|Width|Height|Data file)\b/i.test(line));

function versionOf(lines: readonly string[]): number {
  const line = lines.find((text) => /^Version\s+\d+/i.test(text));
  return line === undefined ? 2 : Number(line.split(/\s+/)[1]);
}

function sensorOfLines(lines: readonly string[]): SensorSize | undefined {
  const value = (key: RegExp): number =>
    Number(lines.find((line) => key.test(line))?.split(/\s+/)[1]);
  const width = value(/^Width\s/i);
  const height = value(/^Height\s/i);
  const { limits } = layout2;
  return width >= 1 && width <= limits.width && height >= 1 && height <= limits.height
    ? { width, height }
    : undefined;
}

// Without a header, only that the unused upper bits are zero and times hardly ever go back tells version 1.

function hasVersion1Words(head: Uint8Array): boolean {
  const words = firstRecords(head).map(([, word]) => word);
  return words.length > 0 && words.every((word) => word >>> 18 === 0);
}

function hasRisingTimes(head: Uint8Array): boolean {
  const records = firstRecords(head);
  const backward = records.filter(([tUs], i) => i > 0 && tUs < records[i - 1][0]);
  return backward.length <= records.length / 50;
}

function firstRecords(head: Uint8Array): (readonly [tUs: number, word: number])[] {
  const view = new DataView(head.buffer, head.byteOffset, head.length);
  const length = Math.min(Math.floor(head.length / recordLength), detectedRecords);
  return Array.from({ length }, (_, i) => [
    view.getUint32(recordLength * i, true),
    view.getUint32(recordLength * i + 4, true),
  ]);
}

class DatDecoder implements BlockDecoder {
  private readonly time = new TimeUnwrapper();
  private readonly compiled: CompiledLoop | undefined;

  constructor(
    private readonly layout: Layout,
    readonly sensor: SensorSize,
    private readonly report: DecodeReport,
    compiled?: boolean,
  ) {
    this.compiled = CompiledLoop.of('decodeDat', 7, compiled);
  }

  mark(input: ByteReader): DecodeMark {
    return { offset: input.offset, state: this.time.state };
  }

  resume(state: readonly number[]): void {
    this.time.state = state;
  }

  decode(input: ByteReader, events: BatchBuilder, full: number): void {
    if (this.compiled !== undefined) return this.runCompiled(this.compiled, input, events, full);
    input.align(recordLength);
    const { words } = input;
    const { tUs, x, y, polarity } = events;
    const { width, height } = this.sensor;
    const { yShift, polarityShift, limits } = this.layout;
    const xMask = limits.width - 1;
    const yMask = limits.height - 1;
    const { time } = this;
    const last = (input.end >> 2) - 2;
    let at = input.position >> 2;
    let count = events.length;
    let lastRaw = time.last;
    let { offsetUs } = time;
    let outside = 0;
    for (; at <= last && count < full; at += 2) {
      const raw = words[at] >>> 0;
      const word = words[at + 1];
      const step = raw - lastRaw;
      if (step < -largestStep || step > largestStep) offsetUs = time.jump(step);
      lastRaw = raw;
      const column = word & xMask;
      const row = (word >>> yShift) & yMask;
      if (column < width && row < height) {
        tUs[count] = raw + offsetUs;
        x[count] = column;
        y[count] = row;
        polarity[count++] = (word >>> polarityShift) & 1;
      } else {
        outside++;
      }
    }
    time.last = lastRaw;
    events.length = count;
    input.position = at << 2;
    countSkipped(this.report, 'outsideSensor', outside);
  }

  private runCompiled(
    loop: CompiledLoop,
    input: ByteReader,
    events: BatchBuilder,
    full: number,
  ): void {
    const { state } = loop;
    const { yShift, polarityShift, limits } = this.layout;
    state.set([...this.time.state, 0, limits.width, limits.height, yShift, polarityShift]);
    loop.decode(input, events, full, this.sensor);
    this.time.state = [state[0], state[1]];
    countSkipped(this.report, 'outsideSensor', state[2]);
  }
}

class DatEncoder implements EventEncoder {
  private readonly time = new TimeUnwrapper();

  constructor(
    private readonly layout: Layout,
    private readonly sensor: SensorSize,
  ) {}

  begin(output: ByteWriter): void {
    const { width, height } = this.sensor;
    const { version } = this.layout;
    output.writeText(
      `% Data file containing CD events.\n% Version ${version}\n% Height ${height}\n% Width ${width}\n`,
    );
    output.bytes.set([changeTypes[1], recordLength], output.length);
    output.length += 2;
  }

  write(
    output: ByteWriter,
    tUs: number,
    x: number,
    y: number,
    polarity: number,
  ): string | undefined {
    const raw = tUs >>> 0; // modulo 2^32
    if (this.time.next(raw) !== tUs) {
      return 'DAT has unsigned 32-bit times: the first must lie within 0 … 2^32-1 µs, each next one less than 2^31 µs from the last';
    }
    output.reserve(recordLength);
    const at = output.length >> 2;
    output.words[at] = raw;
    const { yShift, polarityShift } = this.layout;
    output.words[at + 1] = x | (y << yShift) | (polarity << polarityShift);
    output.length += recordLength;
    return undefined;
  }

  writeRun(output: ByteWriter, batch: EventBatch, start: number, end: number): number {
    output.reserve((end - start) * recordLength);
    const { tUs, x, y, polarity } = batch;
    const { words } = output;
    const { time } = this;
    const { offsetUs } = time;
    const { yShift, polarityShift } = this.layout;
    let lastRaw = time.last;
    let at = output.length >> 2;
    let i = start;
    for (; i < end; i++) {
      const raw = tUs[i] - offsetUs;
      const step = raw - lastRaw;
      const plain = raw >= 0 && raw < 2 ** 32 && step >= -largestStep && step <= largestStep;
      if (!plain) break;
      lastRaw = raw;
      words[at] = raw;
      words[at + 1] = x[i] | (y[i] << yShift) | ((polarity[i] === 0 ? 0 : 1) << polarityShift);
      at += 2;
    }
    time.last = lastRaw;
    output.length = at << 2;
    return i;
  }
}

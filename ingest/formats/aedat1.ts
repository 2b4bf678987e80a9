import { SaccadeError } from '../../engine/support/errors.js';
import type { ByteReader } from '../bytes.js';
import type { BatchBuilder, SensorSize } from '../eventBatch.js';
import { countSkipped, type DecodeMark, type DecodeReport, type EventFormat } from '../format.js';
import { type BlockDecoder, decodeEvents, encodeEvents } from '../transcode.js';
import { JaerEncoder } from './jaerEncoder.js';
import { headerLines, readTextHeader } from './textHeader.js';
import { TimeUnwrapper } from './timeUnwrapper.js';

const versionLine = '!AER-DAT1.0';
const recordLength = 6;
const sensor: SensorSize = { width: 128, height: 128 };

/**
 * AEDAT 1.0 of jAER, for the DVS128: header lines with `#`, then big-endian records of a 16-bit address and a
 * signed 32-bit time in µs. Files from before the version line are read too, if they have a header at all.
 *
 * Convention, times and skipped words: as AEDAT 2.0 of a DVS128 (address bit 0 is 1 for OFF; bit 15 marks
 * external input). A smaller sensor that the caller states is kept; written files do not state it.
 *
 * Source: iniVation "AEDAT file formats"; jAER `AEFileInputStream`, `DVS128`.
 */
export const aedat1: EventFormat = {
  name: 'aedat1',
  title: 'AEDAT 1.0 (jAER; DVS128)',
  extensions: ['aedat1'],
  holdsSensorSize: false,
  usualSensors: [sensor],
  limits: sensor,

  detect: ({ head }) => {
    const lines = headerLines(head, '#');
    if (lines[0]?.startsWith(versionLine)) return 1;
    // jAER's second line, which text files of events do not have.
    return isVersion1(lines) && lines.some((line) => /raw AE data file/i.test(line)) ? 0.95 : 0;
  },

  decode: (bytes, options) =>
    decodeEvents(bytes, options, async (input) => {
      const lines = await readTextHeader(input, '#');
      if (!isVersion1(lines)) {
        const message = `not AEDAT 1.0: expected "#${versionLine}", or "#" lines of no version`;
        throw new SaccadeError('input', message, { file: options.file, offset: 0 });
      }
      return new Aedat1Decoder(options.sensor ?? sensor, options.report);
    }),

  encode: (batches, options) => {
    const { width, height } = options.sensor;
    if (width > sensor.width || height > sensor.height) {
      const message = `AEDAT 1.0 holds sensors up to 128x128, not ${width}x${height}`;
      throw new SaccadeError('input', message, { file: options.file });
    }
    const version = { name: '1.0', addressLength: 2, layout: 'dvs128', lines: [] } as const;
    return encodeEvents(batches, options, new JaerEncoder(version));
  },
};

const isVersion1 = (lines: readonly string[]): boolean =>
  lines[0]?.startsWith(versionLine) ||
  (lines.length > 0 && !lines.some((line) => line.startsWith('!AER-DAT')));

class Aedat1Decoder implements BlockDecoder {
  private readonly time = new TimeUnwrapper();

  constructor(
    readonly sensor: SensorSize,
    private readonly report: DecodeReport,
  ) {}

  mark(input: ByteReader): DecodeMark {
    return { offset: input.offset, state: this.time.state };
  }

  resume(state: readonly number[]): void {
    this.time.state = state;
  }

  /** Bit 0 OFF, bits 1-7 x, bits 8-14 y, bit 15 external input. */
  decode(input: ByteReader, events: BatchBuilder, full: number): void {
    const { view, end } = input;
    const { width, height } = this.sensor;
    let position = input.position;
    let external = 0;
    let outside = 0;
    while (position + recordLength <= end && events.length < full) {
      const address = view.getUint16(position);
      if (address < 0x8000) {
        const tUs = this.time.next(view.getInt32(position + 2));
        const x = (address >>> 1) & 0x7f;
        const y = address >>> 8;
        if (x < width && y < height) events.push(tUs, x, y, (address & 1) ^ 1);
        else outside++;
      } else {
        external++;
      }
      position += recordLength;
    }
    input.position = position;
    countSkipped(this.report, 'external', external);
    countSkipped(this.report, 'outsideSensor', outside);
  }
}

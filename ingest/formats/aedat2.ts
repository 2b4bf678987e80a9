import { SaccadeError } from '../../engine/support/errors.js';
import type { ByteReader } from '../bytes.js';
import { CompiledLoop } from '../compiledLoop.js';
import type { BatchBuilder, SensorSize } from '../eventBatch.js';
import { countSkipped, type DecodeMark, type DecodeReport, type EventFormat } from '../format.js';
import { type BlockDecoder, decodeEvents, encodeEvents } from '../transcode.js';
import { JaerEncoder, type JaerLayout } from './jaerEncoder.js';
import { headerLines, readTextHeader } from './textHeader.js';
import { largestStep, TimeUnwrapper } from './timeUnwrapper.js';

const versionLine = '!AER-DAT2.0';
const recordLength = 8;

/** A camera family. */
interface Chip {
  /** What the `# AEChip:` line ends in. */
  readonly name: string;
  readonly pattern: RegExp;
  readonly sensor: SensorSize;
  readonly layout: JaerLayout;
}

/** Smallest first: an encoder takes the first that holds its sensor. */
const chips: readonly Chip[] = [
  {
    name: 'ch.unizh.ini.jaer.chip.retina.DVS128',
    pattern: /DVS128|Tmpdiff128/i,
    sensor: { width: 128, height: 128 },
    layout: 'dvs128',
  },
  {
    name: 'eu.seebetter.ini.chips.davis.DAVIS240C',
    pattern: /DAVIS240/i,
    sensor: { width: 240, height: 180 },
    layout: 'davis',
  },
  {
    name: 'eu.seebetter.ini.chips.davis.Davis346B',
    pattern: /DAVIS346/i,
    sensor: { width: 346, height: 260 },
    layout: 'davis',
  },
];

const fits = (chip: Chip, sensor: SensorSize): boolean =>
  sensor.width <= chip.sensor.width && sensor.height <= chip.sensor.height;

/**
 * AEDAT 2.0 of jAER: header lines with `#`, then big-endian records of a 32-bit address and a signed
 * 32-bit time in µs.
 *
 * Convention: x and y are the address fields as they are stored (jAER itself shows x mirrored, and its
 * origin is the lower left). Polarity is unified, 1 = ON: the address bit of a DVS128 is 1 for OFF, that
 * of a DAVIS is 1 for ON. The camera comes from the `# AEChip:` line; without one it is a DVS128, or a
 * DAVIS where the caller's sensor is larger. Times may start below zero; after 2^31-1 they go on at
 * -2^31, and the decoder adds 2^32.
 *
 * External-input, special, frame (`aps`) and `imu` words are skipped and counted.
 * Written files have the size of the smallest camera above that holds the sensor, with the same x, y.
 *
 * Source: iniVation "AEDAT file formats"; jAER `DVS128`, `DavisBaseCamera`, `AEFileInputStream`.
 */
export const aedat2: EventFormat = {
  name: 'aedat2',
  title: 'AEDAT 2.0 (jAER; DVS128, DAVIS)',
  extensions: ['aedat', 'aedat2', 'dat2'],
  holdsSensorSize: true,
  usualSensors: chips.map((chip) => chip.sensor),
  limits: chips[chips.length - 1].sensor,

  detect: ({ head }) => (headerLines(head, '#')[0]?.startsWith(versionLine) ? 1 : 0),

  sensorOf: (head) => chipOf(headerLines(head, '#'))?.sensor,

  decode: (bytes, options) =>
    decodeEvents(bytes, options, async (input) => {
      const lines = await readTextHeader(input, '#');
      const place = { file: options.file, offset: 0 };
      if (!lines[0]?.startsWith(versionLine)) {
        throw new SaccadeError('input', `not AEDAT 2.0: expected "#${versionLine}"`, place);
      }
      const named = chipOf(lines);
      const stated = lines.find((line) => chipLine.test(line));
      if (stated !== undefined && named === undefined) {
        const known = 'DVS128, Tmpdiff128, DAVIS240 and DAVIS346';
        throw new SaccadeError('input', `unknown camera "${stated}", known are ${known}`, place);
      }
      const chip = named ?? chipFor(options.sensor) ?? chips[0];
      const sensor = named?.sensor ?? options.sensor ?? chip.sensor;
      return new Aedat2Decoder(chip.layout, sensor, options.report, options.compiled);
    }),

  encode: (batches, options) => {
    const chip = chipFor(options.sensor);
    if (chip === undefined) {
      const { width, height } = options.sensor;
      const message = `AEDAT 2.0 holds sensors up to 346x260, not ${width}x${height}`;
      throw new SaccadeError('input', message, { file: options.file });
    }
    const lines = [`AEChip: ${chip.name}`];
    const version = { name: '2.0', addressLength: 4, layout: chip.layout, lines } as const;
    return encodeEvents(batches, options, new JaerEncoder(version));
  },
};

const chipLine = /^\s*AEChip:\s*(\S+)/;

function chipOf(lines: readonly string[]): Chip | undefined {
  for (const line of lines) {
    const name = chipLine.exec(line)?.[1];
    if (name !== undefined) return chips.find((chip) => chip.pattern.test(name));
  }
  return undefined;
}

function chipFor(sensor: SensorSize | undefined): Chip | undefined {
  return sensor && chips.find((chip) => fits(chip, sensor));
}

class Aedat2Decoder implements BlockDecoder {
  private readonly time = new TimeUnwrapper();
  private readonly compiled: CompiledLoop | undefined;

  constructor(
    private readonly layout: JaerLayout,
    readonly sensor: SensorSize,
    private readonly report: DecodeReport,
    compiled?: boolean,
  ) {
    this.compiled = CompiledLoop.of('decodeAedat2', 7, compiled);
  }

  mark(input: ByteReader): DecodeMark {
    return { offset: input.offset, state: this.time.state };
  }

  resume(state: readonly number[]): void {
    this.time.state = state;
  }

  decode(input: ByteReader, events: BatchBuilder, full: number): void {
    if (this.compiled !== undefined) this.runCompiled(this.compiled, input, events, full);
    else if (this.layout === 'davis') this.decodeDavis(input, events, full);
    else this.decodeDvs128(input, events, full);
  }

  private runCompiled(
    loop: CompiledLoop,
    input: ByteReader,
    events: BatchBuilder,
    full: number,
  ): void {
    const { state } = loop;
    const davis = this.layout === 'davis';
    state.set([...this.time.state, 0, 0, 0, 0, davis ? 1 : 0]);
    loop.decode(input, events, full, this.sensor);
    const [last, offsetUs, outside, external, special, imu] = state;
    this.time.state = [last, offsetUs];
    countSkipped(this.report, 'external', external);
    countSkipped(this.report, davis ? 'aps' : 'special', special);
    countSkipped(this.report, 'imu', imu);
    countSkipped(this.report, 'outsideSensor', outside);
  }

  /** Bit 0 OFF, bits 1-7 x, bits 8-14 y, bit 15 external input; higher bits are not used by events. */
  private decodeDvs128(input: ByteReader, events: BatchBuilder, full: number): void {
    const { view } = input;
    const { tUs, x, y, polarity } = events;
    const { width, height } = this.sensor;
    const { time } = this;
    const last = input.end - recordLength;
    let position = input.position;
    let count = events.length;
    let lastRaw = time.last;
    let { offsetUs } = time;
    let external = 0;
    let special = 0;
    let outside = 0;
    while (position <= last && count < full) {
      const address = view.getInt32(position);
      if (address >>> 15 === 0) {
        const raw = view.getInt32(position + 4);
        const step = raw - lastRaw;
        if (step < -largestStep || step > largestStep) offsetUs = time.jump(step);
        lastRaw = raw;
        const column = (address >>> 1) & 0x7f;
        const row = address >>> 8;
        if (column < width && row < height) {
          tUs[count] = raw + offsetUs;
          x[count] = column;
          y[count] = row;
          polarity[count++] = (address & 1) ^ 1;
        } else {
          outside++;
        }
      } else if (address >>> 16 === 0) {
        external++;
      } else {
        special++;
      }
      position += recordLength;
    }
    time.last = lastRaw;
    events.length = count;
    input.position = position;
    countSkipped(this.report, 'external', external);
    countSkipped(this.report, 'special', special);
    countSkipped(this.report, 'outsideSensor', outside);
  }

  /** Bit 31 frame or IMU, bits 22-30 y, bits 12-21 x, bit 11 ON, bit 10 external input. */
  private decodeDavis(input: ByteReader, events: BatchBuilder, full: number): void {
    const { view } = input;
    const { tUs, x, y, polarity } = events;
    const { width, height } = this.sensor;
    const { time } = this;
    const last = input.end - recordLength;
    let position = input.position;
    let count = events.length;
    let lastRaw = time.last;
    let { offsetUs } = time;
    let external = 0;
    let imu = 0;
    let aps = 0;
    let outside = 0;
    while (position <= last && count < full) {
      const address = view.getInt32(position);
      if (address < 0) {
        if ((address & 0xc00) === 0xc00) imu++;
        else aps++;
      } else if ((address & 0x400) !== 0) {
        external++;
      } else {
        const raw = view.getInt32(position + 4);
        const step = raw - lastRaw;
        if (step < -largestStep || step > largestStep) offsetUs = time.jump(step);
        lastRaw = raw;
        const column = (address >>> 12) & 0x3ff;
        const row = address >>> 22;
        if (column < width && row < height) {
          tUs[count] = raw + offsetUs;
          x[count] = column;
          y[count] = row;
          polarity[count++] = (address >>> 11) & 1;
        } else {
          outside++;
        }
      }
      position += recordLength;
    }
    time.last = lastRaw;
    events.length = count;
    input.position = position;
    countSkipped(this.report, 'external', external);
    countSkipped(this.report, 'imu', imu);
    countSkipped(this.report, 'aps', aps);
    countSkipped(this.report, 'outsideSensor', outside);
  }
}

import type { ByteReader, ByteWriter } from '../bytes.js';
import { CompiledLoop } from '../compiledLoop.js';
import type { BatchBuilder, EventBatch, SensorSize } from '../eventBatch.js';
import { countSkipped, type DecodeMark, type DecodeReport, reportDamage } from '../format.js';
import type { BlockDecoder, EventEncoder } from '../transcode.js';
import { defineEvt } from './evt.js';
import { otherTypes, timeHigh, TimeHighReader, TimeHighWriter } from './evtTimeHigh.js';
import { evtHeader } from './propheseeHeader.js';

const wordLength = 4;

/** What the compiled loop tells: three values of the times, two counts, and the words of each type. */
const typesInState = 5;
const compiledStateLength = typesInState + 16;

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
export const evt2 = defineEvt({
  name: 'evt2',
  version: '2.0',
  extensions: ['raw', 'evt2'],
  decoder: (sensor, { report, compiled }) => new Evt2Decoder(sensor, report, compiled),
  encoder: (sensor) => new Evt2Encoder(sensor),
});

class Evt2Decoder implements BlockDecoder {
  private readonly time = new TimeHighReader();
  private readonly compiled: CompiledLoop | undefined;

  constructor(
    readonly sensor: SensorSize,
    private readonly report: DecodeReport,
    compiled?: boolean,
  ) {
    this.compiled = CompiledLoop.of('decodeEvt2', compiledStateLength, compiled);
  }

  mark(input: ByteReader): DecodeMark {
    return { offset: input.offset, state: this.time.state };
  }

  resume(state: readonly number[]): void {
    this.time.state = state;
  }

  decode(input: ByteReader, events: BatchBuilder, full: number): void {
    if (this.compiled !== undefined) this.runCompiled(this.compiled, input, events, full);
    if (events.length >= full || input.available < wordLength) return;
    input.align(wordLength);
    const { words } = input;
    const { tUs, x, y, polarity } = events;
    const { width, height } = this.sensor;
    const { time } = this;
    const end = input.end >> 2;
    let at = input.position >> 2;
    let count = events.length;
    let baseUs = time.us;
    let outside = 0;
    let early = 0;
    while (at < end && count < full) {
      const word = words[at++];
      const type = word >>> 28;
      if (type <= 1) {
        const column = (word >>> 11) & 0x7ff;
        const row = word & 0x7ff;
        if (baseUs < 0) {
          early++;
        } else if (column < width && row < height) {
          tUs[count] = baseUs + ((word >>> 22) & 0x3f);
          x[count] = column;
          y[count] = row;
          polarity[count++] = type;
        } else {
          outside++;
        }
      } else if (type === timeHigh) {
        time.update(word & 0xfffffff);
        baseUs = time.us;
      } else if (otherTypes[type] !== undefined) {
        countSkipped(this.report, otherTypes[type]);
      } else {
        const message = `word of unknown type 0x${type.toString(16)}`;
        reportDamage(this.report, input.offsetOf((at - 1) * wordLength), message);
      }
    }
    events.length = count;
    input.position = at * wordLength;
    countSkipped(this.report, 'outsideSensor', outside);
    countSkipped(this.report, 'beforeTimeHigh', early);
  }

  private runCompiled(
    loop: CompiledLoop,
    input: ByteReader,
    events: BatchBuilder,
    full: number,
  ): void {
    const { state } = loop;
    state.set(this.time.state);
    loop.decode(input, events, full, this.sensor);
    const [last, loops, us, outside, early] = state;
    this.time.state = [last, loops, us];
    countSkipped(this.report, 'outsideSensor', outside);
    countSkipped(this.report, 'beforeTimeHigh', early);
    for (const type in otherTypes) {
      countSkipped(this.report, otherTypes[type], state[typesInState + Number(type)]);
    }
  }
}

class Evt2Encoder implements EventEncoder {
  private readonly time = new TimeHighWriter();

  constructor(private readonly sensor: SensorSize) {}

  begin(output: ByteWriter): void {
    output.writeText(evtHeader('2.0', 'EVT2', this.sensor));
  }

  write(
    output: ByteWriter,
    tUs: number,
    x: number,
    y: number,
    polarity: number,
  ): string | undefined {
    if (tUs < 0) return 'EVT 2.0 has no times below zero';
    this.time.moveTo(tUs, (value) => writeWord(output, (timeHigh << 28) | value));
    // The low six bits survive ToInt32 whatever the size of the time.
    writeWord(output, (polarity << 28) | ((tUs & 0x3f) << 22) | (x << 11) | y);
    return undefined;
  }

  writeRun(output: ByteWriter, batch: EventBatch, start: number, end: number): number {
    output.reserve(2 * (end - start) * wordLength);
    const { tUs, x, y, polarity } = batch;
    const { words } = output;
    const { time } = this;
    let baseUs = time.us;
    let at = output.length >> 2;
    let i = start;
    for (; i < end; i++) {
      let lowUs = tUs[i] - baseUs;
      if (!(lowUs >= 0 && lowUs < 64)) {
        const value = time.moveToNext(tUs[i]);
        if (value < 0) break;
        words[at++] = (timeHigh << 28) | value;
        baseUs = time.us;
        lowUs = tUs[i] - baseUs;
      }
      const on = polarity[i] === 0 ? 0 : 1;
      words[at++] = (on << 28) | (lowUs << 22) | (x[i] << 11) | y[i];
    }
    output.length = at * wordLength;
    return i;
  }
}

function writeWord(output: ByteWriter, word: number): void {
  output.reserve(wordLength);
  output.words[output.length >> 2] = word;
  output.length += wordLength;
}

import type { ByteReader, ByteWriter } from '../bytes.js';
import type { BatchBuilder, EventBatch, SensorSize } from '../eventBatch.js';
import { countSkipped, type DecodeMark, type DecodeReport, reportDamage } from '../format.js';
import type { BlockDecoder, EventEncoder } from '../transcode.js';
import { defineEvt } from './evt.js';
import { otherTypes, timeHigh, TimeHighReader, TimeHighWriter } from './evtTimeHigh.js';
import { evtEndiannessOf, evtHeader } from './propheseeHeader.js';

const wordLength = 8;
const vectorLength = 32;

/** Words that tell the order of the halves where the header does not. */
const lookedAtWords = 64;

/**
 * Prophesee EVT 2.1 (`.raw`): header lines `% key value`, then 64-bit words of two little-endian halves. One
 * half is as in EVT 2.0 (type, time, x, y), the other a mask: its bit i is an event at x + i.
 *
 * The order of the halves: with `endianness=little` in the header, the mask comes first in the file; with
 * `legacy`, or where nothing is said, last. Where nothing is said and the first words make more sense in the
 * other order, that one is taken.
 *
 * Convention: as for EVT 2.0. Written files have `endianness=little` and one vector for consecutive
 * events of one time, row and polarity whose x rises by less than 32.
 *
 * Source: OpenEB `evt21_event_types.h`, `evt21_decoder.h`, `psee_raw_file_header.cpp`.
 */
export const evt21 = defineEvt({
  name: 'evt21',
  version: '2.1',
  extensions: ['evt21'],
  async decoder(sensor, { report }, input, lines) {
    const endianness = evtEndiannessOf(lines);
    if (endianness === undefined) await input.require(lookedAtWords * wordLength);
    const maskFirst = endianness === undefined ? looksMaskFirst(input) : endianness === 'little';
    return new Evt21Decoder(sensor, maskFirst, report);
  },
  encoder: (sensor) => new Evt21Encoder(sensor),
});

/** Whether the first words make more sense, as TIME_HIGH and no unknown types, with the mask first. */
function looksMaskFirst({ view, position, end }: ByteReader): boolean {
  const sense = (headOffset: number): number => {
    let score = 0;
    const last = Math.min(end, position + lookedAtWords * wordLength) - wordLength;
    for (let at = position; at <= last; at += wordLength) {
      const type = view.getUint32(at + headOffset, true) >>> 28;
      if (type === timeHigh) score++;
      else if (type > 1 && otherTypes[type] === undefined) score--;
    }
    return score;
  };
  return sense(4) > sense(0);
}

class Evt21Decoder implements BlockDecoder {
  private readonly time = new TimeHighReader();
  /** Bits of a vector that did not fit into the last batch, and the word above them. */
  private mask = 0;
  private head = 0;

  constructor(
    readonly sensor: SensorSize,
    private readonly maskFirst: boolean,
    private readonly report: DecodeReport,
  ) {}

  mark(input: ByteReader): DecodeMark {
    return { offset: input.offset, state: [this.mask, this.head, ...this.time.state] };
  }

  resume([mask, head, ...time]: readonly number[]): void {
    this.mask = mask;
    this.head = head;
    this.time.state = time;
  }

  decode(input: ByteReader, events: BatchBuilder, full: number): void {
    input.align(wordLength);
    const { words } = input;
    const { tUs, x, y, polarity } = events;
    const { width, height } = this.sensor;
    const { time } = this;
    const headAt = this.maskFirst ? 1 : 0;
    const maskAt = 1 - headAt;
    const last = (input.end >> 2) - 2;
    let at = input.position >> 2;
    let count = events.length;
    let { mask, head } = this;
    let outside = 0;
    let early = 0;
    for (;;) {
      if (mask !== 0) {
        const column = (head >>> 11) & 0x7ff;
        const row = head & 0x7ff;
        const type = head >>> 28;
        const timeUs = time.us + ((head >>> 22) & 0x3f);
        const visible = row < height ? width : 0;
        while (mask !== 0 && count < full) {
          // The lowest bit first.
          const bit = 31 - Math.clz32(mask & -mask);
          mask &= mask - 1;
          if (column + bit < visible) {
            tUs[count] = timeUs;
            x[count] = column + bit;
            y[count] = row;
            polarity[count++] = type;
          } else {
            outside++;
          }
        }
      }
      if (at > last || count >= full) break;
      head = words[at + headAt];
      const type = head >>> 28;
      if (type <= 1) {
        mask = words[at + maskAt];
        if (time.us < 0) {
          for (; mask !== 0; mask &= mask - 1) early++;
        }
      } else if (type === timeHigh) {
        time.update(head & 0xfffffff);
      } else if (otherTypes[type] !== undefined) {
        countSkipped(this.report, otherTypes[type]);
      } else {
        const message = `word of unknown type 0x${type.toString(16)}`;
        reportDamage(this.report, input.offsetOf(at << 2), message);
      }
      at += 2;
    }
    this.mask = mask;
    this.head = head;
    events.length = count;
    input.position = at << 2;
    countSkipped(this.report, 'outsideSensor', outside);
    countSkipped(this.report, 'beforeTimeHigh', early);
  }
}

class Evt21Encoder implements EventEncoder {
  private readonly time = new TimeHighWriter();

  // A vector that waits for more events: its upper half, its bits and the x of its last event.
  private head = 0;
  private mask = 0;
  private lastX = 0;

  constructor(private readonly sensor: SensorSize) {}

  begin(output: ByteWriter): void {
    output.writeText(evtHeader('2.1', 'EVT21', this.sensor, ';endianness=little'));
  }

  write(
    output: ByteWriter,
    tUs: number,
    x: number,
    y: number,
    polarity: number,
  ): string | undefined {
    if (tUs < 0) return 'EVT 2.1 has no times below zero';
    const lowUs = tUs - this.time.us;
    const sameHigh = lowUs >= 0 && lowUs < 64;
    if (sameHigh && this.joins(lowUs, x, y, polarity)) return undefined;
    this.flush(output);
    this.time.moveTo(tUs, (value) => putWord(output, (timeHigh << 28) | value, 0));
    this.begins(tUs - this.time.us, x, y, polarity);
    return undefined;
  }

  writeRun(output: ByteWriter, batch: EventBatch, start: number, end: number): number {
    output.reserve(2 * (end - start + 1) * wordLength);
    const { tUs, x, y, polarity } = batch;
    const { words } = output;
    const { time } = this;
    let { head, mask, lastX } = this;
    let at = output.length >> 2;
    let baseUs = time.us;
    let i = start;
    for (; i < end; i++) {
      let lowUs = tUs[i] - baseUs;
      const on = polarity[i] === 0 ? 0 : 1;
      const column = x[i];
      const firstX = (head >>> 11) & 0x7ff;
      const sameHigh = lowUs >= 0 && lowUs < 64;
      if (
        mask !== 0 &&
        sameHigh &&
        column > lastX &&
        column - firstX < vectorLength &&
        head === ((on << 28) | (lowUs << 22) | (firstX << 11) | y[i])
      ) {
        mask |= 1 << (column - firstX);
        lastX = column;
        continue;
      }
      if (mask !== 0) {
        words[at] = mask;
        words[at + 1] = head;
        at += 2;
        mask = 0;
      }
      if (!sameHigh) {
        const value = time.moveToNext(tUs[i]);
        if (value < 0) break;
        words[at] = 0;
        words[at + 1] = (timeHigh << 28) | value;
        at += 2;
        baseUs = time.us;
        lowUs = tUs[i] - baseUs;
      }
      head = (on << 28) | (lowUs << 22) | (column << 11) | y[i];
      mask = 1;
      lastX = column;
    }
    this.head = head;
    this.mask = mask;
    this.lastX = lastX;
    output.length = at << 2;
    return i;
  }

  end(output: ByteWriter): void {
    this.flush(output);
  }

  private begins(lowUs: number, x: number, y: number, on: number): void {
    this.head = (on << 28) | (lowUs << 22) | (x << 11) | y;
    this.mask = 1;
    this.lastX = x;
  }

  private joins(lowUs: number, x: number, y: number, on: number): boolean {
    const firstX = (this.head >>> 11) & 0x7ff;
    const head = (on << 28) | (lowUs << 22) | (firstX << 11) | y;
    if (this.mask === 0 || head !== this.head || x <= this.lastX) return false;
    if (x - firstX >= vectorLength) return false;
    this.mask |= 1 << (x - firstX);
    this.lastX = x;
    return true;
  }

  private flush(output: ByteWriter): void {
    if (this.mask !== 0) putWord(output, this.head, this.mask);
    this.mask = 0;
  }
}

function putWord(output: ByteWriter, head: number, mask: number): void {
  output.reserve(wordLength);
  const at = output.length >> 2;
  output.words[at] = mask;
  output.words[at + 1] = head;
  output.length += wordLength;
}

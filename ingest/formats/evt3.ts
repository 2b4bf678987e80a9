import type { ByteReader, ByteWriter } from '../bytes.js';
import { CompiledLoop, compiledEvt3Writer } from '../compiledLoop.js';
import type { BatchBuilder, EventBatch, SensorSize } from '../eventBatch.js';
import { countSkipped, type DecodeMark, type DecodeReport, reportDamage } from '../format.js';
import type { BlockDecoder, EventEncoder } from '../transcode.js';
import { defineEvt } from './evt.js';
import { evtHeader } from './propheseeHeader.js';

const wordLength = 2;

/** Word types (the upper four bits). */
const addressY = 0x0;
const addressX = 0x2;
const vectorBaseX = 0x3;
const vector12 = 0x4;
const vector8 = 0x5;
const timeLow = 0x6;
const timeHigh = 0x8;
const otherTypes: Readonly<Record<number, string>> = {
  0x7: 'continued',
  0xa: 'trigger',
  0xe: 'other',
  0xf: 'continued',
};

/** TIME_HIGH counts 4,096 µs in 12 bits: it wraps every 2^24 µs (16.8 s). */
const timeHighCount = 4_096;
const loopUs = 2 ** 24;
/** A drop of TIME_HIGH by this much is a wrap. A flipped top bit, which cameras do send, drops by 2,048. */
const wrapDrop = 2_304;
/** A rise by this much goes back over a wrap: cameras repeat TIME_HIGH, so none skips nearly all of a turn. */
const unwrapRise = 4_032;
/** The largest step between TIME_HIGH words that is written. */
const largestStep = 2_047;

/** The longest gap that is written: 2^18 turns of TIME_HIGH, 51 days, take about 4 MB. */
const maxLoops = 2 ** 18;

/** From so many events within 12 pixels on, a vector is shorter than single words. */
const vectorEvents = 3;

/** What the compiled loop tells: the nine values of the state, and the events outside the sensor. */
const compiledStateLength = 10;

/**
 * Prophesee EVT 3.0 (`.raw`): header lines `% key value`, then little-endian 16-bit words, each of which
 * sets a part of the state (time, row, column, polarity); ADDR_X gives an event, VECT_12 and VECT_8 one for
 * each bit.
 *
 * Convention: origin at the upper left, polarity 1 = ON. A TIME_HIGH that differs from the last one sets the
 * low 12 bits to zero; one that is repeated leaves them. Low bits that step back are kept as they are:
 * cameras do that by a few µs. Events before the first TIME_HIGH have no time: they are skipped and
 * counted (`beforeTimeHigh`), and so are trigger and other words. ADDR_Y's camera bit is not looked at.
 *
 * The encoder joins events of one time, row and polarity into vectors where that is shorter. Any order of
 * times from 0 on can be read back; gaps cost a few words for each 16.8 s and may last 51 days.
 *
 * Source: OpenEB `evt3_decoder.h`; ros-event-camera `event_camera_codecs`.
 */
export const evt3 = defineEvt({
  name: 'evt3',
  version: '3.0',
  extensions: ['evt3'],
  decoder: (sensor, { report, compiled }) => new Evt3Decoder(sensor, report, compiled),
  encoder: (sensor, { compiled }) => new Evt3Encoder(sensor, compiled),
});

/** The words of EVT 3.0, without a header around them; containers keep one from packet to packet. */
export class Evt3Decoder implements BlockDecoder {
  private high = -1;
  private loops = 0;
  /** Time of the last TIME_HIGH, µs; below zero before the first. */
  private highUs = -1;
  private lowUs = 0;
  private row = 0;
  private baseX = 0;
  private on = 0;
  /** Bits of a vector that did not fit into the last batch: bit i is an event at `maskX + i`. */
  private mask = 0;
  private maskX = 0;
  private readonly compiled: CompiledLoop | undefined;

  constructor(
    readonly sensor: SensorSize,
    private readonly report: DecodeReport,
    compiled?: boolean,
  ) {
    this.compiled = CompiledLoop.of('decodeEvt3', compiledStateLength, compiled);
  }

  mark(input: ByteReader): DecodeMark {
    return { offset: input.offset, state: this.state };
  }

  resume(state: readonly number[]): void {
    [this.high, this.loops, this.highUs, this.lowUs, this.row] = state;
    [this.baseX, this.on, this.mask, this.maskX] = state.slice(5);
  }

  private get state(): number[] {
    const { high, loops, highUs, lowUs, row, baseX, on, mask, maskX } = this;
    return [high, loops, highUs, lowUs, row, baseX, on, mask, mask === 0 ? 0 : maskX];
  }

  decode(input: ByteReader, events: BatchBuilder, full: number): void {
    if (this.compiled !== undefined && this.highUs >= 0) {
      this.runCompiled(this.compiled, input, events, full);
    }
    if (events.length >= full || (input.available < wordLength && this.mask === 0)) return;
    input.align(wordLength);
    const { halfWords } = input;
    const { tUs, x, y, polarity } = events;
    const { width, height } = this.sensor;
    const end = input.end >> 1;
    let at = input.position >> 1;
    let count = events.length;
    let { row, baseX, on, mask, maskX } = this;
    let { highUs } = this;
    let timeUs = highUs + this.lowUs;
    // Before the first TIME_HIGH no event is in the visible part.
    let visible = highUs >= 0 && row < height ? width : 0;
    let dropped = 0;
    for (;;) {
      // The lowest bit of a vector first.
      while (mask !== 0 && count < full) {
        const column = maskX + (31 - Math.clz32(mask & -mask));
        mask &= mask - 1;
        if (column < visible) {
          tUs[count] = timeUs;
          x[count] = column;
          y[count] = row;
          polarity[count++] = on;
        } else {
          dropped++;
        }
      }
      if (count >= full || at >= end) break;
      const word = halfWords[at++];
      switch (word >>> 12) {
        case addressX: {
          const column = word & 0x7ff;
          on = (word >>> 11) & 1;
          if (column < visible) {
            tUs[count] = timeUs;
            x[count] = column;
            y[count] = row;
            polarity[count++] = on;
          } else {
            dropped++;
          }
          break;
        }
        case addressY:
          row = word & 0x7ff;
          visible = highUs >= 0 && row < height ? width : 0;
          break;
        case timeLow:
          this.lowUs = word & 0xfff;
          timeUs = highUs + this.lowUs;
          break;
        case vectorBaseX:
          baseX = word & 0x7ff;
          on = (word >>> 11) & 1;
          break;
        case vector12:
          mask = word & 0xfff;
          maskX = baseX;
          baseX += 12;
          break;
        case vector8:
          mask = word & 0xff;
          maskX = baseX;
          baseX += 8;
          break;
        case timeHigh:
          if (highUs < 0) {
            this.countDropped(dropped);
            dropped = 0;
          }
          this.updateHigh(word & 0xfff);
          highUs = this.highUs;
          timeUs = highUs + this.lowUs;
          visible = row < height ? width : 0;
          break;
        default:
          this.passOver(word >>> 12, input.offsetOf((at - 1) * wordLength));
      }
    }
    this.row = row;
    this.baseX = baseX;
    this.on = on;
    this.mask = mask;
    this.maskX = maskX;
    events.length = count;
    input.position = at * wordLength;
    this.countDropped(dropped);
  }

  private runCompiled(
    loop: CompiledLoop,
    input: ByteReader,
    events: BatchBuilder,
    full: number,
  ): void {
    const { state } = loop;
    state.set(this.state);
    loop.decode(input, events, full, this.sensor);
    this.resume([...state]);
    countSkipped(this.report, 'outsideSensor', state[compiledStateLength - 1]);
  }

  private passOver(type: number, offset: number): void {
    if (otherTypes[type] !== undefined) countSkipped(this.report, otherTypes[type]);
    else reportDamage(this.report, offset, `word of unknown type 0x${type.toString(16)}`);
  }

  private countDropped(count: number): void {
    countSkipped(this.report, this.highUs < 0 ? 'beforeTimeHigh' : 'outsideSensor', count);
  }

  private updateHigh(value: number): void {
    if (value === this.high) return;
    if (this.high >= 0) {
      const step = value - this.high;
      if (step <= -wrapDrop) this.loops++;
      else if (step >= unwrapRise && this.loops > 0) this.loops--;
    }
    this.high = value;
    this.highUs = this.loops * loopUs + value * timeHighCount;
    this.lowUs = 0;
  }
}

/** The way back; `write` and `end` also without a header, for containers. */
export class Evt3Encoder implements EventEncoder {
  private high = -1;
  private loop = 0;
  private highUs = -Infinity;
  private lowUs = -1;
  private row = -1;

  // Events of one time, row and polarity with rising x, which wait to be written: up to 12 pixels.
  private waiting = 0;
  private waitingX = 0;
  private waitingOn = 0;
  /** Where the next vector begins without a VECT_BASE_X, and its polarity. */
  private baseX = -1;
  private baseOn = 0;
  private readonly compiled: ReturnType<typeof compiledEvt3Writer>;
  private readonly compiledState = new Float64Array(10);

  constructor(
    private readonly sensor: SensorSize,
    compiled?: boolean,
  ) {
    this.compiled = compiledEvt3Writer(compiled);
  }

  begin(output: ByteWriter): void {
    output.writeText(evtHeader('3.0', 'EVT3', this.sensor));
  }

  write(
    output: ByteWriter,
    tUs: number,
    x: number,
    y: number,
    polarity: number,
  ): string | undefined {
    if (tUs < 0) return 'EVT 3.0 has no times below zero';
    if (Math.abs(Math.floor(tUs / loopUs) - this.loop) > maxLoops) {
      return 'EVT 3.0 would need words for each 16.8 s of the gap before it; shift the times to start near zero';
    }
    if (y !== this.row || tUs !== this.highUs + this.lowUs) {
      this.flush(output);
      this.moveTo(output, tUs);
      if (y !== this.row) this.put(output, (addressY << 12) | y);
      this.row = y;
    }
    this.add(output, x, polarity);
    return undefined;
  }

  writeRun(output: ByteWriter, batch: EventBatch, start: number, end: number): number {
    const { tUs, x, y, polarity } = batch;
    output.reserve(5 * (end - start + 12) * wordLength);
    if (this.compiled !== undefined) return this.runCompiled(output, batch, start, end);
    const { halfWords } = output;
    let at = output.length >> 1;
    const { highUs } = this;
    let { lowUs, row, waiting, waitingX, waitingOn } = this;
    let i = start;
    for (; i < end; i++) {
      const newUs = tUs[i] - highUs;
      const newRow = y[i];
      const newOn = polarity[i] === 0 ? 0 : 1;
      const newX = x[i];
      const offset = newX - waitingX;
      if (newUs === lowUs && newRow === row && newOn === waitingOn && offset < 12 && offset >= 0) {
        // Only a bit above all others keeps the order.
        const bit = 1 << offset;
        if (bit > waiting) {
          waiting |= bit;
          continue;
        }
      }
      if (waiting !== 0) {
        at = this.writeWaiting(halfWords, at, waiting, waitingX, waitingOn);
        waiting = 0;
      }
      if (newUs !== lowUs) {
        if (!(newUs >= 0 && newUs < timeHighCount)) break;
        lowUs = newUs;
        halfWords[at++] = (timeLow << 12) | lowUs;
      }
      if (newRow !== row) {
        row = newRow;
        halfWords[at++] = (addressY << 12) | row;
      }
      waiting = 1;
      waitingX = newX;
      waitingOn = newOn;
    }
    this.lowUs = lowUs;
    this.row = row;
    this.waiting = waiting;
    this.waitingX = waitingX;
    this.waitingOn = waitingOn;
    output.length = at << 1;
    return i;
  }

  private runCompiled(output: ByteWriter, batch: EventBatch, start: number, end: number): number {
    const state = this.compiledState;
    state[0] = this.highUs;
    state[1] = this.lowUs;
    state[2] = this.row;
    state[3] = this.waiting;
    state[4] = this.waitingX;
    state[5] = this.waitingOn;
    state[6] = this.baseX;
    state[7] = this.baseOn;
    const next = this.compiled!(output, batch, start, end, state);
    [, this.lowUs, this.row, this.waiting, this.waitingX, this.waitingOn] = state;
    this.baseX = state[6];
    this.baseOn = state[7];
    return next;
  }

  end(output: ByteWriter): void {
    this.flush(output);
  }

  private add(output: ByteWriter, x: number, on: number): void {
    const offset = x - this.waitingX;
    const joins = this.waiting !== 0 && on === this.waitingOn && offset >= 0 && offset < 12;
    if (joins && 1 << offset > this.waiting) {
      this.waiting |= 1 << offset;
      return;
    }
    this.flush(output);
    this.waiting = 1;
    this.waitingX = x;
    this.waitingOn = on;
  }

  private flush(output: ByteWriter): void {
    if (this.waiting === 0) return;
    output.reserve(13 * wordLength);
    const { waiting, waitingX, waitingOn } = this;
    output.length =
      this.writeWaiting(output.halfWords, output.length >> 1, waiting, waitingX, waitingOn) << 1;
    this.waiting = 0;
  }

  /** Writes what waits as one vector or as single events, and returns the index behind it. */
  private writeWaiting(
    halfWords: Uint16Array,
    start: number,
    waiting: number,
    x: number,
    on: number,
  ): number {
    let at = start;
    if (waiting === 1) {
      halfWords[at++] = (addressX << 12) | (on << 11) | x;
      return at;
    }
    const goesOn = x === this.baseX && on === this.baseOn;
    let rest = waiting;
    let count = 0;
    for (; rest !== 0; rest &= rest - 1) count++;
    if (count >= vectorEvents || (goesOn && count >= vectorEvents - 1)) {
      if (!goesOn) halfWords[at++] = (vectorBaseX << 12) | (on << 11) | x;
      halfWords[at++] = (vector12 << 12) | waiting;
      this.baseX = x + 12;
      this.baseOn = on;
      return at;
    }
    for (rest = waiting; rest !== 0; rest &= rest - 1) {
      const bit = 31 - Math.clz32(rest & -rest);
      halfWords[at++] = (addressX << 12) | (on << 11) | (x + bit);
    }
    return at;
  }

  private moveTo(output: ByteWriter, tUs: number): void {
    const loop = Math.floor(tUs / loopUs);
    const high = Math.floor((tUs - loop * loopUs) / timeHighCount);
    for (; this.loop < loop; this.loop++) this.wrap(output, timeHighCount - 1, 0);
    for (; this.loop > loop; this.loop--) this.wrap(output, 0, timeHighCount - 1);
    this.stepTo(output, high);
    this.highUs = loop * loopUs + high * timeHighCount;
    const lowUs = tUs - this.highUs;
    if (lowUs !== this.lowUs) this.put(output, (timeLow << 12) | lowUs);
    this.lowUs = lowUs;
  }

  private wrap(output: ByteWriter, from: number, to: number): void {
    this.stepTo(output, from);
    this.putHigh(output, to);
  }

  /** Stops on the way keep a large step within a loop from looking like a wrap. */
  private stepTo(output: ByteWriter, high: number): void {
    while (this.high >= 0 && Math.abs(high - this.high) > largestStep) {
      this.putHigh(output, this.high + (high > this.high ? largestStep : -largestStep));
    }
    if (high !== this.high) this.putHigh(output, high);
  }

  private putHigh(output: ByteWriter, high: number): void {
    this.put(output, (timeHigh << 12) | high);
    this.high = high;
    this.lowUs = -1;
  }

  private put(output: ByteWriter, word: number): void {
    output.reserve(wordLength);
    output.halfWords[output.length >> 1] = word;
    output.length += wordLength;
  }
}

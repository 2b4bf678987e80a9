/** Types of the words of EVT 2.0 and 2.1 (the upper four bits; of the upper half, where there are two). */
export const timeHigh = 0x8;
export const otherTypes: Readonly<Record<number, string>> = {
  0xa: 'trigger',
  0xd: 'imu',
  0xe: 'other',
  0xf: 'continued',
};

/** TIME_HIGH of EVT 2.0 and 2.1 counts 64 µs in 28 bits: it wraps every 2^34 µs (4.8 h). */
const timeHighCount = 2 ** 28;
const timeHighMiddle = 2 ** 27;
const loopUs = 2 ** 34;
/** A TIME_HIGH that jumps by this much has wrapped; smaller backward steps are kept as they are. */
const wrapJump = timeHighCount - 2 ** 22;

/** Continues TIME_HIGH values over their wraps. */
export class TimeHighReader {
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

  get state(): number[] {
    return [this.last, this.loops, this.us];
  }

  set state([last, loops, us]: readonly number[]) {
    this.last = last;
    this.loops = loops;
    this.us = us;
  }
}

/**
 * The other way round: which TIME_HIGH values lead from the last time to the next, so that any time from 0 to
 * 2^53-1 µs and any order can be read back. It passes a wrap by the largest value and then zero.
 */
export class TimeHighWriter {
  private value = -1;
  private loop = 0;
  /** Times from `us` on and below `us + 64` need no TIME_HIGH. */
  us = -Infinity;

  /** The one value that leads to this time, where one is enough; -1 where `moveTo` must find the way. */
  moveToNext(tUs: number): number {
    const value = this.value + Math.floor((tUs - this.us) / 64);
    if (!(value > this.value && value < timeHighCount && value - this.value < wrapJump)) return -1;
    this.us += 64 * (value - this.value);
    this.value = value;
    return value;
  }

  /** @param write is given each value in turn. */
  moveTo(tUs: number, write: (value: number) => void): void {
    const loop = Math.floor(tUs / loopUs);
    const value = Math.floor((tUs - loop * loopUs) / 64);
    if (value === this.value && loop === this.loop) return;
    for (; this.loop < loop; this.loop++) this.wrap(timeHighCount - 1, 0, write);
    for (; this.loop > loop; this.loop--) this.wrap(0, timeHighCount - 1, write);
    if (value !== this.value) this.step(value, write);
    this.us = loop * loopUs + value * 64;
  }

  private wrap(from: number, to: number, write: (value: number) => void): void {
    this.step(from, write);
    write(to);
    this.value = to;
  }

  /** Within a loop, a stop in the middle keeps a large step from looking like a wrap. */
  private step(value: number, write: (value: number) => void): void {
    if (this.value >= 0 && Math.abs(value - this.value) >= wrapJump) write(timeHighMiddle);
    write(value);
    this.value = value;
  }
}

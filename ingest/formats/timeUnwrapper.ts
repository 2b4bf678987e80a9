const wrapUs = 2 ** 32;
const half = wrapUs / 2;

/** Continues 32-bit times in µs, signed or unsigned, over their wraps (71.6 min). */
export class TimeUnwrapper {
  /** The last time as stored. */
  last = 0;
  /** What to add to stored times, µs. */
  offsetUs = 0;

  /** The time of the next stored value. */
  next(raw: number): number {
    const step = raw - this.last;
    if (step < -half || step > half) this.jump(step);
    this.last = raw;
    return raw + this.offsetUs;
  }

  /**
   * Takes note of a step of more than half the range, and returns the new offset: down is a wrap, up goes
   * back over one. Hot loops call it themselves.
   */
  jump(step: number): number {
    if (step < 0) this.offsetUs += wrapUs;
    else if (this.offsetUs > 0) this.offsetUs -= wrapUs;
    return this.offsetUs;
  }

  get state(): number[] {
    return [this.last, this.offsetUs];
  }

  set state([last, offsetUs]: readonly number[]) {
    this.last = last;
    this.offsetUs = offsetUs;
  }
}

/** A step between stored times that is larger than this, up or down, goes over a wrap. */
export const largestStep = half;

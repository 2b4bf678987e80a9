/** Where a spike arrives, how many frames later, and with what weight. */
export interface DelayLine {
  readonly output: number;
  readonly delay: number;
  readonly weight: number;
}

/** The lines of each input. */
export interface DelayLines {
  readonly outputs: number;
  readonly maxDelay: number;
  readonly lines: readonly (readonly DelayLine[])[];
}

/** What is under way, by the frame in which it arrives, and the frame that comes next. */
export interface DelayBuffer {
  readonly frame: number;
  /** `[maxDelay + 1, outputs]`, a ring: frame t stands at t mod (maxDelay + 1). */
  readonly pending: Float32Array;
}

export function emptyBuffer({ outputs, maxDelay }: DelayLines): DelayBuffer {
  return { frame: 0, pending: new Float32Array((maxDelay + 1) * outputs) };
}

/**
 * One frame of a stream: each spike is scattered along its lines, at a cost of spikes × lines, and what arrives is given out.
 *
 * @param spikes inputs that fired in this frame, each with its strength (1 for a spike).
 * @returns sums that arrive in this frame, `[outputs]`, the next buffer, and the additions made.
 */
export function scatterSpikes(
  { outputs, maxDelay, lines }: DelayLines,
  spikes: Iterable<readonly [input: number, strength: number]>,
  { frame, pending }: DelayBuffer,
): { output: Float32Array; buffer: DelayBuffer; additions: number } {
  const next = pending.slice();
  let additions = 0;
  for (const [input, strength] of spikes) {
    for (const { output, delay, weight } of lines[input]) {
      next[((frame + delay) % (maxDelay + 1)) * outputs + output] += strength * weight;
      additions++;
    }
  }
  const at = (frame % (maxDelay + 1)) * outputs;
  const output = next.slice(at, at + outputs);
  next.fill(0, at, at + outputs);
  return { output, buffer: { frame: frame + 1, pending: next }, additions };
}

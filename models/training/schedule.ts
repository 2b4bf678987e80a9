export interface ScheduleOptions {
  /** The peak learning rate. */
  readonly base: number;
  /** The learning rate of the last step; 0 where not given. */
  readonly final?: number;
  /** Steps of linear warm-up, 0 for none. */
  readonly warmupSteps: number;
  /** Steps of the whole run. */
  readonly totalSteps: number;
}

/**
 * Linear warm-up, then half a cosine (Loshchilov & Hutter, SGDR, ICLR 2017, one cycle). With W warm-up
 * steps, T steps and p = max(W, 1) - 1 the step of the peak:
 *
 *     step <= p           base * (step + 1) / max(W, 1)
 *     p < step < T - 1    final + (base - final) * (1 + cos(pi * (step - p) / (T - 1 - p))) / 2
 *     step >= T - 1       final
 *
 * So the first step already learns (base / W), step W - 1 (step 0 without warm-up) has exactly `base`,
 * and step T - 1, the last, exactly `final`. Warm-up wins where it is as long as the run.
 *
 * @param step optimizer step, counted from 0 over the whole run.
 */
export function learningRateAt(
  step: number,
  { base, final = 0, warmupSteps, totalSteps }: ScheduleOptions,
): number {
  const peakStep = Math.max(warmupSteps, 1) - 1;
  const lastStep = totalSteps - 1;
  if (step <= peakStep) return base * ((step + 1) / (peakStep + 1));
  if (step >= lastStep) return final;
  const share = (step - peakStep) / (lastStep - peakStep);
  return final + ((base - final) * (1 + Math.cos(Math.PI * share))) / 2;
}

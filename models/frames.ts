/** Frames that clips have had: one number for a whole batch, or one for each of its clips. */
export type FrameCount = number | readonly number[];

/** The count after so many more frames; undefined stands for the start of a clip. */
export function framesAfter<F extends FrameCount>(before: F | undefined, time: number): F {
  const frame: FrameCount = before ?? 0;
  return (typeof frame === 'number' ? frame + time : frame.map((count) => count + time)) as F;
}

import { permutation, type Random } from '../../engine/support/random.js';
import { beta } from './mixup.js';

/**
 * CutMix (Yun et al., ICCV 2019) on event tensors: in every clip a rectangle, the same in all bins and
 * channels (Li et al., Neuromorphic data augmentation, ECCV 2022), is taken from another clip of the batch.
 * Its middle is drawn anywhere, its sides are √(1 - λ) of the frame's with λ ~ Beta(α, α), and what lies
 * outside is cut off; one rectangle a batch. Targets are mixed by the share of the area.
 *
 * @param inputs clips, row-major; not changed.
 * @param shape `[batch, time, channels, height, width]`.
 * @param targets their targets, `[batch, classes]`; not changed.
 * @param alpha in (0, 1].
 */
export function cutmix(
  inputs: Float32Array,
  shape: readonly number[],
  targets: Float32Array,
  alpha: number,
  random: Random,
): { inputs: Float32Array; targets: Float32Array } {
  const [count, time, channels, height, width] = shape;
  const side = Math.sqrt(1 - beta(alpha, random));
  const [left, right] = stretch(width, side, random);
  const [top, bottom] = stretch(height, side, random);
  const own = 1 - ((right - left) * (bottom - top)) / (width * height);
  const partner = permutation(count, random);
  const planes = time * channels;
  const cut = inputs.slice();
  for (let i = 0; i < count; i++) {
    for (let plane = 0; plane < planes; plane++) {
      for (let row = top; row < bottom; row++) {
        const at = (clip: number): number => ((clip * planes + plane) * height + row) * width;
        const from = at(partner[i]);
        cut.set(inputs.subarray(from + left, from + right), at(i) + left);
      }
    }
  }
  const classes = targets.length / count;
  const mixed = targets.map((target, i) => {
    const clip = Math.floor(i / classes);
    const other = targets[partner[clip] * classes + (i % classes)];
    return own * target + (1 - own) * other;
  });
  return { inputs: cut, targets: mixed };
}

/** A stretch of an axis, a share of it long, whose middle is drawn anywhere; cut off at the ends. */
function stretch(extent: number, share: number, random: Random): [from: number, to: number] {
  const length = Math.round(extent * share);
  const from = random.integer(extent) - Math.floor(length / 2);
  return [Math.max(0, from), Math.min(extent, from + length)];
}

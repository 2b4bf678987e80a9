import { permutation, type Random } from '../../engine/support/random.js';

/**
 * Mixup (Zhang et al. 2018): every clip and its target become λ · own + (1 - λ) · another's of the
 * batch, with one λ ~ Beta(α, α) a batch.
 *
 * @param inputs clips, row-major, `count` of them; not changed.
 * @param targets their targets, likewise.
 * @param alpha in (0, 1].
 */
export function mixup(
  inputs: Float32Array,
  targets: Float32Array,
  count: number,
  alpha: number,
  random: Random,
): { inputs: Float32Array; targets: Float32Array } {
  const own = beta(alpha, random);
  const partner = permutation(count, random);
  const mix = (values: Float32Array): Float32Array => {
    const size = values.length / count;
    const mixed = new Float32Array(values.length);
    for (let i = 0; i < count; i++) {
      const from = partner[i] * size;
      for (let j = 0; j < size; j++) {
        mixed[i * size + j] = own * values[i * size + j] + (1 - own) * values[from + j];
      }
    }
    return mixed;
  };
  return { inputs: mix(inputs), targets: mix(targets) };
}

/** Beta(α, α) for α ≤ 1 by Jöhnk's method (1964): powers of uniforms, accepted where they sum below 1. */
export function beta(alpha: number, random: Random): number {
  for (;;) {
    const a = random.uniform() ** (1 / alpha);
    const b = random.uniform() ** (1 / alpha);
    if (a + b <= 1 && a + b > 0) return a / (a + b);
  }
}

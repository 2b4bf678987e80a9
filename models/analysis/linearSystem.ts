import * as tf from '@tensorflow/tfjs-core';

import type { LinearMixer } from '../mixers/linear/cell.js';
import type { LinearSystem } from '../mixers/tokenMixer.js';
import type { ParameterTree } from '../parameters.js';

/**
 * Runs a linear system step by step: `h[i] = Λ[i] h[i-1] + B[i] u[i]ᵀ`, `y[i] = C[i] h[i] + D[i] u[i]`, from
 * h = 0 (the dynamical systems framework, Sieber et al. 2024, eq. 3).
 *
 * @returns y, `[batch, heads, tokens, values]`.
 */
export function runSystem(system: LinearSystem): tf.Tensor {
  const { transition, input, output, values, skip } = system;
  const [batch, heads, tokens, states] = input.shape as [number, number, number, number];
  const width = values.shape[3]!;
  const token = (x: tf.Tensor, t: number): tf.Tensor => {
    const rest = x.shape.slice(3);
    return tf.reshape(tf.slice(x, [0, 0, t, ...rest.map(() => 0)], [batch, heads, 1, ...rest]), [
      batch,
      heads,
      ...rest,
    ]);
  };
  let h: tf.Tensor = tf.zeros([batch, heads, states, width]);
  const outputs = Array.from({ length: tokens }, (_, t) => {
    const step = token(transition, t);
    const kept = step.rank === 4 ? tf.matMul(step, h) : tf.mul(tf.expandDims(step, 3), h);
    const u = tf.expandDims(token(values, t), 2);
    h = tf.add(kept, tf.matMul(tf.expandDims(token(input, t), 3), u));
    const y = tf.matMul(tf.expandDims(token(output, t), 2), h);
    return skip === undefined ? y : tf.add(y, tf.mul(tf.expandDims(token(skip, t), 3), u));
  });
  return tf.concat(outputs, 2);
}

/**
 * A linear mixer's output by its systems alone: what its own forms must equal. Undefined for a mixer that
 * is no linear system of its values.
 *
 * @param x `[batch, tokens, width]`.
 */
export function bySystems(
  mixer: LinearMixer,
  parameters: ParameterTree,
  x: tf.Tensor,
): { readonly systems: readonly LinearSystem[]; readonly output: tf.Tensor } | undefined {
  if (mixer.systems === undefined) return undefined;
  const { systems, finish } = mixer.systems(parameters, x);
  return { systems, output: finish(systems.map(runSystem)) };
}

/** A system as numbers, for export: nested arrays as in `LinearSystem`'s shapes. */
export type ExportedSystem = { readonly [name in keyof LinearSystem]: unknown };

/** Λ, B, C, D and u of each of a mixer's systems as plain data; D is null where there is none. */
export function exportSystems(systems: readonly LinearSystem[]): readonly ExportedSystem[] {
  return systems.map(({ transition, input, output, values, skip }) => ({
    transition: transition.arraySync(),
    input: input.arraySync(),
    output: output.arraySync(),
    values: values.arraySync(),
    skip: skip?.arraySync() ?? null,
  }));
}

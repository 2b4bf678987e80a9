import type * as tf from '@tensorflow/tfjs-core';

/** First values of a network's leaves, some of them from another run. */
export interface InitialLeaves {
  readonly leaves: Map<string, tf.Tensor>;
  /** Paths whose values are the other run's. */
  readonly taken: readonly string[];
  /** Those that stay fresh, and the other run's shape where it has the path. */
  readonly fresh: readonly { readonly path: string; readonly found?: readonly number[] }[];
  /** Paths of the other run that this network does not have. */
  readonly unused: readonly string[];
}

/** A fresh network's leaves, with another run's in place of those whose path and shape are the same. Disposes nothing. */
export function initialLeaves(
  fresh: ReadonlyMap<string, tf.Tensor>,
  other: ReadonlyMap<string, tf.Tensor>,
): InitialLeaves {
  const matches = (path: string, { shape }: tf.Tensor): boolean =>
    other.get(path)?.shape.join() === shape.join();
  const entries = [...fresh];
  return {
    leaves: new Map(
      entries.map(([path, value]) => [path, matches(path, value) ? other.get(path)! : value]),
    ),
    taken: entries.filter((entry) => matches(...entry)).map(([path]) => path),
    fresh: entries
      .filter((entry) => !matches(...entry))
      .map(([path]) => ({ path, found: other.get(path)?.shape })),
    unused: [...other.keys()].filter((path) => !fresh.has(path)),
  };
}

import * as tf from '@tensorflow/tfjs-core';

import { createRandom } from '../engine/support/random.js';

/** Parameters as a named tree; a leaf's name is its path, e.g. `blocks.0.attention.query.weight`. */
export interface ParameterTree {
  readonly [name: string]: tf.Tensor | ParameterTree;
}

/** A tree's leaves by path, in a fixed order (sorted by path). */
export function flatten(tree: ParameterTree): Map<string, tf.Tensor> {
  const leaves: [string, tf.Tensor][] = [];
  const visit = (node: ParameterTree, prefix: string): void => {
    for (const [name, child] of Object.entries(node)) {
      const path = prefix === '' ? name : `${prefix}.${name}`;
      if (child instanceof tf.Tensor) leaves.push([path, child]);
      else visit(child, path);
    }
  };
  visit(tree, '');
  return new Map(leaves.sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** The inverse of `flatten`. */
export function unflatten(leaves: ReadonlyMap<string, tf.Tensor>): ParameterTree {
  type Node = { [name: string]: tf.Tensor | Node };
  const root: Node = {};
  for (const [path, tensor] of leaves) {
    const names = path.split('.');
    const last = names.pop()!;
    let node = root;
    for (const name of names) node = (node[name] ??= {}) as Node;
    node[last] = tensor;
  }
  return root;
}

/**
 * Running statistics are carried in the tree but are not trained, nor are selectors, which choose keys and have a loss of
 * their own.
 */
export function isTrainable(path: string): boolean {
  return !/(^|\.)(running(Mean|Variance)$|selector\.)/.test(path);
}

/** Number of trained values. */
export function countParameters(tree: ParameterTree): number {
  let count = 0;
  for (const [path, tensor] of flatten(tree)) if (isTrainable(path)) count += tensor.size;
  return count;
}

export function disposeTree(tree: ParameterTree): void {
  for (const tensor of flatten(tree).values()) tensor.dispose();
}

/** Draws first values: one generator per path, so that adding a layer leaves the others as they were. */
export class Initialiser {
  constructor(
    private readonly seed: number,
    private readonly path: string = '',
  ) {}

  within(name: string | number): Initialiser {
    return new Initialiser(this.seed, `${this.path}.${name}`);
  }

  /** Normal with the given standard deviation. */
  normal(name: string, shape: number[], deviation: number): tf.Tensor {
    const random = createRandom(this.seed, 'initialise', this.path, name);
    return this.fill(shape, () => deviation * random.normal());
  }

  /** Uniform between the bounds. */
  uniform(name: string, shape: number[], low: number, high: number): tf.Tensor {
    const random = createRandom(this.seed, 'initialise', this.path, name);
    return this.fill(shape, () => low + (high - low) * random.uniform());
  }

  constant(shape: number[], value: number): tf.Tensor {
    return this.fill(shape, () => value);
  }

  /** The values of a function of the flat index. */
  fill(shape: number[], value: (index: number) => number): tf.Tensor {
    const size = shape.reduce((a, b) => a * b, 1);
    return tf.tensor(
      Float32Array.from({ length: size }, (_, i) => value(i)),
      shape,
    );
  }

  /** `[inputs, outputs]` with variance gain² / inputs (LeCun et al. 1998). */
  weight(name: string, inputs: number, outputs: number, gain = 1): tf.Tensor {
    return this.normal(name, [inputs, outputs], gain / Math.sqrt(inputs));
  }
}

import { readFile } from 'node:fs/promises';

import * as tf from '@tensorflow/tfjs-core';

import { writeFileAtomically } from '../../engine/support/atomicFile.js';
import { SaccadeError } from '../../engine/support/errors.js';
import { flatten, unflatten, type ParameterTree } from '../parameters.js';
import { decodeSafetensors, encodeSafetensors, type TensorToStore } from './safetensors.js';

/** The moments of the optimiser for each trained parameter, by path. */
export interface OptimiserState {
  readonly m: ReadonlyMap<string, tf.Tensor>;
  readonly v: ReadonlyMap<string, tf.Tensor>;
}

/**
 * What a checkpoint file holds: one safetensors file with the parameters under `parameters.`, the
 * optimiser's moments under `optimiser.m.` and `optimiser.v.`, and JSON texts in its metadata. One file,
 * so that it is replaced at once.
 */
export interface Checkpoint {
  readonly parameters: ParameterTree;
  readonly optimiser?: OptimiserState;
  /** JSON values by name, e.g. `experiment` and `progress`. */
  readonly metadata: Readonly<Record<string, unknown>>;
}

const prefixes = { parameters: 'parameters.', m: 'optimiser.m.', v: 'optimiser.v.' } as const;

export async function writeCheckpoint(path: string, checkpoint: Checkpoint): Promise<void> {
  const tensors = new Map<string, TensorToStore>();
  const add = (prefix: string, leaves: ReadonlyMap<string, tf.Tensor>): void => {
    for (const [name, tensor] of leaves) {
      tensors.set(prefix + name, { shape: tensor.shape, data: tensor.dataSync<'float32'>() });
    }
  };
  add(prefixes.parameters, flatten(checkpoint.parameters));
  if (checkpoint.optimiser !== undefined) {
    add(prefixes.m, checkpoint.optimiser.m);
    add(prefixes.v, checkpoint.optimiser.v);
  }
  const metadata = Object.fromEntries(
    Object.entries(checkpoint.metadata).map(([name, value]) => [name, JSON.stringify(value)]),
  );
  await writeFileAtomically(path, encodeSafetensors(tensors, metadata));
}

/** @throws SaccadeError of kind `input` where the file is missing, damaged or no checkpoint. */
export async function readCheckpoint(path: string): Promise<Checkpoint> {
  const bytes = await readFile(path).catch((error: NodeJS.ErrnoException) => {
    throw new SaccadeError('input', `cannot read the checkpoint (${error.code ?? error.message})`, {
      file: path,
    });
  });
  const { tensors, metadata } = decodeSafetensors(bytes, path);
  const group = (prefix: string): Map<string, tf.Tensor> => {
    const leaves = new Map<string, tf.Tensor>();
    for (const [name, { data, shape }] of tensors) {
      if (!name.startsWith(prefix)) continue;
      if (!(data instanceof Float32Array)) {
        throw new SaccadeError('input', `tensor '${name}' is not float32`, { file: path });
      }
      leaves.set(name.slice(prefix.length), tf.tensor(data, [...shape]));
    }
    return leaves;
  };
  const parameters = group(prefixes.parameters);
  if (parameters.size === 0) {
    throw new SaccadeError(
      'input',
      `no tensors named '${prefixes.parameters}…': not a checkpoint`,
      {
        file: path,
      },
    );
  }
  const m = group(prefixes.m);
  return {
    parameters: unflatten(parameters),
    ...(m.size > 0 && { optimiser: { m, v: group(prefixes.v) } }),
    metadata: Object.fromEntries(
      Object.entries(metadata).map(([name, text]) => [name, parseJson(text, name, path)]),
    ),
  };
}

function parseJson(text: string, name: string, file: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new SaccadeError('input', `metadata '${name}' is not JSON`, { file });
  }
}

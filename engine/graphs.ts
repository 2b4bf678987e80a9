import * as tf from '@tensorflow/tfjs-core';

import { zeros } from './ops/zeros.js';
import { SaccadeError } from './support/errors.js';

/** A recorded run: the same work on the same memory, started at once. */
export interface Graph {
  replay(): void;
  dispose(): void;
}

/** What a backend offers that can record runs and repeat them. */
interface Recording {
  capture(run: () => void): Graph;
  assign(target: tf.TensorInfo, source: tf.TensorInfo): void;
}

function recording(): Recording | undefined {
  const backend = tf.backend() as unknown as Partial<Recording>;
  return backend.capture === undefined ? undefined : (backend as Recording);
}

/** Whether the current backend can `capture`, and so `assign`. */
export function canCapture(): boolean {
  return recording() !== undefined;
}

/**
 * Records what `run` starts on the device, without doing it; each `replay` then does it. The tensors that `run` reads
 * are read where they lie now, and must be kept until the graph is disposed; what it made is gone, but for what it
 * assigned to tensors from outside. Values that it takes from the host are those of the recording. Something like it
 * should have run before: what is set up once is not for a graph.
 *
 * @throws SaccadeError where `run` reads on the host what the device computes; the backend has no graphs.
 */
export function capture(run: () => void): Graph {
  return only('a graph').capture(() =>
    tf.tidy(() => {
      run();
    }),
  );
}

/**
 * Writes the values of one tensor into another's memory: the one way in which a tensor changes, for what graphs keep
 * from replay to replay. All tensors that share that memory change with it.
 *
 * @throws SaccadeError where the backend has no graphs; RangeError where sizes or types differ.
 */
export function assign(target: tf.Tensor, source: tf.Tensor): void {
  if (target.dataId === source.dataId) return;
  if (target.size !== source.size || target.dtype !== source.dtype) {
    const of = ({ dtype, shape }: tf.Tensor): string => `${dtype}[${shape.join(', ')}]`;
    throw new RangeError(`cannot assign ${of(source)} to ${of(target)}`);
  }
  only('assignment').assign(target, source);
}

/** A tensor of the same values in memory of its own. */
export function copyOf(x: tf.Tensor): tf.Tensor {
  const copy = tf.tidy(() => tf.cast(zeros(x.shape), x.dtype));
  assign(copy, x);
  return copy;
}

/**
 * Starts the way of a tensor's values from the host to the device, where there is one: rather than when they are first needed,
 * while it still computes something else.
 */
export function sendAhead(x: tf.Tensor): void {
  const backend = tf.backend() as unknown as { sendAhead?: (x: tf.TensorInfo) => void };
  backend.sendAhead?.(x);
}

function only(what: string): Recording {
  const found = recording();
  if (found === undefined) {
    throw new SaccadeError('environment', `the backend ${tf.getBackend()} has no ${what}`);
  }
  return found;
}

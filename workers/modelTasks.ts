/** Tasks of the thread in which a `ModelThread`'s model lives. */
import * as tf from '@tensorflow/tfjs-core';

import { selectBackend } from '../engine/backend.js';
import { SaccadeError } from '../engine/support/errors.js';
import { inference } from '../models/context.js';
import type { InputShape } from '../models/model.js';
import { loadModel } from './runs.js';

export interface ModelSetup {
  /** Checkpoint or run folder. */
  readonly path: string;
  readonly backend?: string;
}

export interface ModelDescription {
  readonly classes: readonly string[];
  readonly input: InputShape;
  /** The backend that computes in the thread. */
  readonly backend: string;
}

/** One or more clips: `[batch, time, channels, height, width]`, row-major. */
export interface Clips {
  readonly values: Float32Array;
  readonly batch: number;
}

export default async function modelTasks({ path, backend }: ModelSetup) {
  const { name } = await selectBackend(backend);
  const { model, parameters, classes } = await loadModel(path);
  const { bins, channels, height, width } = model.input;
  return {
    describe: (): ModelDescription => ({ classes, input: model.input, backend: name }),
    /** Class probabilities after the last frame, `[batch, classes]`. */
    predict({ values, batch }: Clips): Float32Array {
      const shape = [batch, bins, channels, height, width];
      const size = tf.util.sizeFromShape(shape);
      if (!(values instanceof Float32Array) || values.length !== size) {
        throw new SaccadeError(
          'input',
          `expected ${size} float32 values for the shape [${shape.join(', ')}], found ${values.length}`,
          { field: 'values' },
        );
      }
      return tf.tidy(() => {
        const { logits } = model.apply(parameters, tf.tensor(values, shape), undefined, inference);
        const last = tf.slice(logits, [0, logits.shape[1]! - 1, 0], [batch, 1, classes.length]);
        return tf.softmax(last).dataSync() as Float32Array as never;
      });
    },
  };
}

import * as tf from '@tensorflow/tfjs-core';

import { SaccadeError } from '../../engine/support/errors.js';
import { inference, Recorder } from '../context.js';
import type { Model } from '../model.js';
import { flatten, isTrainable, unflatten, type ParameterTree } from '../parameters.js';
import {
  defaultSlots,
  distillationStep,
  distilledLeaves,
  isIn,
  type DistillationConfig,
  type MixerWithParameters,
} from './distillation.js';
import type { TrainingData } from './loop.js';
import { disposeTraining, startTraining, type TrainingState } from './step.js';

export interface LineariseOptions {
  /** A trained network whose mixers are mimicked. */
  readonly teacher: { readonly model: Model; readonly parameters: ParameterTree };
  /** The same network with other mixers, and its leaves: what it has in common with the teacher should be the teacher's. */
  readonly student: { readonly model: Model; readonly leaves: ReadonlyMap<string, tf.Tensor> };
  readonly data: Pick<TrainingData, 'train'>;
  readonly steps: number;
  readonly config: DistillationConfig;
  readonly signal?: AbortSignal;
  /** @param loss the mean over layers. */
  readonly onStep?: (progress: { readonly step: number; readonly loss: number }) => void;
}

/** A mixer that learns, and its teacher. */
interface Layer {
  readonly path: string;
  readonly teacher: MixerWithParameters;
  readonly student: MixerWithParameters;
}

/**
 * The first stage of making a trained network linear (Lizard, Nguyen et al. 2025): layer by layer, the slots of the student's
 * mixers learn to mimic the teacher's, each from what the teacher's layer reads. The second is to train the whole student.
 *
 * @returns what the student learned, by path; the caller owns it, and the leaves given are as they were.
 * @throws SaccadeError of kind `config` where no mixer could learn, `diverged` and `usage` as `distil` does, `interrupted` where
 *   the signal aborts.
 */
export async function linearise(options: LineariseOptions): Promise<Map<string, tf.Tensor>> {
  const { data, steps, config, signal, onStep } = options;
  const layers = learningLayers(options);
  const states = layers.map(({ student }) => startTraining(distilledLeaves(student.parameters)));
  try {
    for (let epoch = 0, step = 0; step < steps; epoch++) {
      const from = step;
      for await (const { inputs, shape } of data.train(epoch, 0)) {
        const recorder = readMixerInputs(options.teacher, inputs, shape);
        let loss: number;
        try {
          const losses = layers.map((layer, i) =>
            layerStep(layer, states, i, recorder.mixerInputs!.get(layer.path)!, config),
          );
          loss = losses.reduce((a, b) => a + b) / layers.length;
        } finally {
          recorder.dispose();
        }
        onStep?.({ step: ++step, loss });
        if (step === steps) break;
        await new Promise((resolve) => setImmediate(resolve));
        if (signal?.aborted) {
          throw new SaccadeError('interrupted', `stopped after step ${step} of ${steps} of distillation; it starts over`); // prettier-ignore
        }
      }
      if (step === from) throw new SaccadeError('config', 'has no training clips to distil with');
    }
  } catch (error) {
    states.forEach(disposeTraining);
    throw error;
  }
  for (const { optimiser } of states)
    tf.dispose([...optimiser.m.values(), ...optimiser.v.values()]);
  return new Map(
    layers.flatMap(({ path }, i) =>
      [...states[i].leaves].map(([leaf, value]) => [`${path}.${leaf}`, value] as const),
    ),
  );
}

function learningLayers({ teacher, student }: LineariseOptions): readonly Layer[] {
  const known = flatten(teacher.parameters);
  const layers = [...(student.model.mixers ?? [])].flatMap(([path, mixer]): Layer[] => {
    const other = teacher.model.mixers?.get(path);
    if (other === undefined) return [];
    const parameters = below(student.leaves, path);
    const learns = [...flatten(parameters).keys()].some(
      (leaf) => isTrainable(leaf) && isIn(defaultSlots, leaf),
    );
    if (other.name === mixer.name || !learns) return [];
    return [
      {
        path,
        teacher: { mixer: other, parameters: below(known, path) },
        student: { mixer, parameters },
      },
    ];
  });
  if (layers.length > 0) return layers;
  throw new SaccadeError(
    'config',
    'has no mixer with slots that could learn from a different one of the teacher (model.mixer)',
    { field: 'training.distil' },
  );
}

/** The part of a tree below a path. */
function below(leaves: ReadonlyMap<string, tf.Tensor>, path: string): ParameterTree {
  const prefix = `${path}.`;
  const own = [...leaves].filter(([name]) => name.startsWith(prefix));
  return unflatten(new Map(own.map(([name, value]) => [name.slice(prefix.length), value])));
}

/** What the mixers of a network read of these clips. */
function readMixerInputs(
  { model, parameters }: LineariseOptions['teacher'],
  inputs: Float32Array,
  shape: readonly number[],
): Recorder {
  const recorder = new Recorder({ mixerInputs: true, rates: false });
  tf.tidy(() => {
    const x = tf.tensor(inputs, [...shape]);
    model.apply(parameters, x, undefined, { ...inference, recorder });
  });
  return recorder;
}

/** @returns the layer's loss; its state is replaced. */
function layerStep(
  { path, teacher, student }: Layer,
  states: TrainingState[],
  index: number,
  x: tf.Tensor,
  config: DistillationConfig,
): number {
  const { state, loss, notFinite } = distillationStep(teacher, student, states[index], x, config);
  if (notFinite !== undefined) {
    throw new SaccadeError('diverged', `distillation of ${path} diverged: loss ${loss}, first non-finite value in ${notFinite}`); // prettier-ignore
  }
  states[index] = state;
  return loss;
}
